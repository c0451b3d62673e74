"""Metrics and health over HTTP, for Prometheus and for whoever asks whether the sensor listens.

It serves numbers without authentication, so it stays on loopback unless told otherwise.
"""

import errno
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from monitor.errors import ConfigError
from monitor.metrics import Metrics

Readiness = Callable[[], Sequence[str]]
"""Reasons not to be ready; none when ready."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve(host: str, port: int, metrics: Metrics, readiness: Readiness) -> AsyncIterator[int]:
    """Serve `/metrics`, `/health` and `/ready` while the context lasts.

    Args:
        host: address or name to bind.
        port: 0 for any free one.
        metrics: what `/metrics` shows.
        readiness: asked on every `/ready`.

    Yields:
        The port that was bound.

    Raises:
        ConfigError: the address cannot be bound.
    """
    runner = web.AppRunner(
        _application(metrics, readiness),
        access_log=None,
        shutdown_timeout=1.0,
        keepalive_timeout=75,
        max_line_size=2048,
        max_field_size=4096,
        lingering_time=0,
    )
    await runner.setup()
    try:
        await _bind(runner, host, port)
        bound = int(runner.addresses[0][1])
        log.info("serving metrics and health", extra={"fields": {"url": f"http://{host}:{bound}/metrics"}})
        if not _is_loopback(host):
            log.warning("metrics are open to the network", extra={"fields": {"host": host, "port": bound}})
        yield bound
    finally:
        await runner.cleanup()


def _application(metrics: Metrics, readiness: Readiness) -> web.Application:
    async def show_metrics(request: web.Request) -> web.Response:
        body, content_type = metrics.negotiated(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def show_health(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def show_ready(_: web.Request) -> web.Response:
        reasons = list(readiness())
        return web.json_response({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)

    handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
        "/metrics": show_metrics,
        "/health": show_health,
        "/ready": show_ready,
    }
    application = web.Application(client_max_size=1024)
    application.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    return application


async def _bind(runner: web.AppRunner, host: str, port: int) -> None:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "is already in use; stop the other program or set another port",
            errno.EACCES: "is not permitted; expected a port above 1023",
            errno.EADDRNOTAVAIL: "is not an address of this machine; set [http] host",
        }
        reason = reasons.get(error.errno or 0, f"cannot be bound: {error.strerror or error}; see [http] host")
        raise ConfigError(f"[http] port: {port} on {host} {reason}") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
