"""Where a generated source puts its audio: a named pipe, or HTTP for one client. Neither ever waits for its reader."""

import fcntl
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.soak.scene import RATE

PIPE_BYTES = 262_144
_UNBOUNDED = 0xFFFFFFFF


class Outlet(Protocol):
    """Takes bytes as long as somebody reads them.

    Attributes:
        readers: that there have been; with each the stream begins anew.
    """

    readers: int

    def open(self) -> bool:
        """Whether somebody reads; asked before each `put`."""

    def put(self, data: bytes) -> int:
        """How many bytes were taken."""

    def close(self) -> None:
        """Let the reader go."""

    def descriptors(self) -> list[int]:
        """What to watch for room; none while nobody reads."""


class PipeOutlet:
    """A named pipe that exists."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe: int | None = None
        self.readers = 0

    def open(self) -> bool:
        if self._pipe is None:
            with suppress(OSError):  # nobody reads
                self._pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
                self.readers += 1
        return self._pipe is not None

    def put(self, data: bytes) -> int:
        assert self._pipe is not None
        try:
            return os.write(self._pipe, data)
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            self.close()
            return 0

    def close(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
        self._pipe = None

    def descriptors(self) -> list[int]:
        return [] if self._pipe is None else [self._pipe]


class HttpOutlet:
    """http://127.0.0.1:PORT/, an endless WAV file in 16 bits."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", port), backlog=1)
        self._server.setblocking(False)
        self._client: socket.socket | None = None
        self.garbled = False
        self.readers = 0

    def open(self) -> bool:
        if self._client is None:
            with suppress(OSError):  # nobody asks
                self._client = self._accept()
                self.readers += 1
        return self._client is not None

    def put(self, data: bytes) -> int:
        assert self._client is not None
        try:
            return self._client.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.close()
            return 0

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def descriptors(self) -> list[int]:
        return [] if self._client is None else [self._client.fileno()]

    def _accept(self) -> socket.socket:
        client, _ = self._server.accept()
        client.settimeout(2)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIPE_BYTES)
        client.recv(65_536)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nConnection: close\r\n\r\n")
        if not self.garbled:
            client.sendall(wav_header())
        client.setblocking(False)
        return client


def wav_header() -> bytes:
    """Mono, 16 bits, without an end."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNBOUNDED, b"WAVE") + form + struct.pack("<4sI", b"data", _UNBOUNDED)
