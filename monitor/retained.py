"""What this node leaves with the broker: announced on each connection, and cleared once it is no longer ours.

Retained messages outlive the configuration that made them. A note on disk tells what was left by earlier ones, so that
a source that was removed while the service was stopped does not stay on dashboards for ever.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from monitor.config import Settings
from monitor.config_sources import SourceSettings
from monitor.homeassistant import Component, Device, devices
from monitor.mqtt import Publish
from monitor.mqtt_link import Message
from monitor.notes import write_note
from monitor.rules import watched
from ssondo_stream.bundle import StudentSpec

log = logging.getLogger(__name__)

Left: TypeAlias = Mapping[str, Sequence[str]]
"""Retained topics; for an announcement, the keys of its components."""


def announcer(settings: Settings, sources: Sequence[SourceSettings], spec: StudentSpec, note: Path) -> "Announcer":
    """What keeps a node's retained messages in order.

    Args:
        settings: of everything.
        sources: that are listened to.
        spec: of the student.
        note: the file that tells what earlier configurations left.
    """
    node = f"{settings.mqtt.base_topic}/{settings.node.name}"
    slugs = [label.slug for label in watched(spec.labels, settings.detection)]
    states = [f"{node}/availability", f"{node}/status"]
    for source in sources:
        states += [f"{node}/{source.name}/availability", *(f"{node}/{source.name}/label/{slug}" for slug in slugs)]
    return Announcer(note, states, devices(settings, sources, spec))


class Announcer:
    """Announces devices and clears what is left from before. State is what may be left, as the note tells it."""

    def __init__(self, note: Path, states: Iterable[str], devices: Mapping[str, Device]) -> None:
        """Read the note.

        Args:
            note: the file; it need not exist.
            states: retained topics of this node.
            devices: by the topics where they are announced.
        """
        self._note = note
        self._devices = devices
        self._components: dict[str, Mapping[str, Component]] = {
            topic: device.components() for topic, device in devices.items()
        }
        self._mine: Left = {**{topic: [] for topic in states}, **{x: sorted(y) for x, y in self._components.items()}}
        self._noted = self._left = _read(note)
        self._told = False

    async def publish(self, publish: Publish) -> None:
        """Announce every device, and clear what is no longer ours; the note is right whenever this is cut off.

        Raises:
            SinkUnavailable: the connection was lost.
        """
        await self._write(_union(self._left, self._mine))
        await asyncio.gather(
            *(self._try(publish, message) for message in [*self._announcements(), *self._clearances()])
        )
        self._left = {topic: keys for topic, keys in self._left.items() if topic in self._mine}
        await self._write(self._mine)

    def _announcements(self) -> Iterable[Message]:
        for topic, device in self._devices.items():
            components = self._components[topic]
            gone = set(self._left.get(topic, ())) - set(components)
            yield Message(topic, device.config(components, gone), retain=True)

    def _clearances(self) -> Iterable[Message]:
        return (Message(topic, b"", retain=True) for topic in self._left if topic not in self._mine)

    async def _try(self, publish: Publish, message: Message) -> None:
        """What a broker refuses here holds nothing else up, and events need none of it."""
        if not await publish(message) and not self._told:
            self._told = True
            remedy = "allow it in the broker's access rules, or set [mqtt] discovery = false"
            log.warning("home assistant is not told", extra={"fields": {"refused": message.topic, "remedy": remedy}})

    async def _write(self, left: Left) -> None:
        if left == self._noted:
            return
        try:
            await asyncio.to_thread(write_note, self._note, {"retained": left})
            self._noted = left
        except OSError as error:
            fields = {"path": self._note, "error": error.strerror}
            log.warning("cannot note what the broker retains", extra={"fields": fields})


def _union(first: Left, second: Left) -> Left:
    return {topic: sorted({*first.get(topic, ()), *second.get(topic, ())}) for topic in {**first, **second}}


def _read(path: Path) -> Left:
    """What the note tells; nothing where there is none, or none that can be read."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return {str(topic): [str(key) for key in keys] for topic, keys in note["retained"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
