"""What columns are trained on: how much of each label is heard in each of them."""

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.mel import MelConfig
from training.scenes import Occurrence

MEL = MelConfig()
COLUMN_FRAMES = 32
COLUMN = COLUMN_FRAMES * MEL.hop
LEAD = COLUMN // 2 - MEL.n_fft // 2
"""Samples by which column 0 begins before the window: column i is centred on frame 32 i."""


def column_targets(heard: list[Occurrence], n: int, labels: int) -> NDArray[np.float32]:
    """How much of each column, or of a sound shorter than it, is heard: [columns, labels] from 0 to 1.

    A column counts in full from three quarters and not at all up to one quarter, so a threshold of one half puts an
    onset at the nearest column's edge.
    """
    frames = MEL.frames_in(n)
    edges = np.arange(-(-frames // COLUMN_FRAMES) + 1) * COLUMN - LEAD
    begin, end = np.maximum(edges[:-1], 0), np.minimum(edges[1:], n)
    targets = np.zeros((len(begin), labels), np.float32)
    for event in heard:
        overlap = np.minimum(end, event.stop) - np.maximum(begin, event.start)
        share = overlap / np.minimum(end - begin, event.stop - event.start)
        targets[:, event.label] = np.maximum(targets[:, event.label], np.clip((share - 0.25) / 0.5, 0, 1))
    return targets
