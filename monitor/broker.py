"""An embedded MQTT broker on loopback, so that a fresh machine has somewhere to publish to.

The one place that knows amqtt, which is an optional extra. Nothing is kept on disk.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from monitor.errors import ConfigError

log = logging.getLogger(__name__)

HOST = "127.0.0.1"


@asynccontextmanager
async def embedded_broker(port: int) -> AsyncIterator[None]:
    """Run a broker on loopback for as long as the block lasts; anyone on this machine may connect.

    Raises:
        ConfigError: the port is in use, or amqtt is not installed.
    """
    try:
        from amqtt.broker import Broker  # noqa: PLC0415 - an optional extra, and slow to import
        from amqtt.errors import BrokerError  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "[mqtt] host is not set, and the embedded broker is not installed: "
            "pip install 'ssondo-monitor[broker]', or set [mqtt] host"
        ) from error
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.WARNING)
    broker = Broker(_settings(port))
    try:
        await broker.start()
    except BrokerError as error:
        raise ConfigError(
            f"[mqtt] embedded_port {port} cannot be used: {error.__cause__ or error}; "
            "set another, or set [mqtt] host to the broker that is there"
        ) from error
    log.info("embedded broker listens", extra={"fields": {"host": HOST, "port": port}})
    try:
        yield
    finally:
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await broker.shutdown()
        except TimeoutError:
            log.warning("embedded broker did not stop in time", extra={"fields": {"seconds": _STOP_SECONDS}})


_STOP_SECONDS = 2.0


def _settings(port: int) -> dict[str, object]:
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
