"""From a sound's first sample to its message at a subscriber, in real time, and how well its onset is told."""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiomqtt
import numpy as np

from ssondo_stream.types import Samples
from tests.bench.rows import Row
from tests.parts_service import Service, running
from training.alarms import temporal_three

RATE = 32_000
SOURCES = 4
SOUNDS = 6  # a source
EVERY = 21.3  # seconds between the sounds of a source: every phase of the column grid occurs
CHUNK = RATE // 20


@dataclass
class Heard:
    """What was sent and what came of it.

    Attributes:
        sent: monotonic time at which the first sample of each sound left, by source.
        started, ended: arrival time and payload of messages, by source.
    """

    sent: dict[str, list[float]] = field(default_factory=dict)
    started: dict[str, list[tuple[float, dict[str, object]]]] = field(default_factory=dict)
    ended: dict[str, list[dict[str, object]]] = field(default_factory=dict)


def latency_and_onset(folder: Path) -> list[Row]:
    """Smoke alarms through named pipes into the service, and their events back from its broker."""
    names = [f"pipe{i}" for i in range(SOURCES)]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        os.mkfifo(folder / name)
    config = "\n".join(
        f'[[source]]\nname = "{name}"\nkind = "pipe"\npath = "{folder / name}"\nsample_rate = {RATE}\nformat = "f32le"'
        for name in names
    )
    with running(folder / "service", config) as service:
        heard = asyncio.run(_play(service, folder, names))
    return _rows(heard)


async def _play(service: Service, folder: Path, names: Sequence[str]) -> Heard:
    heard = Heard()
    await asyncio.to_thread(service.wait, lambda s: s.get("/health")[0] == 200, "health")
    async with aiomqtt.Client("127.0.0.1", service.mqtt_port) as client:
        await client.subscribe("ssondo/+/+/event", qos=1)
        listening = asyncio.create_task(_listen(client, heard))
        await asyncio.gather(*(_feed(folder / name, name, i, heard) for i, name in enumerate(names)))
        await asyncio.sleep(15)  # the last events settle
        listening.cancel()
    return heard


async def _feed(path: Path, name: str, number: int, heard: Heard) -> None:
    """Write noise with an alarm at known samples, no faster than it would be heard."""
    audio, onsets = _scene(number)
    pipe = await asyncio.to_thread(path.open, "wb", 0)
    with pipe:
        begun = time.monotonic()
        heard.sent[name] = [begun + onset / RATE for onset in onsets]
        for start in range(0, len(audio), CHUNK):
            due = begun + (start + CHUNK) / RATE  # a microphone gives a chunk when its last sample was heard
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.to_thread(pipe.write, audio[start : start + CHUNK].tobytes())


def _scene(number: int) -> tuple[Samples, list[int]]:
    random = np.random.default_rng(number)
    alarm = temporal_three(3100.0, cycles=2) * 0.1
    audio = random.normal(0, 0.003, int((SOUNDS * EVERY + 12) * RATE)).astype(np.float32)
    onsets = [int((11 + number * 0.7 + i * EVERY) * RATE) for i in range(SOUNDS)]
    for onset in onsets:
        audio[onset : onset + len(alarm)] += alarm
    return audio, onsets


async def _listen(client: aiomqtt.Client, heard: Heard) -> None:
    async for message in client.messages:
        now, event = time.monotonic(), json.loads(bytes(message.payload))  # type: ignore[arg-type]
        if event["event_type"] == "started":
            heard.started.setdefault(event["source"], []).append((now, event))
        else:
            heard.ended.setdefault(event["source"], []).append(event)


def _rows(heard: Heard) -> list[Row]:
    delays, errors, extra = [], [], 0
    for name, times in heard.sent.items():
        starts = heard.started.get(name, [])
        extra += len(starts) - len(times)
        for sent in times:
            mine = [now - sent for now, _ in starts if 0 <= now - sent < EVERY - 5]
            delays.append(mine[0] if mine else float("inf"))
        wall = time.time() - time.monotonic()
        onsets = [_seconds(str(event["onset"])) - wall for event in heard.ended.get(name, []) if event["confirmed"]]
        errors += [min((abs(onset - sent) for onset in onsets), default=float("inf")) for sent in times]
    note = f"{len(delays)} alarms on {len(heard.sent)} sources, real time, local broker"
    return [
        Row("sound onset to message, median", float(np.median(delays)), "s", 1.5, note=note),
        Row("sound onset to message, 95 %", float(np.quantile(delays, 0.95, method="higher")), "s", 2.5, note=note),
        Row("told onset, worst error", float(np.max(errors)), "s", 0.5, note="of the same alarms, by their `ended`"),
        Row("events beyond one for each sound", float(abs(extra)), "", 0, note="of the same alarms"),
    ]


def _seconds(date: str) -> float:
    return datetime.fromisoformat(date).timestamp()
