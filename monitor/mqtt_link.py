"""One connection to an MQTT broker, until it ends, and why it did.

aiomqtt neither reconnects nor tells why in words that help; the rest is `monitor.mqtt`.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import aiomqtt

from monitor.errors import SinkRefused, SinkRejected, SinkUnavailable
from monitor.mqtt_client import IN_FLIGHT, Client, Refused
from monitor.mqtt_parameters import Parameters
from monitor.mqtt_reasons import UNSUPPORTED, code, reason

T = TypeVar("T")

Hear: TypeAlias = Callable[[str, bytes], None]
"""Gets topic and payload of a message that comes in."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: QoS 1 is acknowledged by the broker, 0 is not."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Link:
    """An open connection. State is whether it was lost, and why."""

    def __init__(self, client: Client, parameters: Parameters) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(client.most_in_flight)
        self._address = parameters.address
        self._timeout = parameters.timeout_seconds
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def publish(self, message: Message) -> None:
        """Publish; with QoS 1, return once the broker has it. Calls under way together keep their order.

        Raises:
            SinkUnavailable: the link was lost, or no acknowledgement came in time, which ends the link.
            SinkRefused: the broker does not allow it; the link goes on.
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

    async def subscribe(self, topic: str) -> None:
        """Ask for what is published on a topic from now on; a broker may refuse that, which is told in the log.

        Raises:
            SinkUnavailable: the link was lost, or no answer came in time, which ends the link.
        """
        await self.while_up(self._subscribe(topic))

    async def listen(self, hear: Hear) -> None:
        """Pass on what comes in, but for what is only retained; returns when the connection ends."""
        try:
            async for message in self._client.messages:
                if not message.retain and isinstance(message.payload, bytes):
                    hear(str(message.topic), message.payload)
        except aiomqtt.MqttError as error:
            self.lose(f"{self._address} closed the connection: {error.__cause__ or error}")

    async def _publish(self, message: Message) -> None:
        try:
            async with self._turns:
                await self._client.publish(message.topic, message.payload, message.qos, message.retain)
        except Refused as error:
            raise SinkRefused(f"{self._address} refuses {message.topic}: {error}; check its access rules") from error
        except aiomqtt.MqttError as error:
            raise self._gone(error) from error
        except ValueError as error:
            raise SinkRejected(f"cannot be published on {message.topic}: {error}") from error

    async def _subscribe(self, topic: str) -> None:
        try:
            answers = await self._client.subscribe(topic, qos=1)
        except aiomqtt.MqttError as error:
            raise self._gone(error) from error
        if any(getattr(answer, "value", answer) >= _FAILURE for answer in answers):
            log.info("mqtt broker lets us not hear", extra={"fields": {"topic": topic}})

    def _gone(self, error: aiomqtt.MqttError) -> SinkUnavailable:
        if isinstance(error, aiomqtt.MqttCodeError):
            self.lose(f"{self._address} is gone: {error}")
        else:  # the one other: no answer in time
            self.lose(f"{self._address} acknowledged nothing for {self._timeout:g} s")
        return SinkUnavailable(self._lost.result())


@asynccontextmanager
async def connect(parameters: Parameters, will: Message, hear: Hear = lambda *_: None) -> AsyncIterator[Link]:
    """Open a connection, and close it on leaving.

    Connecting is bounded by the library's own timeouts: it happens in a thread, and abandoning that would leave a
    second client of our name behind.

    Raises:
        SinkUnavailable: it could not be opened; the message says why and what to do.
    """
    try:
        async with AsyncExitStack() as stack:
            client = await _connected(parameters, will)
            link = Link(client, parameters)
            listener = asyncio.create_task(link.listen(hear), name="mqtt listen")
            stack.push_async_callback(_leave, client, listener)
            yield link
    except aiomqtt.MqttError as error:
        raise SinkUnavailable(reason(error, parameters)) from error
    except UnicodeError as error:
        raise SinkUnavailable(f"{parameters.host!r} is no host name: check [mqtt] host") from error


async def _connected(parameters: Parameters, will: Message) -> Client:
    """A client that the broker has accepted; of MQTT 3.1.1, which tells no refusals, where it speaks no other."""
    try:
        return await _try_connecting(parameters, will, _VERSIONS[parameters.version])
    except aiomqtt.MqttError as error:
        if code(error) != UNSUPPORTED:
            raise
    return await _try_connecting(parameters, will, aiomqtt.ProtocolVersion.V311)


async def _try_connecting(parameters: Parameters, will: Message, protocol: aiomqtt.ProtocolVersion) -> Client:
    troubles = _Troubles()
    client = Client(
        parameters.host,
        parameters.port,
        protocol=protocol,
        username=parameters.username,
        password=parameters.password,
        identifier=parameters.client_id,
        keepalive=parameters.keepalive_seconds - 1,  # the library looks once a second, twice until it gives a link up
        timeout=parameters.timeout_seconds,
        will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        tls_context=parameters.tls,
        max_inflight_messages=IN_FLIGHT,
        logger=troubles.logger,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],  # an event waits for no other
    )
    try:
        await _enter(client, troubles)
    except aiomqtt.MqttError:
        await client.hang_up()
        raise
    return client


_LEAVE_SECONDS = 0.5
_FAILURE = 128  # and above, in an answer of the broker


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
    ended = client._disconnected  # the library forgets it where a broker accepts us and hangs up, or speaks nonsense
    entering = asyncio.create_task(client.__aenter__())
    entering.add_done_callback(lambda task: task.cancelled() or task.exception())  # told by whichever tells first
    either: set[asyncio.Future[aiomqtt.Client] | asyncio.Future[str] | asyncio.Future[None]]
    either = {entering, troubles.first, ended}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if entering.done():
            entering.result()
        if ended.done():
            raise aiomqtt.MqttError("reset by peer") from ended.exception()
        if not entering.done():
            raise aiomqtt.MqttError(troubles.first.result())
    finally:
        entering.cancel()


async def _leave(client: Client, listener: asyncio.Task[None]) -> None:
    """Disconnect, which ends the listener; where the link takes nothing any more, just let it go."""
    with suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(_LEAVE_SECONDS):
            await client.__aexit__(None, None, None)
            await listener  # it takes note of how the connection ended, lest the loop reports that as an error
    listener.cancel()
    await client.hang_up()


_VERSIONS = {"5": aiomqtt.ProtocolVersion.V5, "3.1.1": aiomqtt.ProtocolVersion.V311}
