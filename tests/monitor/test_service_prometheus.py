"""A real Prometheus scrapes the whole service and answers for every metric."""

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from tests.parts import PATIENCE, free_port, require
from tests.parts_service import Service, running


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, int]]:
    """A real Prometheus that scrapes a real service; the port of the former."""
    folder = tmp_path_factory.mktemp("prometheus")
    port, program = free_port(), require("prometheus")
    with running(folder / "service", "[node]\nlatitude = 48.137\nlongitude = 11.576\n") as service:
        service.wait(Service.ready, "readiness")
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: ssondo\n"
            f"  static_configs: [{{targets: ['127.0.0.1:{service.http_port}']}}]\n"
        )
        command = [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
        try:
            service.wait(lambda _: bool(query(port, "ssondo_events_total > 0")), "a scraped event")
            yield service, port
        finally:
            server.kill()
            server.wait()


def query(port: int, expression: str) -> list[object]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=PATIENCE * 5) as answer:
        return list(json.load(answer)["data"]["result"])


@pytest.mark.parametrize(
    "expression",
    [
        'rate(ssondo_audio_captured_seconds_total{source="demo"}[10s]) > 0.5',
        'rate(ssondo_audio_analyzed_seconds_total{source="demo"}[10s]) > 0.5',
        'ssondo_audio_gap_seconds_total{source="demo",reason="outage"} == 0',
        'ssondo_audio_coverage_ratio{source="demo"} == 1',
        'time() - ssondo_last_audio_timestamp_seconds{source="demo"} < 5',
        "ssondo_source_up == 1",
        "ssondo_source_flatline == 0",
        "ssondo_level_dbfs < 0",
        "ssondo_source_restarts_total == 0",
        'histogram_quantile(0.9, rate(ssondo_stage_seconds_bucket{stage="infer"}[10s])) > 0',
        'histogram_quantile(0.9, rate(ssondo_stage_seconds_bucket{stage="mel"}[10s])) > 0',
        'histogram_quantile(0.9, rate(ssondo_stage_seconds_bucket{stage="resample"}[10s])) > 0',
        'histogram_quantile(0.9, rate(ssondo_stage_seconds_bucket{stage="detect"}[10s])) > 0',
        "ssondo_detection_latency_seconds_count > 0",
        "ssondo_realtime_factor < 1",
        'ssondo_events_total{label="smoke_alarm"} > 0',
        'ssondo_events_total{label="dog_bark"} >= 0',
        'ssondo_events_refuted_total{label="siren"} >= 0',
        'ssondo_events_narrow_total{label="siren"} >= 0',
        "ssondo_node_latitude_degrees == 48.137",
        "ssondo_node_longitude_degrees == 11.576",
        "ssondo_spool_messages >= 0",
        "ssondo_spool_dropped_total == 0",
        "ssondo_spool_healthy == 1",
        "ssondo_mqtt_published_total > 0",
        "ssondo_mqtt_acked_total > 0",
        "ssondo_mqtt_connected == 1",
        'ssondo_build_info{model="default"} == 1',
    ],
)
def test_prometheus_answers_for_every_metric(prometheus: tuple[Service, int], expression: str) -> None:
    service, port = prometheus
    service.wait(lambda _: bool(query(port, expression)), expression, 10)
