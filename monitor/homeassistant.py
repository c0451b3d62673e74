"""What Home Assistant is told of a source, so that its entities appear by themselves: MQTT device discovery.

Automations act on these entities, so what comes late must not look like news: the event entity lets pass what was
published just now alone, and nothing is available unless node and source both say that they listen.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeAlias

from monitor.config import Settings
from monitor.config_sources import SourceSettings
from monitor.rules import watched
from ssondo_stream.bundle import StudentSpec

log = logging.getLogger(__name__)

Component: TypeAlias = Mapping[str, object]

BIRTH = ("homeassistant/status", b"online")
"""Topic and payload by which Home Assistant says that it is back."""

MOST_BYTES = 60_000
"""No announcement is longer: brokers bound what they take, and may hang up on what is longer."""

_LABEL = "label_"  # begins the key of a label's binary sensor, so that no label is named as another component
_FRESH = (
    "{{{{ value if not value_json.late"
    " and (as_timestamp(now()) - as_timestamp(value_json.published_at, 0)) | abs < {seconds:g} else '' }}}}"
)


def object_id(node: str, source: str) -> str:
    """Names a source in topics and ids, where Home Assistant takes letters, digits, `_` and `-` alone."""
    return f"{node}_{source}".replace(".", "-")


def devices(settings: Settings, sources: Iterable[SourceSettings], spec: StudentSpec) -> "dict[str, Device]":
    """Every source as a device, by the topic where it is announced; none where discovery is switched off."""
    mqtt, node = settings.mqtt, settings.node.name
    made = [
        Device(
            node=node,
            source=source.name,
            node_topic=f"{mqtt.base_topic}/{node}",
            labels={label.slug: label.name for label in watched(spec.labels, settings.detection)},
            calibrated=source.calibration_db is not None,
            late_seconds=mqtt.late_seconds,
            model=spec.name,
            version=version("ssondo-monitor"),
        )
        for source in sources
        if mqtt.discovery
    ]
    return {f"{mqtt.discovery_prefix}/device/{device.object_id}/config": device for device in made}


@dataclass(frozen=True, slots=True)
class Device:
    """A source as Home Assistant sees it.

    Attributes:
        node, source: its name, in topics and everywhere.
        node_topic: what the node's topics begin with.
        labels: names of the labels that are watched for, by slug.
        calibrated: whether its level is a sound pressure.
        late_seconds: an event that was published longer ago, by Home Assistant's clock, is no news.
        model: name of the student.
        version: of this service.
    """

    node: str
    source: str
    node_topic: str
    labels: Mapping[str, str]
    calibrated: bool
    late_seconds: float
    model: str
    version: str

    @property
    def object_id(self) -> str:
        """Names the device in topics and ids."""
        return object_id(self.node, self.source)

    def components(self) -> dict[str, Component]:
        """Its entities by key; without its labels where these would make the announcement too long for brokers."""
        common = {"event": self._event(), "level": self._level()}
        labels = {_LABEL + slug: self._label(slug, name) for slug, name in self.labels.items()}
        if len(self._body({**common, **labels})) <= MOST_BYTES:
            return {**common, **labels}
        why = f"{len(labels)} labels make an announcement above {MOST_BYTES} bytes: disable some in [detection.labels]"
        log.warning("home assistant gets no sensor per label", extra={"fields": {"source": self.source, "reason": why}})
        return common

    def config(self, components: Mapping[str, Component], removed: Iterable[str] = ()) -> bytes:
        """The announcement as JSON.

        Args:
            components: see there.
            removed: keys of labels announced earlier, whose entities go.
        """
        gone: dict[str, Component] = {key: {"platform": "binary_sensor"} for key in sorted(removed)}
        return self._body({**components, **gone})

    def _body(self, components: Mapping[str, Component]) -> bytes:
        value = {
            "device": {
                "identifiers": [f"ssondo_{self.object_id}"],
                "name": f"{self.node} {self.source}",
                "manufacturer": "ssondo-monitor",
                "model": self.model,
                "sw_version": self.version,
            },
            "origin": {"name": "ssondo-monitor", "sw_version": self.version},
            "availability": [
                {"topic": f"{self.node_topic}/availability"},
                {"topic": f"{self.node_topic}/{self.source}/availability"},
            ],
            "availability_mode": "all",
            "components": components,
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    def _event(self) -> Component:
        return {
            **self._entity("event", "event", "Sound", "event"),
            "event_types": ["started", "ended"],
            "value_template": _FRESH.format(seconds=self.late_seconds),
            "icon": "mdi:ear-hearing",
        }

    def _label(self, slug: str, name: str) -> Component:
        return {**self._entity("binary_sensor", _LABEL + slug, name, f"label/{slug}"), "device_class": "sound"}

    def _level(self) -> Component:
        """Rounded, lest a recorder writes a row a second."""
        kind = {"unit_of_measurement": "dBA", "device_class": "sound_pressure"} if self.calibrated else {}
        value = "laeq_dba" if self.calibrated else "dbfs"
        return {
            **self._entity("sensor", "level", "Level", "level"),
            "unit_of_measurement": "dBFS",
            **kind,
            "value_template": f"{{{{ value_json.{value} | round }}}}",
            "state_class": "measurement",
            "expire_after": 30,
        }

    def _entity(self, platform: str, key: str, name: str, subtopic: str) -> dict[str, object]:
        return {
            "platform": platform,
            "unique_id": f"ssondo_{self.object_id}_{key}",
            "name": name,
            "state_topic": f"{self.node_topic}/{self.source}/{subtopic}",
            "qos": 1,
        }
