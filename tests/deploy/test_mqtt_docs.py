"""The MQTT reference: its examples and schemas, and its commands against a real broker and the real service."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError

from monitor.events import PROPERTIES
from tests.parts import PATIENCE
from tests.parts_mqtt import Mosquitto
from tests.parts_schema import DOCS, SCHEMAS, check_message
from tests.parts_service import Service, running

PAGE = (DOCS / "mqtt.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
STARTED, ENDED, LEVEL, STATUS = EXAMPLES
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE, re.S)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.S)[0]
EVENT_TOPIC = "ssondo/pi1/yard/event"

Lines = list[str]
LOGGER = "-i logger"
GIVES: dict[str, Callable[[Lines], bool]] = {  # a part of the command, and what it must print
    "-v -t 'ssondo/+/+/event'": lambda lines: any(line.startswith(f"{EVENT_TOPIC} {{") for line in lines),
    "grep": lambda lines: any(json.loads(line)["event_type"] == "started" for line in lines),
    "label/smoke_alarm": lambda lines: "ssondo/pi1/yard/label/smoke_alarm ON" in lines,
    "-C 3": lambda lines: len(lines) == 3 and all("dbfs" in json.loads(line) for line in lines),
    "--retained-only": lambda lines: (
        {
            "ssondo/pi1/availability online",
            "ssondo/pi1/yard/availability online",
        }
        <= set(lines)
    ),
    "pi1/status": lambda lines: [json.loads(line)["model"] for line in lines] == ["default"],
    LOGGER: lambda lines: lines == [],
    "mosquitto_pub": lambda lines: lines == [],
}
NEEDS_STATES = ("--retained-only", "pi1/status", "-C 3", "mosquitto_pub")


def test_examples_are_what_the_schemas_ask_for() -> None:
    check_message(EVENT_TOPIC, json.dumps(STARTED).encode())
    check_message(EVENT_TOPIC, json.dumps(ENDED).encode())
    check_message("ssondo/pi1/yard/level", json.dumps(LEVEL).encode())
    check_message("ssondo/pi1/status", json.dumps(STATUS).encode())
    assert STARTED["event_id"] == ENDED["event_id"]


def test_schema_and_table_tell_of_every_key_of_an_event_in_its_order() -> None:
    schema = SCHEMAS["event"].schema
    assert list(schema["properties"]) == list(schema["required"]) == list(PROPERTIES)
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| .* \|$", PAGE.split("## Event")[1].split("## Delivery")[0], re.M)
    assert re.findall(r"`(\w+)`", " ".join(rows)) == list(PROPERTIES)


@pytest.mark.parametrize("key", PROPERTIES)
def test_event_that_lacks_a_key_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        SCHEMAS["event"].validate({name: value for name, value in STARTED.items() if name != key})


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"event_id": "abc"},
        {"event_type": "began"},
        {"slug": "Smoke alarm"},
        {"score": 1.1},
        {"score": "0.9"},
        {"onset": "2026-11-21T14:18:01"},
        {"onset": 1_800_000_000},
        {"offset": "2026-11-21T14:18:01.706Z"},
        {"duration_s": 1.0},
        {"confirmed": True},
        {"onset_uncertainty_s": -1},
        {"published_at": None},
        {"seq": None},
        {"seq": 0},
        {"late": 0},
        {"model_sha256": "5a"},
    ],
    ids=str,
)
def test_start_that_says_something_impossible_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SCHEMAS["event"].validate({**STARTED, **wrong})


@pytest.mark.parametrize("wrong", [{"offset": None}, {"duration_s": None}, {"confirmed": None}, {"duration_s": -1}])
def test_end_without_its_end_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SCHEMAS["event"].validate({**ENDED, **wrong})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("level", {"dbfs": None}),
        ("level", {"dbfs": -300}),
        ("level", {"laeq_dba": "quiet"}),
        ("status", {"spool_depth": -1}),
        ("status", {"sources": {"yard": "fine"}}),
        ("status", {"sources": {"yard": []}}),
        ("status", {"gaps": {"yard": {"outage": -1}}}),
        ("status", {"boot_id": ""}),
    ],
)
def test_level_and_status_that_say_something_impossible_are_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SCHEMAS[name].validate({**(LEVEL if name == "level" else STATUS), **wrong})


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("ssondo/pi1/availability", b"Online"),
        ("ssondo/pi1/yard/label/siren", b"1"),
        ("ssondo/pi1/yard/audio", b"x"),
        ("ssondo/pi1/yard/level", json.dumps({**LEVEL, "peak": 1}).encode()),
    ],
)
def test_message_that_no_document_tells_of_is_noticed(topic: str, payload: bytes) -> None:
    with pytest.raises(AssertionError):
        check_message(topic, payload)


def test_topics_of_the_table_are_those_of_the_contract() -> None:
    told = re.findall(r"^\| `([^`]+)` \| (\d) \| (\w+) \|", PAGE, re.M)
    node, source = "ssondo/<node>", "ssondo/<node>/<source>"
    assert told == [
        (f"{node}/availability", "1", "yes"),
        (f"{source}/availability", "1", "yes"),
        (f"{source}/event", "1", "no"),
        (f"{source}/label/<slug>", "1", "yes"),
        (f"{source}/level", "0", "no"),
        (f"{node}/status", "1", "yes"),
        ("homeassistant/device/<node>_<source>/config", "1", "yes"),
    ]


def test_every_link_leads_somewhere() -> None:
    for page in ("mqtt.md", "home-assistant.md"):
        for link, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", (DOCS / page).read_text(encoding="utf-8")):
            if "://" not in link:
                target = DOCS / (link or page)
                assert target.exists(), f"{page}: {link}"
                assert not anchor or f"# {anchor}" in target.read_text(encoding="utf-8").lower(), f"{page}: #{anchor}"


class Command:
    """A running command line; what it has printed, and its end."""

    def __init__(self, line: "str | list[str]", folder: Path, environ: dict[str, str]) -> None:
        self.line = line
        self.out = folder / f"printed-{time.monotonic_ns()}"
        with self.out.open("wb") as out:
            self._process = subprocess.Popen(
                line, shell=isinstance(line, str), cwd=folder, stdout=out, env=environ, start_new_session=True
            )

    def printed(self) -> Lines:
        return self.out.read_text(encoding="utf-8").splitlines()

    def until(self, enough: Callable[[Lines], bool], seconds: float = 120.0) -> None:
        deadline = time.monotonic() + PATIENCE * seconds
        while not enough(self.printed()):
            assert time.monotonic() < deadline, f"{self.line} printed {self.printed()}"
            time.sleep(0.05)

    def end(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(PATIENCE * 10)


@contextmanager
def command(line: "str | list[str]", folder: Path, port: int) -> Iterator[Command]:
    """A command of the page; only the port is another."""
    if isinstance(line, str):
        line = re.sub(r"(mosquitto_[sp]ub) ", rf"\1 -p {port} ", line)
    started = Command(line, folder, {**os.environ, "MQTT_PORT": str(port)})
    try:
        yield started
    finally:
        started.end()


def key(line: str) -> str:
    (found,) = [part for part in GIVES if part in line]
    return found


async def test_commands_and_program_print_what_they_promise(tmp_path: Path) -> None:
    assert sorted(map(key, COMMANDS)) == sorted(GIVES), "each command is tried"
    async with Mosquitto(tmp_path / "broker") as broker:

        def begin(line: "str | list[str]") -> Command:
            return stack.enter_context(command(line, tmp_path, broker.port))

        config = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[[source]]\nname = "yard"\nkind = "demo"\n'
        with ExitStack() as stack:
            early = {key(line): begin(line) for line in COMMANDS if key(line) not in NEEDS_STATES}
            program = begin([sys.executable, "-c", PYTHON])
            service = stack.enter_context(running(tmp_path / "s", config, environ={"SSONDO_NODE__NAME": "pi1"}))
            service.wait(Service.ready, "readiness")
            for line in COMMANDS:
                if key(line) in NEEDS_STATES:
                    begin(line).until(GIVES[key(line)])
            for part, started in early.items():
                started.until(GIVES[part])
            program.until(lambda lines: any(line.startswith("NEW started Smoke alarm") for line in lines))
            early[LOGGER].end()
            assert service.stop() == 0
        with command(next(line for line in COMMANDS if LOGGER in line), tmp_path, broker.port) as logger:
            logger.out = tmp_path / "events.jsonl"
            logger.until(lambda lines: [json.loads(line)["event_type"] for line in lines][-1:] == ["ended"])
