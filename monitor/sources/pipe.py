"""Raw PCM from standard input or a named pipe.

It is read when the loop finds something to read and the pipeline has time, so nothing is queued here: a program that
writes faster than we hear waits, as on any pipe. One that cannot wait, as a recorder, drops audio without a word, so
what has arrived, read or still in the pipe, is counted against the clock.
"""

import asyncio
import fcntl
import logging
import os
import sys
import termios
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from monitor.clock import Clock
from monitor.config import PipeSettings
from monitor.errors import CaptureError
from monitor.sources.feed import MAX_BLOCK_SECONDS, MIN_BLOCK_SECONDS
from monitor.sources.loss import LossMeter
from monitor.sources.shaping import Shaper
from ssondo_stream.types import AudioBlock, Samples

FORMATS: Final = {"s16le": ("<i2", 2.0**15), "s32le": ("<i4", 2.0**31), "f32le": ("<f4", 1.0)}
log = logging.getLogger(__name__)


class PipeSource:
    """PCM frames without a header; see `AudioSource` for the attributes.

    State is the named pipe and the beginning of a frame whose rest has not come yet. Both outlive a silence: closing
    the pipe would kill a program that only pauses, and the rest of the frame would shift all that follows.
    """

    live = True
    waits = True
    open_seconds = 0.0
    gap_reason = "lost"

    def __init__(self, settings: PipeSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = settings.sample_rate
        self.arrived = 0
        self._settings = settings
        self._clock = clock
        dtype, self._full_scale = FORMATS[settings.format]
        self._dtype = np.dtype(dtype)
        self._frame = settings.channels * self._dtype.itemsize
        self._tail = b""
        self._pipe = None if settings.path is None else _NamedPipe(settings.path)

    @property
    def _origin(self) -> str:
        return str(self._settings.path or "standard input")

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield what is written to the pipe; standard input ends for good, a named pipe awaits its next writer.

        Raises:
            CaptureError: there is no such pipe, or its writer has closed it.
        """
        shape = Shaper(self._settings, self._settings.channels)
        end, losses = 0, LossMeter(self._clock)
        async for frames, waiting in self._read_frames():
            end += len(frames)
            losses.observe(end + waiting, self.sample_rate)
            self.arrived = end + waiting + losses.lost
            yield AudioBlock(end - len(frames) + losses.lost, shape(frames))
        self._report_tail()
        if self._settings.path is not None:
            raise CaptureError(f"the writer of {self._origin} has closed it; waiting for another")

    async def _read_frames(self) -> AsyncGenerator[tuple[Samples, int], None]:
        """Frames [n, channels], full scale 1, and how many more wait in the pipe; less than a block waits for more."""
        least, most = (int(s * self.sample_rate) * self._frame for s in (MIN_BLOCK_SECONDS, MAX_BLOCK_SECONDS))
        descriptor = self._open()
        try:
            while data := await _read(descriptor, max(self._frame, most)):
                self._tail += data
                if len(self._tail) >= least:
                    yield self._take(), _waiting(descriptor) // self._frame
        except CaptureError:
            self._close()
            raise
        self._close()
        if len(self._tail) >= self._frame:
            yield self._take(), 0

    def _take(self) -> Samples:
        whole = len(self._tail) - len(self._tail) % self._frame
        data, self._tail = self._tail[:whole], self._tail[whole:]
        values = np.frombuffer(data, self._dtype).reshape(-1, self._settings.channels)
        with np.errstate(invalid="ignore"):  # a float that is none is repaired later
            return (values / self._full_scale).astype(np.float32)

    def _report_tail(self) -> None:
        if self._tail:
            fields = {"source": self.name, "bytes": len(self._tail), "frame_bytes": self._frame}
            log.warning("stream ended within a frame: check format and channels", extra={"fields": fields})
        self._tail = b""

    def _open(self) -> int:
        if self._pipe is None:
            return 0
        try:
            if self._pipe.open():
                self._tail = b""
        except OSError as error:
            raise CaptureError(f"cannot open {self._origin}: {error.strerror}; make it with mkfifo") from error
        return self._pipe.descriptor

    def _close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()


class _NamedPipe:
    """The reading end of a named pipe, which closes with this object at the latest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = -1
        self._release: Callable[[], object] = lambda: None

    def open(self) -> bool:
        """Open what lies at the path; says whether that was not open already.

        Raises:
            OSError: nothing lies there that may be read.
        """
        if self.descriptor >= 0 and os.path.samestat(os.fstat(self.descriptor), self._path.stat()):
            return False
        self.close()
        self.descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._release = weakref.finalize(self, os.close, self.descriptor)
        return True

    def close(self) -> None:
        """Close it, if it is open."""
        self._release()
        self.descriptor = -1


def _waiting(descriptor: int) -> int:
    """Bytes that may be read at once."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


@contextmanager
def _watched(descriptor: int) -> Iterator[asyncio.Event]:
    """An event that is set once there is something to read; regular files, which cannot be watched, always have."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:
        ready.set()
    try:
        yield ready
    finally:
        loop.remove_reader(descriptor)


async def _read(descriptor: int, size: int) -> bytes:
    """At least one byte and at most `size`; none at the end."""
    while True:
        await asyncio.sleep(0)
        try:
            with _watched(descriptor) as ready:
                await ready.wait()
            return os.read(descriptor, size)
        except BlockingIOError:
            continue
        except OSError as error:
            raise CaptureError(f"cannot read: {error.strerror}; is it open?") from error
