"""Calls into sound libraries that may never return, each on a daemon thread and bounded in time.

A stopped sound server makes even closing hang. Such a call is left behind: it keeps neither the loop nor the end of the
process waiting, and the next one is refused until it returns, so that they do not pile up.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TypeVar

from monitor.errors import CaptureError

T = TypeVar("T")


class Hand:
    """Makes one call at a time for one source. State is the thread of the newest one.

    Args:
        name: of the source.
        on_leaving: called when a call is left behind.
    """

    def __init__(self, name: str, on_leaving: Callable[[], None]) -> None:
        self._name = name
        self._on_leaving = on_leaving
        self._thread: threading.Thread | None = None

    @property
    def stuck(self) -> bool:
        """Whether a call has still not returned."""
        return self._thread is not None and self._thread.is_alive()

    async def call(self, function: Callable[[], T], seconds: float, late: Callable[[T], object] | None = None) -> T:
        """What the function returns or raises; what it returns when nobody waits any more goes to `late`.

        Raises:
            CaptureError: it took longer than `seconds`, or the call before it has not returned yet.
        """
        if self.stuck:
            raise CaptureError("the sound system hangs; restart the sound server")
        future: Future[T] = Future()
        self._start(lambda: _run(function, future, late))
        calling = self._thread
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except (TimeoutError, asyncio.CancelledError) as error:
            if future.cancel():
                self._on_leaving()
            elif late is not None and future.exception() is None:
                self._start(partial(late, future.result()))
            if isinstance(error, asyncio.CancelledError):
                raise
            raise CaptureError(f"no answer from the sound system for {seconds:g} s") from None
        finally:
            if self._thread is calling and future.done() and not future.cancelled():
                self._thread = None  # it has returned, though its thread may take a moment to end

    def _start(self, target: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=target, name=f"hand of {self._name}", daemon=True)
        self._thread.start()


def _run(function: Callable[[], T], future: Future[T], late: Callable[[T], object] | None) -> None:
    """A cancelled future says that nobody waits: setting it fails, and the result must be disposed of here."""
    try:
        result = function()
    except Exception as error:
        with suppress(InvalidStateError):
            future.set_exception(error)
        return
    try:
        future.set_result(result)
    except InvalidStateError:
        if late is not None:
            late(result)
