"""The Node-RED flow: its wires, and its functions run by a real JavaScript engine on real payloads."""

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.parts import require
from tests.parts_events import END, START, factory, utc
from tests.parts_schema import DOCS

FLOW: list[dict[str, Any]] = json.loads((DOCS.parent / "nodered" / "flow.json").read_text(encoding="utf-8"))
NODES = {node["id"]: node for node in FLOW}
HARNESS = """
const [code, messages] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const store = new Map();
const context = { get: (key) => store.get(key), set: (key, value) => store.set(key, value) };
const names = "var node, flow, global, env, RED, util;"; // which Node-RED declares, so that functions must not
const run = new Function("msg", "context", names + code);
console.log(JSON.stringify(messages.map((msg) => run(msg, context) ?? null)));
"""


def run(name: str, *messages: dict[str, Any]) -> list[Any]:
    """What a function node returns for messages that come one after another."""
    given = json.dumps([NODES[name]["func"], messages])
    done = subprocess.run([require("node"), "-e", HARNESS], input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def message(started: bool = True, *, age: float = 0.0, late: bool = False, **extra: Any) -> dict[str, Any]:
    """An event that was published so many seconds ago, as Node-RED passes it on."""
    made = factory(f"01J6P00000000000000000000{'A' if started else 'B'}").event(START if started else END, utc)
    now = datetime.now(UTC) - timedelta(seconds=age)
    sent = replace(made.stamped(7, now, late_seconds=1e9), late=late)
    return {"topic": "ssondo/pi1/yard/event", "payload": json.loads(sent.to_json()) | extra, "retain": False}


def test_every_wire_leads_to_a_node_and_every_function_has_an_output_for_each() -> None:
    for node in FLOW:
        wires = node.get("wires", [])
        assert {target for wire in wires for target in wire} <= set(NODES)
        if node["type"] == "function":
            assert len(wires) == node["outputs"]


def test_topics_are_those_of_the_reference_by_a_broker_that_is_there() -> None:
    inputs = {node["topic"]: node["datatype"] for node in FLOW if node["type"] == "mqtt in"}
    assert inputs == {
        "ssondo/+/+/event": "json",
        "ssondo/+/availability": "utf8",
        "ssondo/+/+/availability": "utf8",
    }
    assert {NODES[node["broker"]]["type"] for node in FLOW if node["type"] == "mqtt in"} == {"mqtt-broker"}


def test_fresh_start_and_end_leave_by_their_own_outputs() -> None:
    (start, end) = run("fresh", message(), message(started=False))
    assert start[1] is None
    assert start[0]["payload"]["event_type"] == "started"
    assert end[0] is None
    assert end[1]["payload"]["event_type"] == "ended"


def test_repeat_is_dropped_and_another_event_is_not() -> None:
    first, again, other = run("fresh", message(), message(), message(event_id="01J6P0000000000000000000CC"))
    assert (first is not None, again, other is not None) == (True, None, True)


@pytest.mark.parametrize(
    "old",
    [{"late": True}, {"age": 3_600}, {"age": -3_600}, {"published_at": None}, {"v": 2}],
    ids=["late", "held up", "wrong clock", "undated", "another version"],
)
def test_what_is_no_news_is_dropped(old: dict[str, Any]) -> None:
    assert run("fresh", message(**old)) == [None]


def test_retained_event_is_dropped() -> None:
    assert run("fresh", {**message(), "retain": True}) == [None]


def test_events_are_put_into_words() -> None:
    assert run("start-words", message())[0]["payload"] == "Dog bark in the yard of pi1, score 0.91"
    assert run("end-words", message(started=False))[0]["payload"] == "Dog bark in the yard of pi1 ended after 2 s"
    refuted = message(started=False, confirmed=False)
    assert run("end-words", refuted)[0]["payload"] == "Dog bark in the yard of pi1 was none"


def test_who_listens_is_put_into_words() -> None:
    topics = {"ssondo/pi1/availability": "pi1", "ssondo/pi1/yard/availability": "yard of pi1"}
    for topic, who in topics.items():
        on, off = run("listening-words", *({"topic": topic, "payload": state} for state in ("online", "offline")))
        assert (on["payload"], off["payload"]) == (f"{who} listens", f"{who} does not listen")
