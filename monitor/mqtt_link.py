"""One connection to an MQTT broker, until it ends, and why it did.

The one place that knows aiomqtt, which neither reconnects nor tells why in words that help; the rest is `monitor.mqtt`.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import aiomqtt

from monitor.errors import SinkRejected, SinkUnavailable
from monitor.mqtt_parameters import Parameters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: QoS 1 is acknowledged by the broker, 0 is not."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Link:
    """An open connection. State is whether it was lost, and why."""

    def __init__(self, client: aiomqtt.Client, parameters: Parameters) -> None:
        self._client = client
        self._address = parameters.address
        self._timeout = parameters.timeout_seconds
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def publish(self, message: Message) -> None:
        """Publish; with QoS 1, return once the broker has it. Calls under way together keep their order.

        Raises:
            SinkUnavailable: the link was lost, or no acknowledgement came in time, which ends the link.
            SinkRejected: no broker can take such a message.
        """
        await self.while_up(self._publish(message))

    async def while_up(self, work: Coroutine[None, None, T]) -> T:
        """Do work for as long as the link holds.

        Raises:
            SinkUnavailable: the link was lost first; the work is cancelled.
        """
        task = asyncio.create_task(work)
        either: set[asyncio.Future[T] | asyncio.Future[str]] = {task, self._lost}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise SinkUnavailable(self._lost.result())
        finally:
            task.cancel()

    def lose(self, reason: str) -> None:
        """Give the link up; the first reason counts."""
        if not self._lost.done():
            self._lost.set_result(reason)

    async def listen(self) -> None:
        """Notice the end of the connection; returns then."""
        try:
            async for _ in self._client.messages:
                pass  # nothing is subscribed to
        except aiomqtt.MqttError as error:
            self.lose(f"{self._address} closed the connection: {error.__cause__ or error}")

    async def _publish(self, message: Message) -> None:
        try:
            await self._client.publish(message.topic, message.payload, message.qos, message.retain)
        except aiomqtt.MqttCodeError as error:
            self.lose(f"{self._address} is gone: {error}")
            raise SinkUnavailable(self._lost.result()) from error
        except aiomqtt.MqttError as error:  # the one other: no answer in time
            self.lose(f"{self._address} acknowledged nothing for {self._timeout:g} s")
            raise SinkUnavailable(self._lost.result()) from error
        except ValueError as error:
            raise SinkRejected(f"cannot be published on {message.topic}: {error}") from error


@asynccontextmanager
async def connect(parameters: Parameters, will: Message) -> AsyncIterator[Link]:
    """Open a connection, and close it on leaving.

    Connecting is bounded by the library's own timeouts: it happens in a thread, and abandoning that would leave a
    second client of our name behind.

    Raises:
        SinkUnavailable: it could not be opened; the message says why and what to do.
    """
    troubles = _Troubles()
    client = aiomqtt.Client(
        parameters.host,
        parameters.port,
        username=parameters.username,
        password=parameters.password,
        identifier=parameters.client_id,
        keepalive=parameters.keepalive_seconds,
        timeout=parameters.timeout_seconds,
        will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        tls_context=parameters.tls,
        max_inflight_messages=_IN_FLIGHT,
        logger=troubles.logger,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # an event waits for no other
    )
    try:
        async with AsyncExitStack() as stack:
            await _enter(client, troubles)
            stack.push_async_callback(_leave, client)
            link = Link(client, parameters)
            listener = asyncio.create_task(link.listen(), name="mqtt listen")
            try:
                yield link
            finally:
                listener.cancel()
    except aiomqtt.MqttError as error:
        raise SinkUnavailable(_reason(error, parameters)) from error
    except UnicodeError as error:
        raise SinkUnavailable(f"{parameters.host!r} is no host name: check [mqtt] host") from error


_LEAVE_SECONDS = 0.5
_IN_FLIGHT = 64  # some brokers take no more than 100


class _Troubles(logging.Handler):
    """Hears what the library only writes to its log, such as the reason why a connection ended before it was accepted.

    State is the first such line.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._loop = asyncio.get_running_loop()
        self.first: asyncio.Future[str] = self._loop.create_future()
        self.logger = logging.Logger("mqtt", logging.ERROR)  # of this connection alone, and heard by nobody else
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line, from whatever thread."""
        self._loop.call_soon_threadsafe(self._note, record.getMessage())

    def _note(self, line: str) -> None:
        if not self.first.done():
            self.first.set_result(line)


async def _enter(client: aiomqtt.Client, troubles: _Troubles) -> None:
    """Connect, but do not wait for an answer that cannot come any more."""
    entering = asyncio.create_task(client.__aenter__())
    either: set[asyncio.Future[aiomqtt.Client] | asyncio.Future[str]] = {entering, troubles.first}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not entering.done():
            raise aiomqtt.MqttError(troubles.first.result())
        entering.result()
    finally:
        entering.cancel()


async def _leave(client: aiomqtt.Client) -> None:
    """Disconnect; where the link takes nothing any more, just let it go."""
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(_LEAVE_SECONDS):
            await client.__aexit__(None, None, None)


def _reason(error: aiomqtt.MqttError, parameters: Parameters) -> str:
    """Why there is no connection, and what to do."""
    code = getattr(error, "rc", None)
    if getattr(code, "value", code) in _REFUSED:
        return f"{parameters.address} refuses user or password: check [mqtt] username and password"
    for cause in _causes(error):
        for kind, text in _TROUBLES.items():
            if isinstance(cause, kind):
                return text.format(address=parameters.address, host=parameters.host, cause=cause)
    text = next((text for sign, text in _SIGNS.items() if sign in str(error)), "{address}: {cause}")
    return text.format(address=parameters.address, cause=error)


_REFUSED = (4, 5, 134, 135)  # bad user name or password, not authorised: CONNACK codes of MQTT 3 and 5
_AT_TLS = "check [mqtt] port, tls, cert_file and key_file"
_CUT_OFF = "{address} ended the connection at once: check [mqtt] port and tls"
_TROUBLES: Mapping[type[Exception], str] = {  # the special before the general
    ssl.SSLCertVerificationError: "{address} shows a certificate that does not hold: {cause.verify_message}; "
    "check [mqtt] host, and ca_file, which names the authority to trust",
    ssl.SSLError: "{address} fails at TLS: {cause.reason}; " + _AT_TLS,
    ConnectionRefusedError: "nothing listens at {address}: start the broker, or check [mqtt] host and port",
    ConnectionResetError: _CUT_OFF,
    socket.gaierror: "host {host!r} has no address: check [mqtt] host and the name service",
    TimeoutError: "{address} does not answer: check [mqtt] host and port, and the network",
}
_SIGNS: Mapping[str, str] = {  # in lines that the library logs
    "[SSL": "{address} refuses us at TLS: {cause}; " + _AT_TLS,
    "reset by peer": _CUT_OFF,
}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
