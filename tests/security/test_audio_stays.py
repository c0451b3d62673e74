"""Audio stays in the process: what it writes and sends is watched from outside, by the kernel's eyes."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.parts import free_port, require
from tests.parts_mqtt import Inbox, Mosquitto, subscriber

RATE, SECONDS = 32_000, 20
EVENT = {
    *("v", "event_id", "event_type", "node", "source", "label", "slug", "score", "score_peak", "threshold", "onset"),
    *("offset", "duration_s", "onset_uncertainty_s", "published_at", "late", "seq", "boot_id", "confirmed"),
    *("level_dbfs", "model", "model_sha256"),
}
STATUS = {"version", "model", "model_sha256", "boot_id", "spool_depth", "sources", "gaps", "exposed"}
ANNOUNCEMENT = {"device", "origin", "availability", "availability_mode", "components"}
WRITES = re.compile(r'(?:open|openat)\((?:AT_FDCWD, )?"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)|creat\("([^"]+)"')
CONNECTS = re.compile(r'connect\(.*(?:inet_addr\("|inet_pton\(AF_INET6, "|sun_path=@?")([^"]+)"')
ALLOWED = ("/dev/null", "/dev/tty", "/proc/self/", "/dev/shm/")


def config(folder: Path, broker: int) -> str:
    return f"""
[node]
name = "test"
state_dir = "{folder}/state"
[[source]]
name = "yard"
kind = "stdin"
sample_rate = {RATE}
[detection]
threshold = 0
off = 0
early = 0
[mqtt]
host = "127.0.0.1"
port = {broker}
[http]
port = {free_port()}
"""


def start(folder: Path, broker: int) -> "subprocess.Popen[bytes]":
    """The service, with a home, a place for temporary files and a working directory of its own."""
    (folder / "home").mkdir(parents=True)
    (folder / "monitor.toml").write_text(config(folder, broker))
    environ = {**os.environ, "HOME": str(folder / "home"), "TMPDIR": str(folder / "home")}
    tracer = [require("strace"), "-f", "-qq", "--seccomp-bpf", "-o", str(folder / "trace")]
    command = [*tracer, "-e", "trace=open,openat,creat,connect", sys.executable, "-m", "monitor", "run", "--config"]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        return subprocess.Popen(
            [*command, str(folder / "monitor.toml")],
            cwd=folder / "home",
            env={**environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
        )


async def listen(folder: Path, sound: bytes) -> Inbox:
    """Let a service hear a sound and tell its events; gives what it published."""
    async with Mosquitto(folder / "broker") as broker, subscriber(broker.port) as inbox:
        process = start(folder / "s", broker.port)
        assert process.stdin
        try:
            await asyncio.to_thread(process.stdin.write, sound)
            await inbox.until(lambda inbox: len(inbox.on("ssondo/test/yard/event")) >= 2, 60)
            await inbox.until(lambda inbox: bool(inbox.on("ssondo/test/yard/level")), 20)
        finally:
            process.stdin.close()
            process.terminate()
            await asyncio.to_thread(process.wait, 30)
        return inbox


def strange(topic: str, payload: bytes) -> bool:
    """Whether a message is none of those that the service may send."""
    match topic.split("/")[2:]:
        case ["availability"] | [_, "availability"]:
            return payload not in (b"online", b"offline")
        case [_, "label", _]:
            return payload not in (b"ON", b"OFF")
        case [_, "level"]:
            return set(json.loads(payload)) != {"dbfs", "laeq_dba"}
        case [_, "event"]:
            return set(json.loads(payload)) != EVENT
        case ["status"] | [_, "config"] as told:
            return not set(json.loads(payload)) >= (STATUS if told == ["status"] else ANNOUNCEMENT)
        case _:
            return True


async def test_sound_is_neither_written_nor_sent(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, RATE * SECONDS)
    sound = (noise * 32767).astype("<i2")
    inbox = await listen(tmp_path, sound.tobytes())
    messages = [(str(message.topic), bytes(message.payload)) for message in inbox.messages]
    assert [message for message in messages if strange(*message)] == []
    assert max(len(payload) for _, payload in messages) < 4096

    folder = tmp_path / "s"
    trace = (folder / "trace").read_text(errors="replace")
    written = {first or second for first, second in WRITES.findall(trace)}
    assert any(path.endswith("spool.sqlite") for path in written), "the trace has seen writing"
    own = str(folder / "state")
    assert {path for path in written if not path.startswith((own, *ALLOWED))} == set()
    assert {address for address in CONNECTS.findall(trace) if not address.startswith(("127.", "::1", "/"))} == set()

    forms = [sound, (sound / 32768).astype("<f4"), sound[::-1].astype("<i2")]
    pieces = [form[at : at + 8].tobytes() for form in forms for at in range(0, len(sound), 1000)]
    kept = [payload for _, payload in messages]
    kept += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(piece in content for content in kept for piece in pieces)
    assert sum(path.stat().st_size for path in (folder / "state").rglob("*")) < 4_000_000
