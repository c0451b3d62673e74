"""Metrics and health over HTTP, for Prometheus and for whoever asks whether the sensor listens.

Where there is a token, only who brings it sees numbers and reasons; whether the sensor lives and listens is told to
anyone, because the probes of containers and load balancers bring none.
"""

import asyncio
import errno
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.http import HttpProcessingError

from monitor.errors import ConfigError
from monitor.metrics import Metrics

Readiness = Callable[[], Sequence[str]]
"""Reasons not to be ready; none when ready."""

CONNECTIONS = 64
"""Open at once; beyond that the oldest gives way, so that idle ones take neither the port nor the process's files."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve(
    host: str, port: int, metrics: Metrics, readiness: Readiness, token: str | None = None
) -> AsyncIterator[int]:
    """Serve `/metrics`, `/health` and `/ready` while the context lasts.

    Args:
        host: address or name to bind.
        port: 0 for any free one.
        metrics: what `/metrics` shows.
        readiness: asked on every `/ready`.
        token: that `/metrics` and the reasons of `/ready` need, as `Authorization: Bearer`; none for no login.

    Yields:
        The port that was bound.

    Raises:
        ConfigError: the address cannot be bound.
    """
    runner = runner_of(metrics, readiness, token)
    await runner.setup()
    server = None
    try:
        server = await _bind(runner, host, port)
        bound = int(server.sockets[0].getsockname()[1])
        fields = {"url": f"http://{host}:{bound}/metrics", "token": token is not None}
        log.info("serving metrics and health", extra={"fields": fields})
        yield bound
    finally:
        if server is not None:
            server.close()
        await runner.cleanup()


def runner_of(metrics: Metrics, readiness: Readiness, token: str | None = None) -> web.ServerRunner:
    """What answers on each connection; see `serve`."""
    server = web.Server(
        _Pages(metrics, readiness, token),
        access_log=None,
        logger=_requests_log(),
        keepalive_timeout=75,
        max_line_size=2048,
        max_field_size=4096,
        lingering_time=0,
    )
    return web.ServerRunner(server, shutdown_timeout=1.0)


def _requests_log() -> logging.Logger:
    """Hears of our own mistakes; those of clients would let anyone fill the log, with whatever they sent."""
    requests = logging.getLogger(f"{__name__}.requests")
    requests.addFilter(_our_own)
    return requests


def _our_own(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _Pages:
    """Answers every request. State is nobody's: what is shown belongs to others."""

    def __init__(self, metrics: Metrics, readiness: Readiness, token: str | None) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._token = None if token is None else token.encode()
        self._pages = {"/metrics": self._show_metrics, "/health": self._show_health, "/ready": self._show_ready}

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        page = self._pages.get(request.path)
        if self._refuses(request):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="ssondo-monitor"'})
        if page is None:
            return web.Response(status=404)
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        return page(request)

    def _refuses(self, request: web.BaseRequest) -> bool:
        """A wrong token is refused even where none is needed, lest its bearer believes it to be right."""
        open_to_all = request.path in ("/health", "/ready") and "Authorization" not in request.headers
        return not open_to_all and not self._knows(request)

    def _knows(self, request: web.BaseRequest) -> bool:
        """Whether the token was brought; without one, everybody is known."""
        if self._token is None:
            return True
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        brought = given.strip().encode("utf-8", "surrogateescape")
        return scheme.lower() == "bearer" and hmac.compare_digest(brought, self._token)

    def _show_metrics(self, request: web.BaseRequest) -> web.Response:
        body, content_type = self._metrics.negotiated(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _show_health(self, _: web.BaseRequest) -> web.Response:
        return web.json_response({"alive": True})

    def _show_ready(self, request: web.BaseRequest) -> web.Response:
        reasons = list(self._readiness())
        answer = {"ready": not reasons, **({"reasons": reasons} if self._knows(request) else {})}
        return web.json_response(answer, status=503 if reasons else 200)


async def _bind(runner: web.ServerRunner, host: str, port: int) -> asyncio.Server:
    server = runner.server
    if server is None:
        raise ValueError("the runner must be set up first")

    def accept() -> asyncio.BaseProtocol:
        if len(server.connections) >= CONNECTIONS:
            server.connections[0].force_close()
        return server()

    try:
        return await asyncio.get_running_loop().create_server(accept, host, port)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "is already in use; stop the other program or set another port",
            errno.EACCES: "is not permitted; expected a port above 1023",
            errno.EADDRNOTAVAIL: "is not an address of this machine; set [http] host",
        }
        reason = reasons.get(error.errno or 0, f"cannot be bound: {error.strerror or error}; see [http] host")
        raise ConfigError(f"[http] port: {port} on {host} {reason}") from error
