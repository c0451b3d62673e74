"""Every metric that the service exposes, under typed methods: the only module that knows prometheus_client.

A counter that is not there cannot be alerted on, so every known series starts at 0. A gauge that nobody refreshes lies,
so levels and the like disappear while their source is down.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from monitor.clock import Clock, SystemClock
from monitor.coverage import Coverage

Stage = Literal["resample", "mel", "infer", "detect"]
STAGES: tuple[Stage, ...] = ("resample", "mel", "infer", "detect")
GAP_REASONS = ("outage", "lost", "overrun")
NARROW_MARGIN = 0.1
"""An event whose peak score passed its threshold by less is worth listening to again."""

_STAGE_BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_LATENCY_BUCKETS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0)


class Metrics:
    """The service's metrics, in a registry of their own.

    State is the registry. Methods may be called from any thread.
    """

    def __init__(self, registry: CollectorRegistry | None = None, clock: Clock | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a `_created` series for each series would double what is scraped
        self.registry = registry if registry is not None else CollectorRegistry()
        self.clock: Clock = clock if clock is not None else SystemClock()
        make = _Maker(self.registry)
        source = ["source"]
        self._captured = make.counter(
            "ssondo_audio_captured_seconds", "Audio since listening began, in seconds: analysed, lost or due.", source
        )
        self._analyzed = make.counter("ssondo_audio_analyzed_seconds", "Audio that was analysed, in seconds.", source)
        self._gaps = make.counter("ssondo_audio_gap_seconds", "Audio that was lost, in seconds.", [*source, "reason"])
        self._coverage = make.gauge(
            "ssondo_audio_coverage_ratio", "Share of the last hour's audio that was analysed.", source
        )
        self._last = make.gauge("ssondo_last_audio_timestamp_seconds", "When audio last arrived, Unix time.", source)
        self._up = make.gauge("ssondo_source_up", "1 while the source delivers audio.", source)
        self._flat = make.gauge("ssondo_source_flatline", "1 while the source delivers constant samples.", source)
        self._level = make.gauge("ssondo_level_dbfs", "Level over the last second, RMS in dB of full scale.", source)
        self._restarts = make.counter("ssondo_source_restarts", "Times that the source was opened again.", source)
        self._stages = make.histogram("ssondo_stage_seconds", "Time in a stage.", ["stage"], _STAGE_BUCKETS)
        self._latency = make.histogram(
            "ssondo_detection_latency_seconds", "Onset of a sound to its spool entry.", source, _LATENCY_BUCKETS
        )
        self._realtime = make.gauge(
            "ssondo_realtime_factor", "Time spent per time of audio; over 1 falls back.", source
        )
        label = [*source, "label"]
        self._events = make.counter("ssondo_events", "Events that started.", label)
        self._refuted = make.counter("ssondo_events_refuted", "Starts that later evidence refuted.", label)
        self._narrow = make.counter(
            "ssondo_events_narrow", "Confirmed events whose peak passed the threshold by less than 0.1.", label
        )
        self._spooled = make.gauge("ssondo_spool_messages", "Messages that wait for the broker.")
        self._oldest = make.optional(
            "ssondo_spool_oldest_timestamp_seconds", "When the oldest waiting message came, Unix time."
        )
        self._dropped = make.counter("ssondo_spool_dropped", "Messages that the full spool dropped.")
        self._spool_healthy = make.gauge("ssondo_spool_healthy", "1 while the spool's disk takes messages.")
        self._published = make.counter("ssondo_mqtt_published", "Messages handed to the broker, repeats included.")
        self._acked = make.counter("ssondo_mqtt_acked", "Messages that the broker acknowledged.")
        self._connected = make.optional("ssondo_mqtt_connected", "1 while the broker is connected.")
        self._build = make.gauge(
            "ssondo_build_info", "What is running; always 1.", ["version", "model", "model_sha256"]
        )
        self._latitude = make.optional("ssondo_node_latitude_degrees", "Where the sensor stands, degrees north.")
        self._longitude = make.optional("ssondo_node_longitude_degrees", "Where the sensor stands, degrees east.")
        for stage in STAGES:
            self._stages.labels(stage)

    def build_info(self, version: str, model: str, model_sha256: str) -> None:
        """Say what is running."""
        self._build.clear()
        self._build.labels(version, model, model_sha256).set(1)

    def position(self, latitude: float | None, longitude: float | None) -> None:
        """Say where the sensor stands, in degrees north and east; unknown by default."""
        self._latitude.value, self._longitude.value = latitude, longitude

    def declare_source(self, source: str) -> None:
        """Start every series of a source at 0, or leave it absent until it is known."""
        for metric in (self._captured, self._analyzed, self._restarts, self._up, self._flat, self._latency):
            metric.labels(source)
        for reason in GAP_REASONS:
            self._gaps.labels(source, reason)

    def declare_labels(self, source: str, slugs: Iterable[str]) -> None:
        """Start the event counts of a source at 0."""
        for slug in slugs:
            for metric in (self._events, self._refuted, self._narrow):
                metric.labels(source, slug)

    def observer(self, source: str) -> "SourceMetrics":
        """The metrics of one source, declared."""
        self.declare_source(source)
        return SourceMetrics(self, source)

    def stage(self, name: Stage) -> AbstractContextManager[object]:
        """Time a stage: `with metrics.stage("mel"): ...`."""
        return self._stages.labels(name).time()

    def stage_took(self, name: Stage, seconds: float) -> None:
        """Account for a stage that was timed elsewhere."""
        self._stages.labels(name).observe(seconds)

    def spool(self, messages: int, oldest: float | None) -> None:
        """What waits in the spool, and since when (Unix seconds; none when it is empty)."""
        self._spooled.set(messages)
        self._oldest.value = oldest

    def spool_healthy(self, healthy: bool) -> None:
        """The spool's disk takes messages, or fails."""
        self._spool_healthy.set(healthy)

    def spool_dropped(self, messages: int) -> None:
        """So many messages were dropped for want of room."""
        self._dropped.inc(messages)

    def mqtt_connected(self, connected: bool) -> None:
        """The broker came or went; unknown, and not exposed, where there is none."""
        self._connected.value = connected

    def mqtt_published(self, messages: int = 1) -> None:
        """So many messages were handed over."""
        self._published.inc(messages)

    def mqtt_acked(self, messages: int = 1) -> None:
        """So many messages were acknowledged."""
        self._acked.inc(messages)

    def exposition(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return self.negotiated("")[0]

    def negotiated(self, accept: str) -> tuple[bytes, str]:
        """Everything in the best format for an `Accept` header, and that format's content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class SourceMetrics:
    """The metrics of one source; what listening reports to.

    Audio captured is audio analysed, audio in gaps, and what is under way: nothing is left out.
    """

    def __init__(self, metrics: Metrics, source: str) -> None:
        self._metrics = metrics
        self._source = source
        self._coverage = Coverage(metrics.clock)

    def captured(self, seconds: float) -> None:
        """So much audio arrived, just now."""
        self._metrics._captured.labels(self._source).inc(seconds)
        self._metrics._last.labels(self._source).set(self._metrics.clock.wall())

    def analyzed(self, seconds: float) -> None:
        """So much audio was analysed."""
        self._metrics._analyzed.labels(self._source).inc(seconds)
        self._metrics._coverage.labels(self._source).set(self._coverage.add(analyzed=seconds))

    def gap(self, seconds: float, reason: str) -> None:
        """So much audio was lost."""
        self._metrics._gaps.labels(self._source, reason).inc(seconds)
        self._metrics._captured.labels(self._source).inc(seconds)
        self._metrics._coverage.labels(self._source).set(self._coverage.add(missed=seconds))

    def tick(self) -> None:
        """A second has passed: what hangs is not covered, though nobody tells of it."""
        if self._coverage.begun is not None:
            self._metrics._coverage.labels(self._source).set(self._coverage.add())

    def restarted(self) -> None:
        """The source was opened again."""
        self._metrics._restarts.labels(self._source).inc()

    def state(self, up: bool, flat: bool, detail: str = "") -> None:
        """Whether the source delivers audio, and whether that is constant; the detail is for people alone."""
        self._metrics._up.labels(self._source).set(up)
        self._metrics._flat.labels(self._source).set(flat)
        if not up:
            _forget(self._metrics._level, self._source)
            _forget(self._metrics._realtime, self._source)

    def level(self, dbfs: float) -> None:
        """The level over the last second."""
        self._metrics._level.labels(self._source).set(dbfs)

    def realtime_factor(self, factor: float) -> None:
        """Time spent per time of audio."""
        self._metrics._realtime.labels(self._source).set(factor)

    def latency(self, seconds: float) -> None:
        """A sound's onset lies so far behind its spool entry."""
        self._metrics._latency.labels(self._source).observe(seconds)

    def event(self, slug: str) -> None:
        """An event started."""
        self._metrics._events.labels(self._source, slug).inc()

    def settled(self, slug: str, confirmed: bool | None, margin: float) -> None:
        """An event ended: refuted, or confirmed by a peak that passed its threshold by so much."""
        if confirmed is False:
            self._metrics._refuted.labels(self._source, slug).inc()
        elif confirmed and margin < NARROW_MARGIN:
            self._metrics._narrow.labels(self._source, slug).inc()


class _Maker:
    """Makes metrics in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def optional(self, name: str, text: str) -> "_Optional":
        collector = _Optional(name, text)
        self._registry.register(collector)
        return collector

    def histogram(self, name: str, text: str, labels: Iterable[str], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)


class _Optional(Collector):
    """A gauge without labels that can be absent."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self.value: float | None = None

    def collect(self) -> Iterable[GaugeMetricFamily]:
        value = self.value
        family = GaugeMetricFamily(self._name, self._text)
        if value is not None:
            family.add_metric([], value)
        return [family]


def _forget(gauge: Gauge, source: str) -> None:
    with suppress(KeyError):  # it was absent already
        gauge.remove(source)
