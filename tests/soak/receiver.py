"""A subscriber that stays for the whole soak, over every death of the broker, and remembers what it was sent."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.soak.parts import NODE

Event = dict[str, Any]
_TOPICS = ("+/event", "+/availability", "+/label/+", "availability")


@dataclass
class Receiver:
    """What came, oldest first, repeats included; and the last word on each retained topic."""

    port: int
    events: list[Event] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    subscribed: threading.Event = field(default_factory=threading.Event)
    _newest: float = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive in a thread, connecting again whenever that is needed, by a session that the broker keeps."""
        client = Client(CallbackAPIVersion.VERSION2, client_id="receiver", clean_session=False)
        client.reconnect_delay_set(1, 1)
        client.on_connect = _subscribe
        client.on_subscribe = lambda *_: self._subscribed()
        client.on_disconnect = lambda *_: self.subscribed.clear()
        client.on_message = lambda *told: self._take(told[-1])
        client.connect_async("127.0.0.1", self.port, keepalive=5)
        client.loop_start()
        try:
            yield
        finally:
            client.disconnect()
            client.loop_stop()

    def quiet(self, seconds: float) -> bool:
        """Whether it is connected, and nothing has come for so long."""
        return self.subscribed.is_set() and time.monotonic() - self._newest > seconds

    def _subscribed(self) -> None:
        self._newest = time.monotonic()
        self.subscribed.set()

    def _take(self, message: MQTTMessage) -> None:
        self._newest = time.monotonic()
        topic = message.topic.removeprefix(f"ssondo/{NODE}/")
        if topic.endswith("/event"):
            self.events.append(json.loads(message.payload))
        else:
            self.states[topic] = message.payload.decode()


def _subscribe(client: Client, *_: object) -> None:
    client.subscribe([(f"ssondo/{NODE}/{topic}", 1) for topic in _TOPICS])
