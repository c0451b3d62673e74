"""What systemd is told: that the service is ready, what it does, that it still hears, that it stops.

The protocol is one datagram per message to a socket named in the environment; without one, all of this does nothing.
"""

import logging
import socket
from collections.abc import Mapping

from monitor.clock import Clock

log = logging.getLogger(__name__)


class Notifier:
    """Sends states to the service manager, see sd_notify(3)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._failed = False

    def ready(self) -> None:
        """Everything has started."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def watchdog(self) -> None:
        """The service does its work."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
            ) as sender:
                sender.sendto(state.encode(), self._address)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("service manager does not listen", extra={"fields": {"error": error.strerror}})
            self._failed = True


class Watchdog:
    """Keeps systemd's watchdog quiet while predictions complete.

    State is the time of the last ping; `feed` may be called as often as one likes.
    """

    def __init__(self, notifier: Notifier, clock: Clock, interval: float | None) -> None:
        self._notifier = notifier
        self._clock = clock
        self._interval = interval
        self._due = float("-inf")

    def feed(self) -> None:
        """Call when a prediction completes."""
        now = self._clock.monotonic()
        if self._interval is None or now < self._due:
            return
        self._due = now + self._interval
        self._notifier.watchdog()


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds between pings, a quarter of what systemd allows; none where it does not watch this process."""
    allowed, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    if not allowed.isdecimal() or int(allowed) == 0 or watched != str(pid):
        return None
    return int(allowed) / 4e6
