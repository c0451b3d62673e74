"""Once a second: is every source heard and analysed, is every sink up, and who must be told so.

One account feeds `/ready`, the retained availability topics, the gauges and the levels, so that they cannot disagree.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from monitor.clock import Clock
from monitor.metrics import Metrics
from monitor.mqtt import MqttSink
from monitor.source_task import SourceTask
from monitor.spool import Spool
from monitor.systemd import Notifier
from ssondo_stream.bundle import StudentSpec

log = logging.getLogger(__name__)

_REPORT_EVERY = 30  # seconds between retained status reports where nothing changed


class Status:
    """Watches the parts of a running service. State is what was last told of each source."""

    def __init__(
        self,
        *,
        spec: StudentSpec,
        boot_id: str,
        sources: Sequence[SourceTask],
        spool: Spool,
        mqtt: MqttSink | None,
        metrics: Metrics,
        notifier: Notifier,
        wake: asyncio.Event,
        exposed: Sequence[str] = (),
    ) -> None:
        self._spec = spec
        self._boot_id = boot_id
        self._version = version("ssondo-monitor")
        self._sources = sources
        self._spool = spool
        self._mqtt = mqtt
        self._metrics = metrics
        self._notifier = notifier
        self._wake = wake
        self._exposed = exposed
        self._spool_healthy = spool.healthy
        self._told: dict[str, tuple[str, ...]] = {}
        self._counted = (0, 0, 0)

    def troubles(self) -> Sequence[str]:
        """Why the service is not ready; nothing if it is."""
        troubles = [trouble for source in self._sources for trouble in source.troubles]
        if self._mqtt and self._mqtt.detail:
            troubles.append(f"mqtt: {self._mqtt.detail}")
        if not self._spool.healthy:
            troubles.append(f"spool: {self._spool.detail}")
        return troubles

    def begin(self) -> None:
        """Tell what is known before anything was heard."""
        self._metrics.build_info(self._version, self._spec.name, self._spec.network_sha256)
        for what in self._exposed:
            log.warning("exposed by configuration", extra={"fields": {"what": what}})
        for source in self._sources:
            self._metrics.declare_labels(source.name, source.slugs)
            for slug in source.slugs:
                self._retain(f"{source.name}/label/{slug}", "OFF")
        self._report()

    async def watch(self, clock: Clock) -> None:
        """Look at everything once a second, for ever."""
        seconds = 0
        while True:
            seconds += 1
            self._look()
            if seconds % _REPORT_EVERY == 0:
                self._report()
            await clock.sleep(1.0)

    def end(self) -> None:
        """Tell that nothing is listened to any more."""
        for source in self._sources:
            self._retain(f"{source.name}/availability", "offline")
        self._report()

    def _look(self) -> None:
        for source in self._sources:
            self._look_at(source)
        self._look_at_spool()
        if self._mqtt:
            self._metrics.mqtt_connected(self._mqtt.connected)
        self._count()

    def _look_at_spool(self) -> None:
        before, self._spool_healthy = self._spool_healthy, self._spool.recover()
        if self._spool_healthy and not before:
            self._wake.set()  # what is on the disk can be read again
        self._metrics.spool(self._spool.depth, self._spool.oldest_timestamp)
        self._metrics.spool_healthy(self._spool_healthy)

    def _count(self) -> None:
        published, acked = (self._mqtt.published, self._mqtt.acked) if self._mqtt else (0, 0)
        now = (self._spool.dropped, published, acked)
        tell = (self._metrics.spool_dropped, self._metrics.mqtt_published, self._metrics.mqtt_acked)
        for count, before, after in zip(tell, self._counted, now, strict=True):
            count(after - before)
        self._counted = now

    def _look_at(self, source: SourceTask) -> None:
        source.tick()
        troubles = tuple(source.troubles)
        if troubles != self._told.get(source.name):
            self._told[source.name] = troubles
            self._retain(f"{source.name}/availability", "offline" if troubles else "online")
            self._notifier.status("; ".join(self.troubles()) or "listening")
            self._report()
        level = source.level()
        if level and self._mqtt:
            self._mqtt.level(source.name, level.dbfs, level.laeq_dba)

    def _retain(self, topic: str, payload: str) -> None:
        if self._mqtt:
            self._mqtt.retain(topic, payload)

    def _report(self) -> None:
        report = {
            "version": self._version,
            "model": self._spec.name,
            "model_sha256": self._spec.network_sha256,
            "boot_id": self._boot_id,
            "spool_depth": self._spool.depth,
            "sources": {source.name: list(source.troubles) or "online" for source in self._sources},
            "gaps": {source.name: _rounded(source.gaps) for source in self._sources},
            "exposed": list(self._exposed),
        }
        self._retain("status", json.dumps(report, separators=(",", ":")))


def _rounded(gaps: Mapping[str, float]) -> dict[str, float]:
    return {reason: round(seconds, 1) for reason, seconds in gaps.items()}
