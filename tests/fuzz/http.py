"""What is sent to the HTTP port: any bytes on one connection, to a server that asks for a token."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from monitor.web import runner_of
from tests.fuzz import Case
from tests.parts_metrics import populated

TOKEN = "sesame-opens-no-door-0123456789"
_TURNS = 12  # of the loop: parse, handle, answer


def seeds() -> list[bytes]:
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n" for path in ("/metrics", "/health", "/ready", "/", "/a?b=%00")
    ]
    requests += [
        f"GET /ready HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Basic eDp5\r\nAccept: application/openmetrics-text\r\n\r\n",
        "HEAD /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /ready HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /ready HTTP/1.1\r\nHost: x\r\nExpect: \xd450-continue\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nCookie: a=b\r\n\r\n",
    ]
    return [request.encode("latin-1") for request in requests]


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that sends it: every answer is HTTP, and no metrics are shown without the token."""
    with asyncio.Runner() as runner:
        server = runner.run(_set_up())

        def case(data: bytes) -> None:
            answer = runner.get_loop().run_until_complete(_ask(server, data))
            assert not answer or answer.startswith(b"HTTP/"), answer
            if TOKEN.encode() not in data:
                assert b"ssondo_" not in answer
                assert b"hidden reason" not in answer
            assert b"500 " not in answer.split(b"\r\n", 1)[0], answer
            assert b"Traceback" not in answer

        yield case
        runner.run(server.cleanup())


async def _set_up() -> web.ServerRunner:
    server = runner_of(populated(), lambda: ["source yard: hidden reason"], TOKEN)
    await server.setup()
    return server


async def _ask(runner: web.ServerRunner, data: bytes) -> bytes:
    troubles: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: troubles.append(context))
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        assert runner.server
        await loop.connect_accepted_socket(runner.server, theirs)
        ours.send(data)
        answer = b""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            answer += _received(ours)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not troubles, troubles
    return answer


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except OSError:
        return b""
