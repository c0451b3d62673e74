"""Memory, load and start of the real service, as a process of its own with generated sources in real time."""

import time
from pathlib import Path

import psutil

from tests.bench.rows import Row
from tests.parts_service import Service, running

SECONDS = 60.0
WARM_UP = 15.0


def service_resources(folder: Path) -> list[Row]:
    """One source, then eight."""
    rows = []
    with running(folder / "one", _sources(1)) as service:
        begun = time.monotonic()
        service.wait(lambda s: s.metrics()['ssondo_audio_analyzed_seconds_total{source="demo0"}'] > 0, "a prediction")
        took = time.monotonic() - begun
        rows.append(Row("start to first prediction", took, "s", 3, note="process start to /metrics"))
        time.sleep(WARM_UP)
        rows.append(Row("memory, one source", _megabytes(service), "MB", 150, note="RSS, embedded broker included"))
    with running(folder / "eight", _sources(8)) as service:
        service.wait(Service.ready, "readiness")
        time.sleep(SECONDS)
        found = service.metrics()
        rows.append(Row("memory, eight sources", _megabytes(service), "MB", 250, note="RSS, embedded broker included"))
        gaps = sum(value for name, value in found.items() if name.startswith("ssondo_audio_gap_seconds_total"))
        rows.append(Row("gaps, eight sources, 60 s", gaps, "s", 0, note="all sources, all reasons"))
        factors = [value for name, value in found.items() if name.startswith("ssondo_realtime_factor")]
        busy = sum(v for name, v in found.items() if name.startswith("ssondo_stage_seconds_sum")) / SECONDS
        note = f"largest of eight; analysis took {busy:.2f} of one core"
        rows.append(Row("real-time factor, eight sources", max(factors), "", 0.5, note=note))
    return rows


def _sources(count: int) -> str:
    return "\n".join(f'[[source]]\nname = "demo{i}"\nkind = "demo"\nseed = {i}' for i in range(count))


def _megabytes(service: Service) -> float:
    return float(psutil.Process(service.process.pid).memory_info().rss) / 1e6
