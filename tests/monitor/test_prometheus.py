"""A real Prometheus scrapes a real endpoint and answers for every metric of the contract."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from monitor.web import serve
from tests.parts import free_port, require, within
from tests.parts_metrics import CONTRACT, populated


@asynccontextmanager
async def prometheus(target_port: int, folder: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A Prometheus that scrapes one port of loopback once a second; a session on its HTTP API."""
    program, port = require("prometheus"), free_port()
    scrape = {"job_name": "ssondo", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]}
    configuration = folder / "prometheus.yml"
    configuration.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    log = (folder / "prometheus.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=log,
        stderr=log,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(5)) as session:
            await _until_ready(session)
            yield session
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        async with within(20):
            await process.wait()
        log.close()


async def query(session: aiohttp.ClientSession, expression: str) -> list[dict[str, object]]:
    """Instant query: the series with their values."""
    async with session.get("/api/v1/query", params={"query": expression}) as response:
        document = await response.json()
    assert document["status"] == "success", document
    result: list[dict[str, object]] = document["data"]["result"]
    return result


async def answered(session: aiohttp.ClientSession, expression: str, seconds: float = 30.0) -> list[dict[str, object]]:
    """What a query answers once it answers anything."""
    async with within(seconds):
        while True:
            if found := await query(session, expression):
                return found
            await asyncio.sleep(0.2)


async def told_types(session: aiohttp.ClientSession) -> dict[str, str]:
    """Type of every metric of ours that Prometheus knows, by the name of its family."""
    async with session.get("/api/v1/metadata") as response:
        metadata = (await response.json())["data"]
    return {_family(name): about[0]["type"] for name, about in metadata.items() if name.startswith("ssondo_")}


def _family(name: str) -> str:
    return name.removesuffix("_total")  # OpenMetrics names a counter's family so


async def _until_ready(session: aiohttp.ClientSession) -> None:
    async with within(30):
        while True:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get("/-/ready") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def test_prometheus_answers_for_every_metric_of_the_contract(tmp_path: Path) -> None:
    async with (
        serve("127.0.0.1", 0, populated(), list) as port,
        prometheus(port, tmp_path) as session,
    ):
        assert (await answered(session, 'up{job="ssondo"} == 1'))[0]["value"]
        for name, (kind, labels) in CONTRACT.items():
            series = await query(session, f"{name}_count" if kind == "histogram" else name)
            assert series, f"no samples of {name}"
            found = set(series[0]["metric"]) - {"__name__", "instance", "job"}
            assert found == labels, name
        quantile = "histogram_quantile(0.5, ssondo_detection_latency_seconds_bucket)"
        assert 0.75 <= float((await query(session, quantile))[0]["value"][1]) <= 1.0
        assert (await query(session, "count(ssondo_events_total)"))[0]["value"][1] == "2"
        assert await told_types(session) == {_family(name): kind for name, (kind, _) in CONTRACT.items()}


def test_promtool_finds_nothing_wrong_with_the_exposition() -> None:
    done = subprocess.run(
        [require("promtool"), "check", "metrics"], input=populated().exposition(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("name", CONTRACT)
def test_metric_names_its_unit_or_what_it_counts(name: str) -> None:
    assert name.endswith(
        (
            "_seconds",
            "_total",
            "_dbfs",
            "_info",
            "_messages",
            "_up",
            "_flatline",
            "_factor",
            "_connected",
            "_ratio",
            "_healthy",
            "_degrees",
        )
    )
