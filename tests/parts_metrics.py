"""The metrics of the contract, and a service's worth of them."""

from monitor.metrics import STAGES, Metrics
from tests.fakes import FakeClock

CONTRACT = {  # name as queried: type, labels
    "ssondo_audio_captured_seconds_total": ("counter", {"source"}),
    "ssondo_audio_analyzed_seconds_total": ("counter", {"source"}),
    "ssondo_audio_gap_seconds_total": ("counter", {"source", "reason"}),
    "ssondo_audio_coverage_ratio": ("gauge", {"source"}),
    "ssondo_last_audio_timestamp_seconds": ("gauge", {"source"}),
    "ssondo_source_up": ("gauge", {"source"}),
    "ssondo_source_flatline": ("gauge", {"source"}),
    "ssondo_level_dbfs": ("gauge", {"source"}),
    "ssondo_source_restarts_total": ("counter", {"source"}),
    "ssondo_stage_seconds": ("histogram", {"stage"}),
    "ssondo_detection_latency_seconds": ("histogram", {"source"}),
    "ssondo_realtime_factor": ("gauge", {"source"}),
    "ssondo_events_total": ("counter", {"source", "label"}),
    "ssondo_events_refuted_total": ("counter", {"source", "label"}),
    "ssondo_events_narrow_total": ("counter", {"source", "label"}),
    "ssondo_spool_messages": ("gauge", set()),
    "ssondo_spool_oldest_timestamp_seconds": ("gauge", set()),
    "ssondo_spool_dropped_total": ("counter", set()),
    "ssondo_spool_healthy": ("gauge", set()),
    "ssondo_mqtt_published_total": ("counter", set()),
    "ssondo_mqtt_acked_total": ("counter", set()),
    "ssondo_mqtt_connected": ("gauge", set()),
    "ssondo_node_latitude_degrees": ("gauge", set()),
    "ssondo_node_longitude_degrees": ("gauge", set()),
    "ssondo_build_info": ("gauge", {"version", "model", "model_sha256"}),
}


def populated() -> Metrics:
    """Metrics of a service in which everything has happened once."""
    metrics = Metrics(clock=FakeClock(wall=1_800_000_000.0))
    metrics.build_info("0.1.0", "tiny", "ab" * 32)
    metrics.position(48.137, 11.576)
    source = metrics.observer("yard")
    metrics.declare_labels("yard", ["dog_bark", "siren"])
    source.captured(2.5)
    source.analyzed(2.0)
    source.gap(0.5, "outage")
    source.restarted()
    source.state(up=True, flat=False, detail="")
    source.level(-31.25)
    source.realtime_factor(0.02)
    source.latency(0.8)
    source.event("dog_bark")
    source.settled("dog_bark", True, 0.05)
    for stage in STAGES:
        metrics.stage_took(stage, 0.004)
    metrics.spool(3, oldest=1_799_999_990.0)
    metrics.spool_healthy(True)
    metrics.spool_dropped(2)
    metrics.mqtt_connected(True)
    metrics.mqtt_published(5)
    metrics.mqtt_acked(4)
    return metrics
