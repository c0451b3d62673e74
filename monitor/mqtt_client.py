"""aiomqtt's client, mended where it hides what the broker says, and where it loses its socket.

It grows out of what the library keeps to itself, so that a new release of it needs a look at this file.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiomqtt

T = TypeVar("T")

IN_FLIGHT = 64  # some brokers of MQTT 3.1.1, which cannot tell, take no more than 100


class Refused(aiomqtt.MqttError):
    """The broker acknowledged a message by saying that it does not take it."""


class Client(aiomqtt.Client):
    """A client that tells what the library hears and passes over: refusals, and how much the broker takes at once.

    State is the refusals that `publish` has not told yet.

    Attributes:
        most_in_flight: messages that may be sent and not yet acknowledged.
    """

    most_in_flight = 0

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None) -> None:
        self.most_in_flight = min(IN_FLIGHT, getattr(properties, "ReceiveMaximum", IN_FLIGHT))
        self._refusals: dict[int, str] = {}
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:  # also from the thread that connects
        self._loop.call_soon_threadsafe(self._fail_connecting)
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _fail_connecting(self) -> None:
        """Who hangs up before an answer will not answer, for which the library would wait."""
        if not self._connected.done():
            self._connected.set_exception(aiomqtt.MqttError("reset by peer"))
            self._connected.exception()  # told, lest the loop complains where nobody asks any more

    def _on_publish(self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any) -> None:
        if reason_code.is_failure:
            self._refusals[mid] = str(reason_code)
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def hang_up(self) -> None:
        """Close the socket, which the library leaves open, and watched by the loop, after what it cannot read."""
        try:
            if (open_socket := self._client.socket()) is not None:
                asyncio.get_running_loop().remove_reader(open_socket)
                await asyncio.sleep(0)  # what the library has asked the loop to do with the socket is done first
        finally:
            self._client._sock_close()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()  # else the loop reports that nobody asked

    def _on_socket_open(self, client: Any, userdata: Any, sock: Any) -> None:
        def read() -> None:
            client.loop_read()
            while hasattr(sock, "pending") and sock.pending():  # decrypted, and no longer in the socket
                client.loop_read()

        def begin() -> None:
            self._watch(sock, self._loop.add_reader, read)
            self._misc_task = self._loop.create_task(self._misc_loop())

        self._loop.call_soon_threadsafe(begin)

    def _on_socket_register_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._watch, sock, self._loop.add_writer, client.loop_write)

    def _on_socket_unregister_write(self, client: Any, userdata: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._unwatch, sock)  # in turn, for the thread that connects asks as well

    def _unwatch(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _on_socket_close(self, client: Any, userdata: Any, sock: Any) -> None:
        self._unwatch(sock)
        super()._on_socket_close(client, userdata, sock)

    def _watch(self, sock: Any, add: Callable[[int, Callable[[], None]], object], work: Callable[[], object]) -> None:
        """As the library does, but not once the socket is closed: its number may be another's by then."""

        def react() -> None:
            try:
                work()
            except Exception as error:
                if not self._disconnected.done():
                    self._disconnected.set_exception(error)

        if sock.fileno() >= 0:
            add(sock.fileno(), react)

    @contextmanager
    def _pending_call(self, mid: int, value: T, pending_dict: dict[int, T]) -> Iterator[None]:
        with super()._pending_call(mid, value, pending_dict):
            yield
        if refusal := self._refusals.pop(mid, None):
            raise Refused(refusal)
