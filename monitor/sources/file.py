"""A sound file as a source, in real time or as fast as it is read.

Replays and tests run the very pipeline that a microphone does.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

from monitor.clock import Clock
from monitor.config import FileSettings
from monitor.errors import CaptureError
from monitor.sources.shaping import Shaper
from ssondo_stream.types import AudioBlock

BLOCK_SECONDS = 0.1


class FileSource:
    """Whatever libsndfile reads; see `AudioSource` for the attributes."""

    live = False
    waits = True
    open_seconds = 0.0
    gap_reason = "lost"

    def __init__(self, settings: FileSettings, clock: Clock) -> None:
        self.name = settings.name
        self.sample_rate = 0
        self.arrived = 0
        self._settings = settings
        self._clock = clock

    async def blocks(self) -> AsyncGenerator[AudioBlock, None]:
        """Yield the file once, or for ever where it loops.

        Raises:
            CaptureError: the file is missing, is no sound, or holds none.
        """
        with _reading(self._settings.path) as file:
            self.sample_rate = file.samplerate
            shape = Shaper(self._settings, file.channels)
            started = self._clock.monotonic()
            self.arrived = 0
            while True:
                frames = file.read(max(1, int(BLOCK_SECONDS * file.samplerate)), dtype="float32", always_2d=True)
                if len(frames):
                    start, self.arrived = self.arrived, self.arrived + len(frames)
                    await self._pace(started + self.arrived / file.samplerate)
                    yield AudioBlock(start, shape(frames))
                elif not self.arrived:
                    raise CaptureError(f"{self._settings.path}: holds no audio; give a file with at least one sample")
                elif not self._settings.loop:
                    return
                else:
                    file.seek(0)

    async def _pace(self, due: float) -> None:
        wait = due - self._clock.monotonic() if self._settings.realtime else 0.0
        await self._clock.sleep(max(0.0, wait))


@contextmanager
def _reading(path: Path) -> Iterator[soundfile.SoundFile]:
    if not path.is_file():
        problem = "is not a file" if path.exists() else "no such file"
        raise CaptureError(f"{path}: {problem}; give the path of a sound file")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise CaptureError(
            f"{path}: cannot be read as sound ({error.error_string.strip()}); convert it to WAV, FLAC, OGG or MP3"
        ) from error
