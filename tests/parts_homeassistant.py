"""Home Assistant as far as a sensor meets it: what it demands of announcements, and how it renders their templates."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jsonschema import Draft202012Validator

_TEXT = {"type": "string", "minLength": 1}
_TOPIC = {"type": "string", "pattern": r"^[^#+\s]+$"}
_COMMON = {
    "platform": _TEXT,
    "unique_id": {"type": "string", "pattern": r"^[\w-]+$"},
    "name": _TEXT,
    "state_topic": _TOPIC,
    "qos": {"enum": [0, 1, 2]},
}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "event": {
        "event_types": {"type": "array", "items": _TEXT, "minItems": 1},
        "value_template": _TEXT,
        "icon": {"type": "string", "pattern": "^mdi:"},
    },
    "binary_sensor": {"device_class": {"const": "sound"}},
    "sensor": {
        "unit_of_measurement": {"enum": ["dBFS", "dBA"]},
        "device_class": {"const": "sound_pressure"},
        "value_template": _TEXT,
        "state_class": {"const": "measurement"},
        "expire_after": {"type": "integer", "minimum": 1},
    },
}
_MUST = {"event": ["event_types", "value_template"], "binary_sensor": [], "sensor": ["value_template"]}


def _entity(platform: str) -> dict[str, Any]:
    return {
        "properties": {**_COMMON, **_KINDS[platform], "platform": {"const": platform}},
        "required": ["platform", "unique_id", "name", "state_topic", *_MUST[platform]],
        "additionalProperties": False,
    }


DISCOVERY = Draft202012Validator(
    {
        "type": "object",
        "required": ["device", "origin", "components"],
        "additionalProperties": False,
        "properties": {
            "device": {
                "type": "object",
                "required": ["identifiers", "name"],
                "additionalProperties": False,
                "properties": {
                    "identifiers": {"type": "array", "items": _TEXT, "minItems": 1},
                    **dict.fromkeys(("name", "manufacturer", "model", "sw_version"), _TEXT),
                },
            },
            "origin": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": _TEXT, "sw_version": _TEXT},
            },
            "availability": {
                "type": "array",
                "items": {"type": "object", "required": ["topic"], "properties": {"topic": _TOPIC}},
            },
            "availability_mode": {"enum": ["all", "any", "latest"]},
            "components": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "anyOf": [
                        *map(_entity, _KINDS),
                        # which takes the entity away
                        {
                            "properties": {"platform": {"enum": list(_KINDS)}},
                            "required": ["platform"],
                            "maxProperties": 1,
                        },
                    ],
                },
            },
        },
    }
)
"""What Home Assistant demands of a device's announcement, and no key that it does not know."""

TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/config")
"""Topics that Home Assistant takes an announcement from; it passes over all others."""


def render(template: str, payload: bytes, now: float) -> str:
    """What a value template makes of a payload, with Home Assistant's functions, at a time in seconds since 1970."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.update(now=lambda: now, as_timestamp=_as_timestamp)
    text = payload.decode()
    return environment.from_string(template).render(value=text, value_json=json.loads(text))


def _as_timestamp(value: object, default: float | None = None) -> float:
    if isinstance(value, float):
        return value
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        if default is None:
            raise
        return default


class EventEntity:
    """An event entity: it passes over what was retained, and what its template makes nothing of.

    Attributes:
        fired: attributes of what came through, each with its `event_type`.
    """

    def __init__(self, component: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._component = component
        self._clock = clock
        self.fired: list[dict[str, Any]] = []

    def receive(self, payload: bytes, *, retain: bool = False) -> None:
        if retain:
            return
        rendered = render(self._component["value_template"], payload, self._clock())
        if rendered:
            attributes = json.loads(rendered)
            assert attributes["event_type"] in self._component["event_types"]
            self.fired.append(attributes)
