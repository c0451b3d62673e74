"""The metrics, by their names in the exposition."""

import re
import threading

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from monitor.coverage import Coverage
from monitor.metrics import GAP_REASONS, STAGES, Metrics
from tests.fakes import FakeClock
from tests.parts_metrics import CONTRACT, populated


def samples(metrics: Metrics) -> dict[str, float]:
    """`name{label="value"}` -> value of everything exposed."""
    found = {}
    for line in metrics.exposition().decode().splitlines():
        if not line.startswith("#"):
            series, value = line.rsplit(" ", 1)
            found[series] = float(value)
    return found


@pytest.mark.parametrize("name", CONTRACT)
def test_metric_has_the_type_and_labels_of_the_contract(name: str) -> None:
    kind, labels = CONTRACT[name]
    families = {family.name: family for family in text_string_to_metric_families(populated().exposition().decode())}
    family = families[name.removesuffix("_total") if kind == "counter" else name]
    assert family.type == kind
    assert family.documentation
    suffix = "_count" if kind == "histogram" else ""
    (first, *_) = [sample for sample in family.samples if sample.name == name + suffix]
    assert set(first.labels) == labels


def test_nothing_but_the_contract_is_exposed() -> None:
    exposed = {re.split(r"[{ ]", series)[0] for series in samples(populated())}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in exposed} == set(CONTRACT)


def test_known_series_start_at_zero_and_unknown_values_are_absent() -> None:
    metrics = Metrics()
    metrics.declare_source("yard")
    metrics.declare_labels("yard", ["dog_bark", "siren"])
    found = {series: value for series, value in samples(metrics).items() if "_bucket" not in series}
    assert set(found.values()) == {0}
    assert set(found) == {
        *(f'ssondo_{name}{{source="yard"}}' for name in ("source_up", "source_flatline", "source_restarts_total")),
        *(f'ssondo_audio_{name}_seconds_total{{source="yard"}}' for name in ("captured", "analyzed")),
        *(f'ssondo_audio_gap_seconds_total{{reason="{reason}",source="yard"}}' for reason in GAP_REASONS),
        *(
            f'ssondo_events{kind}_total{{label="{slug}",source="yard"}}'
            for kind in ("", "_refuted", "_narrow")
            for slug in ("dog_bark", "siren")
        ),
        *(f'ssondo_stage_seconds_{part}{{stage="{stage}"}}' for part in ("sum", "count") for stage in STAGES),
        *(f'ssondo_detection_latency_seconds_{part}{{source="yard"}}' for part in ("sum", "count")),
        *("ssondo_spool_messages", "ssondo_spool_dropped_total", "ssondo_spool_healthy"),
        *("ssondo_mqtt_published_total", "ssondo_mqtt_acked_total"),
    }


def test_values_are_those_that_were_told() -> None:
    found = samples(populated())
    assert found['ssondo_audio_captured_seconds_total{source="yard"}'] == 3.0
    assert found['ssondo_audio_gap_seconds_total{reason="outage",source="yard"}'] == 0.5
    assert found['ssondo_audio_coverage_ratio{source="yard"}'] == 0.8
    assert found['ssondo_last_audio_timestamp_seconds{source="yard"}'] == 1_800_000_000
    assert found['ssondo_events_total{label="dog_bark",source="yard"}'] == 1
    assert found["ssondo_spool_oldest_timestamp_seconds"] == 1_799_999_990
    assert found["ssondo_mqtt_acked_total"] == 4


@pytest.mark.parametrize(
    ("confirmed", "margin", "refuted", "narrow"),
    [(True, 0.1, 0, 0), (True, 0.09, 0, 1), (False, 0.3, 1, 0), (False, 0.05, 1, 0), (None, 0.05, 0, 0)],
)
def test_event_that_may_be_a_false_alarm_is_counted_when_it_ends(
    confirmed: bool | None, margin: float, refuted: int, narrow: int
) -> None:
    metrics = Metrics()
    metrics.declare_labels("yard", ["siren"])
    metrics.observer("yard").settled("siren", confirmed, margin)
    found = samples(metrics)
    assert found['ssondo_events_refuted_total{label="siren",source="yard"}'] == refuted
    assert found['ssondo_events_narrow_total{label="siren",source="yard"}'] == narrow


def test_position_and_broker_are_absent_until_they_are_known() -> None:
    metrics = Metrics()
    names = {"ssondo_node_latitude_degrees", "ssondo_node_longitude_degrees", "ssondo_mqtt_connected"}
    assert not names & set(samples(metrics))
    metrics.position(-33.857, 151.215)
    metrics.mqtt_connected(False)
    found = samples(metrics)
    assert [found[name] for name in sorted(names)] == [0, -33.857, 151.215]


def test_level_and_load_of_a_lost_source_disappear_until_it_is_back() -> None:
    metrics = Metrics()
    source = metrics.observer("yard")
    for _ in range(2):
        source.state(up=True, flat=False, detail="")
        source.level(-30)
        source.realtime_factor(0.1)
        assert samples(metrics)['ssondo_level_dbfs{source="yard"}'] == -30
        source.state(up=False, flat=False, detail="unplugged")
        source.state(up=False, flat=False, detail="still unplugged")
        found = samples(metrics)
        assert 'ssondo_level_dbfs{source="yard"}' not in found
        assert 'ssondo_realtime_factor{source="yard"}' not in found
        assert found['ssondo_source_up{source="yard"}'] == 0


def test_empty_spool_has_no_oldest_message() -> None:
    metrics = populated()
    metrics.spool(0, oldest=None)
    assert "ssondo_spool_oldest_timestamp_seconds" not in samples(metrics)


def test_declaring_again_keeps_the_counts() -> None:
    metrics = populated()
    metrics.declare_source("yard")
    metrics.declare_labels("yard", ["dog_bark"])
    found = samples(metrics)
    assert found['ssondo_audio_captured_seconds_total{source="yard"}'] == 3.0
    assert found['ssondo_source_up{source="yard"}'] == 1
    assert found['ssondo_events_total{label="dog_bark",source="yard"}'] == 1


def test_new_build_replaces_the_old_one() -> None:
    metrics = populated()
    metrics.build_info("0.2.0", "other", "cd" * 32)
    assert sum(series.startswith("ssondo_build_info") for series in samples(metrics)) == 1


def test_stage_is_timed_even_where_it_fails() -> None:
    metrics = Metrics()
    with pytest.raises(RuntimeError), metrics.stage("infer"):
        raise RuntimeError
    assert samples(metrics)['ssondo_stage_seconds_count{stage="infer"}'] == 1


def test_two_services_in_a_process_do_not_share_counts() -> None:
    first, second = Metrics(), Metrics()
    first.mqtt_published()
    assert samples(second)["ssondo_mqtt_published_total"] == 0


def test_registry_can_be_given() -> None:
    registry = CollectorRegistry()
    Metrics(registry).mqtt_published(3)
    assert registry.get_sample_value("ssondo_mqtt_published_total") == 3


def test_threads_may_tell_while_it_is_scraped() -> None:
    metrics = Metrics()
    source = metrics.observer("yard")

    def tell() -> None:
        for index in range(500):
            source.captured(1.0)
            source.level(-30)
            source.state(up=index % 2 == 0, flat=False, detail="")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.exposition()
    assert samples(metrics)['ssondo_audio_captured_seconds_total{source="yard"}'] == 2000


async def test_coverage_is_of_the_last_hour() -> None:
    clock = FakeClock()
    coverage = Coverage(clock)
    assert coverage.add(analyzed=3_600, missed=400) == 0.9
    await clock.advance(3_500)
    assert coverage.add(analyzed=4_000) == 0.95
    await clock.advance(200)
    assert coverage.add(analyzed=2_000) == 1.0
    assert coverage.add(missed=2_000) == 0.75
