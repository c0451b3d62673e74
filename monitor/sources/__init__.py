"""What every source of audio offers, and the table of the kinds that there are.

A source's library is imported only when a source of that kind is opened.
"""

from collections.abc import AsyncGenerator, Callable
from importlib import import_module
from typing import Protocol, cast

from monitor.clock import Clock
from monitor.config import SourceSettings
from ssondo_stream.types import AudioBlock


class AudioSource(Protocol):
    """Audio from the world, or from a file.

    Attributes:
        name: of the source, as configured.
        sample_rate: in Hz; known once the first block is there, and may differ after opening again.
        live: audio that passes in real time: silence is a fault, and what fails is to be opened again.
        open_seconds: longest that opening may take.
        arrived: index one past the newest sample that is there, be it read or not.
        waits: whoever sends waits until we read, so that what comes is never stale.
        gap_reason: why the newest block starts later than the one before it ended.
    """

    name: str
    sample_rate: int
    live: bool
    open_seconds: float
    arrived: int
    waits: bool
    gap_reason: str

    def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Open the source and yield its audio from index 0 on, in blocks of at most half a second.

        Each call begins anew; closing the generator lets go of the source, in bounded time. It ends where the audio
        ends for good.

        Raises:
            CaptureError: the source cannot be heard; the message names it and says what to do.
        """


KINDS = {
    "microphone": ("monitor.sources.microphone", "MicrophoneSource"),
    "file": ("monitor.sources.file", "FileSource"),
    "stdin": ("monitor.sources.pipe", "PipeSource"),
    "pipe": ("monitor.sources.pipe", "PipeSource"),
    "network": ("monitor.sources.network", "NetworkSource"),
    "demo": ("monitor.sources.demo", "DemoSource"),
}


def open_source(settings: SourceSettings, clock: Clock) -> AudioSource:
    """The source that the settings describe; it opens when its blocks are asked for."""
    module, name = KINDS[settings.kind]
    make = cast("Callable[[SourceSettings, Clock], AudioSource]", getattr(import_module(module), name))
    return make(settings, clock)
