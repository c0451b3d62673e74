"""An RTSP, HTTP or Icecast stream as a source.

FFmpeg's calls block, so a thread of its own decodes, bounded by FFmpeg's timeouts. Addresses may hold passwords, and
FFmpeg's messages hold addresses, so neither is ever repeated.
"""

import ssl
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
from av.audio.frame import AudioFrame

from monitor.clock import Clock
from monitor.config import NetworkSettings
from monitor.errors import CaptureError
from monitor.sources.feed import Feed
from monitor.sources.shaping import Shaper
from ssondo_stream.types import AudioBlock, Samples

CROWDED_SECONDS = 0.05


class NetworkSource:
    """The first audio stream at an address; see `AudioSource` for the attributes."""

    live = True
    waits = False

    def __init__(self, settings: NetworkSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = 0
        self.arrived = 0
        self.gap_reason = "lost"
        self.open_seconds = settings.open_seconds
        self._settings = settings
        self._clock = clock

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield the stream until it ends.

        Raises:
            CaptureError: it cannot be reached, holds no audio, stalls or has ended.
        """
        feed = Feed(self._clock)
        decoder = _Decoder(self._settings, feed)
        threading.Thread(target=decoder.run, name=f"decoder of {self.name}", daemon=True).start()
        try:
            async for block in feed.blocks():
                self.sample_rate, self.arrived, self.gap_reason = feed.sample_rate, feed.arrived, feed.gap_reason
                yield block
        finally:
            decoder.closing.set()
            feed.close()


def redact(url: str) -> str:
    """Scheme, host and port of an address: cameras take passwords before the host, in the query and in the path."""
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "an address that cannot be read"
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":  # a password that holds what ends a host
        return f"{parts.scheme}://…"
    name = parts.hostname or ""
    return f"{parts.scheme}://{f'[{name}]' if ':' in name else name}{port}"


def _tls(settings: NetworkSettings) -> dict[str, str]:
    """FFmpeg verifies no certificate unless told to, and its build may not know where this system keeps authorities."""
    if not settings.tls_verify:
        return {"tls_verify": "0"}
    known = (settings.ca_file, ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
    file = next((str(path) for path in known if path is not None and Path(path).is_file()), None)
    return {"tls_verify": "1"} | ({} if file is None else {"ca_file": file})


_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat
    "/etc/ssl/cert.pem",  # BSD, macOS
)


class _Decoder:
    """Reads one connection to its end, on its own thread."""

    def __init__(self, settings: NetworkSettings, feed: Feed) -> None:
        self._settings = settings
        self._feed = feed
        self._shape: _FrameShaper | None = None
        self._what = redact(settings.url.get_secret_value())
        self.closing = threading.Event()

    def run(self) -> None:
        try:
            self._decode()
        except CaptureError as error:
            self._feed.fail(error)
        except av.FFmpegError as error:
            # FFmpeg's own message holds the address, so it is not chained
            problem = "no data in time" if isinstance(error, av.ExitError | av.TimeoutError) else error.strerror
            self._feed.fail(CaptureError(f"{self._what}: {problem}"))
        except ValueError as error:
            self._feed.fail(CaptureError(f"{self._what}: audio of a kind that cannot be converted ({error})"))

    def _decode(self) -> None:
        with self._connected() as container:
            if not container.streams.audio:
                raise CaptureError(f"{self._what}: holds no audio")
            for frame in container.decode(container.streams.audio[0]):
                self._take(frame)
                while self._feed.crowded and not self.closing.wait(CROWDED_SECONDS):
                    pass
                if self.closing.is_set():
                    return
        raise CaptureError(f"{self._what}: the stream has ended")

    @contextmanager
    def _connected(self) -> Iterator[av.container.InputContainer]:
        url = self._settings.url.get_secret_value()
        timeouts = (self._settings.open_seconds, self._settings.read_seconds)
        options = {"rtsp_transport": "tcp", "probesize": "32768", "analyzeduration": "500000", **_tls(self._settings)}
        with av.open(url, options=options, timeout=timeouts) as container:
            yield container

    def _take(self, frame: AudioFrame) -> None:
        if self._shape is None:
            self._feed.open(frame.sample_rate)
        if self._shape is None or not self._shape.fits(frame):
            self._shape = _FrameShaper(self._settings, frame, self._feed.sample_rate)
        for samples in self._shape.push(frame):
            self._feed.write(samples)


class _FrameShaper:
    """Mono samples of one rate out of frames of one format; a stream whose format changes gets a new one."""

    def __init__(self, settings: NetworkSettings, frame: AudioFrame, sample_rate: int) -> None:
        self._format = _format(frame)
        self._resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=sample_rate)
        self._shape = Shaper(settings, frame.layout.nb_channels)

    def fits(self, frame: AudioFrame) -> bool:
        return _format(frame) == self._format

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        for resampled in self._resampler.resample(frame):
            yield self._shape(resampled.to_ndarray().T.astype(np.float32, copy=False))


@dataclass(frozen=True, slots=True)
class _Format:
    sample_rate: int
    layout: str
    sample_format: str


def _format(frame: AudioFrame) -> _Format:
    return _Format(frame.sample_rate, frame.layout.name, frame.format.name)
