"""What a student's verifier says of stretches of a recording, each asked once however many settings are tried."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.mel import MelConfig
from ssondo_stream.types import Frames
from ssondo_stream.verifier import extent


class Verdicts:
    """Answers by extent.

    State is the answers so far.

    Args:
        frames: of the recording, [t, n_mels]; they may lie on disk.
        mel: the front end that made them.
        verify: the verifier.
    """

    def __init__(self, frames: Frames, mel: MelConfig, verify: Callable[[Frames], NDArray[np.float32]]) -> None:
        self.frames = frames
        self._mel, self._verify = mel, verify
        self._known: dict[tuple[int, int], NDArray[np.float32]] = {}

    def of(self, onset: float, offset: float) -> NDArray[np.float32] | None:
        """Evidence [labels] of a sound from `onset` to `offset` in seconds; None if the recording is too short."""
        rate = self._mel.sample_rate
        heard = extent(round(onset * rate), round(offset * rate), self._mel, range(len(self.frames)))
        if heard is None:
            return None
        key = heard.start, heard.stop
        if key not in self._known:
            self._known[key] = self._verify(np.ascontiguousarray(self.frames[heard]))
        return self._known[key]
