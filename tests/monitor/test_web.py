"""Metrics and health over real HTTP."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from monitor.errors import ConfigError
from monitor.web import serve
from tests.parts import promised, within
from tests.parts_metrics import populated


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
async def port(reasons: list[str]) -> AsyncIterator[int]:
    async with serve("127.0.0.1", 0, populated(), lambda: reasons) as port:
        yield port


@pytest.fixture
async def client(port: int) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(5)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=timeout) as session:
        yield session


async def test_metrics_are_in_the_text_format_by_default(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert 'ssondo_source_up{source="yard"} 1.0' in await response.text()


async def test_metrics_are_in_openmetrics_where_that_is_asked_for(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as response:
        assert response.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await response.text()).endswith("# EOF\n")


async def test_health_says_alive_even_when_not_ready(client: aiohttp.ClientSession, reasons: list[str]) -> None:
    reasons.append("source yard: unplugged")
    async with client.get("/health") as response:
        assert response.status == 200


async def test_ready_is_503_with_the_reasons_and_200_without(client: aiohttp.ClientSession, reasons: list[str]) -> None:
    reasons += ["source yard: unplugged", "mqtt: not connected"]
    async with client.get("/ready") as response:
        assert response.status == 503
        assert await response.json() == {"ready": False, "reasons": ["source yard: unplugged", "mqtt: not connected"]}
    reasons.clear()
    async with client.get("/ready") as response:
        assert response.status == 200
        assert await response.json() == {"ready": True, "reasons": []}


@pytest.mark.parametrize("path", ["/metrics", "/health", "/ready"])
async def test_head_gives_the_headers_alone(client: aiohttp.ClientSession, path: str) -> None:
    async with client.head(path) as response:
        assert response.status == 200
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("GET", "/../etc/passwd", 404), ("POST", "/metrics", 405)],
)
async def test_anything_else_is_refused(client: aiohttp.ClientSession, method: str, path: str, status: int) -> None:
    async with client.request(method, path) as response:
        assert response.status == status


async def test_endless_headers_are_refused(client: aiohttp.ClientSession) -> None:
    async with client.get("/health", headers={"X-Long": "x" * 10_000}) as response:
        assert response.status == 400


async def test_garbage_is_answered_and_the_server_lives(client: aiohttp.ClientSession, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x16\x03\x01\x02\x00 not HTTP\r\n\r\n")
    async with within(5):
        assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    async with client.get("/health") as response:
        assert response.status == 200


async def test_port_in_use_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            async with serve("127.0.0.1", port, populated(), list):
                pass
    assert str(caught.value).startswith(f"[http] port: {port} on 127.0.0.1 is already in use")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
async def test_address_of_another_machine_names_the_setting(host: str) -> None:
    with pytest.raises(ConfigError, match=r"^\[http\] port: 9108 on \S+ .*set \[http\] host|see \[http\] host"):
        async with serve(host, 9108, populated(), list):
            pass


async def test_port_is_free_again_afterwards() -> None:
    async with serve("127.0.0.1", 0, populated(), list) as port:
        pass
    async with serve("127.0.0.1", port, populated(), list) as again:
        assert again == port


async def test_idle_client_does_not_hold_up_the_end() -> None:
    with promised(4):
        async with within(4):
            async with serve("127.0.0.1", 0, populated(), list) as port:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /health HTTP/1.1\r\nHost: half")
                await writer.drain()
            writer.close()


async def test_requests_are_not_logged(client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with client.get("/ready") as response:
            json.loads(await response.text())
    assert not caplog.records
