"""Who is let in over HTTP: nobody from elsewhere without a token, and nobody who takes it down."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from monitor.web import CONNECTIONS, serve
from tests.parts import within
from tests.parts_config import bundle, load, mistakes
from tests.parts_metrics import populated

__all__ = ["bundle", "load", "mistakes"]

TOKEN = "tellmewhatyouhear-0123456789"
REASONS = ["source yard: unplugged"]


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        serve("127.0.0.1", 0, populated(), lambda: REASONS, TOKEN) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}", timeout=aiohttp.ClientTimeout(5)) as session,
    ):
        yield session


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/metrics", None, 401),
        ("/metrics", f"Bearer {TOKEN}", 200),
        ("/metrics", f"bearer  {TOKEN} ", 200),
        ("/metrics", f"Bearer {TOKEN}x", 401),
        ("/metrics", f"Bearer {TOKEN[:-1]}", 401),
        ("/metrics", "Bearer ", 401),
        ("/metrics", "Bearer \u00e9\u00e9", 401),
        ("/metrics", f"Basic {TOKEN}", 401),
        ("/metrics", TOKEN, 401),
        (f"/metrics?token={TOKEN}", None, 401),
        ("/nothing", None, 401),
        ("/nothing", f"Bearer {TOKEN}", 404),
        ("/health", None, 200),
        ("/health", "Bearer wrong", 401),
        ("/ready", None, 503),
        ("/ready", "Bearer wrong", 401),
        ("/ready", f"Bearer {TOKEN}", 503),
    ],
)
async def test_token_is_needed_for_all_but_probes(
    client: aiohttp.ClientSession, path: str, authorization: str | None, status: int
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with client.get(path, headers=headers) as response:
        assert response.status == status
        assert TOKEN not in f"{response.headers}{await response.text()}"
        assert (response.headers.get("WWW-Authenticate") == 'Bearer realm="ssondo-monitor"') == (status == 401)


async def test_probes_are_told_whether_but_not_why(client: aiohttp.ClientSession) -> None:
    async with client.get("/ready") as response:
        assert await response.json() == {"ready": False}
    async with client.get("/ready", headers={"Authorization": f"Bearer {TOKEN}"}) as response:
        assert await response.json() == {"ready": False, "reasons": REASONS}


@pytest.mark.parametrize(
    "header", ["Expect: \xd450-continue", "Expect: tea", "Content-Length: x", "Upgrade: websocket"]
)
async def test_strange_headers_make_no_trouble_of_ours(caplog: pytest.LogCaptureFixture, header: str) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serve("127.0.0.1", 0, populated(), list) as port, within(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /health HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode("latin-1"))
            assert int((await reader.readline()).split()[1]) in (200, 400)
            writer.close()
            await writer.wait_closed()
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


async def test_idle_connections_do_not_keep_others_out() -> None:
    async with serve("127.0.0.1", 0, populated(), list) as port, within(20):
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * CONNECTIONS)]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as response:
            assert response.status == 200
        assert [reader.at_eof() for reader, _ in idle[:CONNECTIONS]] == CONNECTIONS * [True], "the oldest give way"
        assert not idle[-1][0].at_eof()
        for _, writer in idle:
            writer.close()


@pytest.mark.parametrize(
    ("http", "told"),
    [
        ('host = "0.0.0.0"', "http.host: got '0.0.0.0', expected a loopback address, or http.token_file, or"),
        ('host = ""', "http.host: got ''"),
        ('host = "sensor.example"', "http.host: got 'sensor.example'"),
        ('token = "short"', "http.token: expected 16 to 512 letters, digits,"),
        (f'token = "{TOKEN} {TOKEN}"', "http.token: expected 16 to 512"),
        (f'token = "{TOKEN}"\ntoken_file = "token"', "http.token_file: given beside http.token"),
        ('token_file = "absent"', "http.token_file: got 'absent', expected a file that can be read"),
        ('token_file = "/dev/zero"', "it is not a regular file"),
        ('token_file = "empty"', "http: token_file empty: expected one line that holds the secret"),
        ('token_file = "noise"', "http: token_file noise: is not UTF-8 text"),
    ],
)
def test_open_port_and_useless_token_are_mistakes(mistakes, tmp_path: Path, http: str, told: str) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "noise").write_bytes(b"\xff" + TOKEN.encode())
    lines = mistakes(f"[http]\n{http}\n")
    assert told in "\n".join(lines)
    assert TOKEN not in "\n".join(lines)
    assert "short" not in "\n".join(lines)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_no_token(load, host: str) -> None:
    assert load(f'[http]\nhost = "{host}"\n').http.host == host


@pytest.mark.parametrize("access", ["allow_anonymous = true", f'token = "{TOKEN}"'])
def test_other_addresses_need_a_token_or_a_switch(load, access: str) -> None:
    settings = load(f'[http]\nhost = "0.0.0.0"\n{access}\n')
    assert json.dumps(settings.model_dump(mode="json")).count(TOKEN) == 0
