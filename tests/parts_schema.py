"""Every message that the service publishes, held against the schemas that subscribers are given."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
from jsonschema import Draft202012Validator

from tests.parts_homeassistant import DISCOVERY
from tests.parts_mqtt import Inbox, subscriber

DOCS = Path(__file__).parents[1] / "deploy" / "docs"


def validator(name: str) -> Draft202012Validator:
    """Of a shipped schema, such as that of `event`."""
    schema = json.loads((DOCS / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


SCHEMAS = {name: validator(name) for name in ("event", "level", "status")}


def check_message(topic: str, payload: bytes, base: str = "ssondo") -> None:
    """Fail unless a message is one of those that the documents tell of; an empty one clears what was retained."""
    if topic.startswith("homeassistant/device/") and payload:
        return DISCOVERY.validate(json.loads(payload))
    match topic.removeprefix(f"{base}/").split("/"):
        case [_, "availability"] | [_, _, "availability"]:
            assert payload in (b"online", b"offline", b""), (topic, payload)
        case [_, _, "label", _]:
            assert payload in (b"ON", b"OFF", b""), (topic, payload)
        case [_, _, "event" | "level" as name] | [_, "status" as name]:
            _check(SCHEMAS[name], topic, json.loads(payload))
        case _:
            raise AssertionError(f"no such topic is told of: {topic}")
    return None


def _check(schema: Draft202012Validator, topic: str, value: dict[str, Any]) -> None:
    schema.validate(value)
    assert set(value) <= set(schema.schema["properties"]), f"{topic} has keys that no document tells of"


def check_messages(messages: Iterable[aiomqtt.Message]) -> None:
    for message in messages:
        check_message(str(message.topic), bytes(message.payload))


@asynccontextmanager
async def checked_subscriber(port: int, topic: str = "#") -> AsyncIterator[Inbox]:
    """A subscriber to the real service, every message to which must be as the documents tell."""
    async with subscriber(port, topic) as inbox:
        yield inbox
        check_messages(inbox.messages)
