"""The MQTT sink: topics, retained states, and a connection that is renewed for ever.

Subscribers must be able to tell silence from absence: on connect the retained states are set right first, then `online`
is said, and the broker says `offline` for a service that vanishes.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeAlias

from monitor.backoff import Backoff
from monitor.clock import Clock
from monitor.config import MqttSettings
from monitor.errors import ConfigError, SinkRefused, SinkUnavailable
from monitor.events import Event
from monitor.mqtt_link import Link, Message, connect
from monitor.mqtt_parameters import parameters

log = logging.getLogger(__name__)

Publish: TypeAlias = Callable[[Message], Awaitable[bool]]
"""Publishes a message; False where the broker refuses it."""


class MqttSink:
    """Publishes events and states of this node.

    State is the retained states, which are published anew on each connection, and an outbox of states that changed.

    Attributes:
        published: events handed to the broker, repeats counted.
        acked: events that the broker acknowledged.
        detail: why there is no connection, or what the broker refuses; None while all is well.
    """

    name = "mqtt"

    def __init__(
        self,
        settings: MqttSettings,
        node: str,
        clock: Clock,
        *,
        on_connect: Callable[[Publish], Awaitable[None]] | None = None,
        again_on: tuple[str, bytes] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Connect nowhere yet, see `run`.

        Args:
            settings: of the broker.
            node: names this sensor in topics.
            clock: lets the waits between attempts pass.
            on_connect: publishes more on each connection, after the states and before `online`.
            again_on: topic and payload of a message on which it shall do so once more.
            backoff: waits between attempts.
        """
        self.published = 0
        self.acked = 0
        self.detail: str | None = "not connected yet"
        self._settings = settings
        self._node = node
        self._clock = clock
        self._on_connect = on_connect
        self._again_on = again_on
        self._asked = False
        self._in_vain = 0
        self._backoff = backoff or Backoff(0.5, settings.retry_max_seconds)
        self._topic = f"{settings.base_topic}/{node}"
        self._states: dict[str, Message] = {}
        self._outbox: dict[str, Message] = {}
        self._refused: dict[str, Message] = {}
        self._told: set[str] = set()
        self._changed = asyncio.Event()
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def connected(self) -> bool:
        """Whether the broker has been told that this node is online, and the link seems to hold."""
        return self._link is not None

    async def run(self) -> None:
        """Keep a connection, for ever, until `close` or cancellation; both say `offline` first."""
        self._task = asyncio.create_task(self._keep_connected(), name="mqtt connection")
        try:
            await self._task
        except asyncio.CancelledError:
            if not self._closing:
                raise

    async def close(self) -> None:
        """Publish what changed and `offline`, and end `run`; within about 2 s whatever the broker does."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=2 * _FAREWELL_SECONDS)

    async def ready(self) -> None:
        """Return once connected."""
        await self._up.wait()

    async def send(self, event: Event) -> None:
        """Publish an event; return once the broker has it.

        Raises:
            SinkUnavailable: there is no connection, it was lost before the acknowledgement, or the broker refuses.
            SinkRejected: no broker can take it.
        """
        link = self._link
        if link is None:
            raise SinkUnavailable(f"mqtt: {self.detail}")
        self.published += 1
        message = Message(f"{self._topic}/{event.source}/event", event.to_json())
        try:
            await link.publish(message)
        except SinkRefused as error:
            self._note_refusal(message, error)
            raise
        self.acked += 1
        self._note_success(message.topic)

    def retain(self, subtopic: str, payload: str | bytes) -> None:
        """Set a retained state below this node's topic, now or as soon as there is a connection; empty clears it."""
        body = payload.encode() if isinstance(payload, str) else payload
        message = Message(f"{self._topic}/{subtopic}", body, retain=True)
        if self._states.get(message.topic) != message:
            self._states[message.topic] = message
            self._post(message)

    def level(self, source: str, dbfs: float, laeq_dba: float | None) -> None:
        """Publish a source's loudness once, unless there is no connection."""
        if self.connected:
            laeq = None if laeq_dba is None else max(round(laeq_dba, 1), _FLOOR_DB)
            values = {"dbfs": max(round(dbfs, 1), _FLOOR_DB), "laeq_dba": laeq}
            body = json.dumps(values, allow_nan=False).encode()
            self._post(Message(f"{self._topic}/{source}/level", body, qos=0))

    def _post(self, message: Message) -> None:
        self._outbox[message.topic] = message
        self._changed.set()

    async def _keep_connected(self) -> None:
        while True:
            try:
                await self._session()
            except (SinkUnavailable, ConfigError) as error:
                self._tell(str(error))
            await self._clock.sleep(self._backoff.next())

    async def _session(self) -> None:
        target = await asyncio.to_thread(parameters, self._settings, self._node)
        async with connect(target, self._availability("offline"), self._hear) as link:
            try:
                await self._greet(link)
                self._link = link
                if not self._refused:
                    self.detail = None
                    self._told.clear()
                self._up.set()
                self._backoff.reset()
                fields = {"broker": target.address, "tls": target.tls is not None}
                log.info("mqtt connected", extra={"fields": fields})
                await link.while_up(self._keep_publishing(link))
            except asyncio.CancelledError:
                await self._farewell(link)
                raise
            finally:
                self._up.clear()
                self._link = None
                self._refused.clear()

    async def _greet(self, link: Link) -> None:
        self._outbox.clear()
        await asyncio.gather(*(self._publish_state(link, state) for state in self._states.values()))
        await self._introduce(link)
        await self._publish_state(link, self._availability("online"))

    async def _introduce(self, link: Link) -> None:
        """Some brokers hang up on what they do not allow: then every other connection does without."""
        if self._in_vain >= _MOST_IN_VAIN:
            self._in_vain -= 1
            log.warning(
                "mqtt broker hangs up on announcements", extra={"fields": {"remedy": "[mqtt] discovery = false"}}
            )
            return
        self._in_vain += 1
        if self._again_on is not None:
            await link.subscribe(self._again_on[0])
        await self._announce(link)
        self._in_vain = 0

    async def _keep_publishing(self, link: Link) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._empty_outbox(link)
            if self._asked:
                await self._announce(link)

    async def _empty_outbox(self, link: Link) -> None:
        while self._outbox:
            await self._publish_state(link, self._outbox.pop(next(iter(self._outbox))))

    async def _announce(self, link: Link) -> None:
        self._asked = False
        if self._on_connect is not None:
            await self._on_connect(partial(_try_publishing, link))

    def _hear(self, topic: str, payload: bytes) -> None:
        if (topic, payload) == self._again_on:
            self._asked = True
            self._changed.set()

    async def _publish_state(self, link: Link, message: Message) -> None:
        try:
            await link.publish(message)
            self._note_success(message.topic)
        except SinkRefused as error:  # which holds nothing else up
            self._note_refusal(message, error)

    def _note_refusal(self, message: Message, error: SinkRefused) -> None:
        if not self._refused:
            self._tell(str(error))
        self._refused[message.topic] = message

    def _note_success(self, topic: str) -> None:
        """A topic that is allowed again is a sign that the states are too."""
        if topic not in self._refused:
            return
        del self._refused[topic]
        for message in self._refused.values():
            if message.retain:
                self._post(self._states.get(message.topic, message))
        if not self._refused:
            self.detail = None
            self._told.clear()
            log.info("mqtt broker takes everything again")

    async def _farewell(self, link: Link) -> None:
        with suppress(SinkUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._empty_outbox(link)
                await link.publish(self._availability("offline"))

    def _availability(self, payload: str) -> Message:
        return Message(f"{self._topic}/availability", payload.encode(), retain=True)

    def _tell(self, reason: str) -> None:
        if reason not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(reason)
            log.warning("mqtt unavailable, events wait in the spool", extra={"fields": {"reason": reason}})
        self.detail = reason


async def _try_publishing(link: Link, message: Message) -> bool:
    try:
        await link.publish(message)
    except SinkRefused:
        return False
    return True


_FAREWELL_SECONDS = 1.0
_MOST_TOLD = 5  # reasons in one outage, each once, for a broker in trouble may fail in turns in several ways
_MOST_IN_VAIN = 2  # announcements, on each of which the connection was lost
_FLOOR_DB = -200.0  # JSON has no minus infinity, which is the level of digital silence
