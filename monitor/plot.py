"""Draws a replay: spectrogram, column scores and events on one time axis."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor.detection import Detection
from monitor.errors import ConfigError
from ssondo_stream.bundle import StudentSpec
from ssondo_stream.mel import MelStream, filterbank
from ssondo_stream.resample import Resampler
from ssondo_stream.types import AudioBlock, Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PIXELS = 900  # most columns of the spectrogram
_TICKS = (100, 500, 1000, 2000, 4000, 8000)  # Hz
_MORE = ("black", "gold", "navy", "teal", "crimson")  # beyond matplotlib's ten
_SHOWN = 0.1  # labels whose score never passes this are left out


class ReplayPlot:
    """Collects what a replay hears, and draws it.

    State is the pooled spectrogram, the sum of the scores of each column, and the ended events.
    """

    def __init__(self, spec: StudentSpec) -> None:
        self._spec = spec
        self._resampler: Resampler | None = None
        self._mel = MelStream(spec.mel)
        self._frames: list[NDArray[np.float32]] = []
        self._sums: dict[int, NDArray[np.float32]] = {}
        self._counts: dict[int, int] = {}
        self._events: list[Detection] = []

    def add_audio(self, block: AudioBlock, sample_rate: int) -> None:
        """Take a block of the file."""
        self._resampler = self._resampler or Resampler(sample_rate, self._spec.mel.sample_rate)
        frames = self._mel.push(self._resampler.push(block.samples))
        if len(frames):
            self._frames.append(frames)

    def add_prediction(self, prediction: Prediction) -> None:
        """Take the scores of a window."""
        for index, scores in enumerate(prediction.scores):
            column = prediction.start + index * prediction.column
            self._sums[column] = self._sums.get(column, np.float32(0)) + scores
            self._counts[column] = self._counts.get(column, 0) + 1

    def add_detections(self, detections: Sequence[Detection]) -> None:
        """Take events; only their ends are drawn."""
        self._events += [detection for detection in detections if detection.kind == "ended"]

    def save(self, path: Path, title: str) -> None:
        """Draw it all into a PNG file.

        Raises:
            ConfigError: matplotlib is not installed, or the file cannot be written.
        """
        try:
            from matplotlib.figure import Figure  # noqa: PLC0415  # only who draws needs it
        except ImportError as error:
            raise ConfigError("--plot needs matplotlib: pip install 'ssondo-monitor[plot]'") from error
        figure = Figure(figsize=(11, 6.5), layout="constrained")
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 3, 1.5])
        top.set_title(title)
        self._draw_spectrogram(top)
        labels = self._draw_scores(middle)
        self._draw_events(bottom, labels)
        bottom.set_xlabel("seconds")
        try:
            figure.savefig(path, dpi=90)
        except (OSError, ValueError) as error:
            raise ConfigError(f"--plot {path}: cannot be written: {error}") from error

    def _draw_spectrogram(self, axes: "Axes") -> None:
        mel = self._spec.mel
        frames = np.concatenate(self._frames) if self._frames else np.zeros((1, mel.n_mels), np.float32)
        pool = -(-len(frames) // _PIXELS)
        whole = len(frames) // pool * pool
        pooled = frames[:whole].reshape(-1, pool, mel.n_mels).max(axis=1)
        seconds = whole * mel.hop / mel.sample_rate
        axes.imshow(pooled.T, origin="lower", aspect="auto", extent=(0, seconds, 0, mel.n_mels), cmap="magma")
        centres = filterbank(mel).argmax(axis=0) * mel.sample_rate / mel.n_fft
        axes.set_yticks(np.searchsorted(centres, _TICKS), [f"{hz:,} Hz" for hz in _TICKS])
        axes.set_xlim(0, seconds)

    def _draw_scores(self, axes: "Axes") -> list[int]:
        """Draw the labels that were heard at all; return them."""
        starts = sorted(self._sums)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("column score")
        if not starts:
            return []
        means = np.stack([self._sums[start] / self._counts[start] for start in starts])
        centres = (np.array(starts) + self._spec.column / 2) / self._spec.mel.sample_rate
        shown = [i for i in np.argsort(-means.max(axis=0)) if means[:, i].max() >= _SHOWN]
        for i in shown:
            axes.step(centres, means[:, i], where="mid", label=self._spec.labels[i].name, color=_colour(i))
        if shown:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize="small", ncols=6, frameon=False)
        return [int(i) for i in shown]

    def _draw_events(self, axes: "Axes", shown: list[int]) -> None:
        slugs = [label.slug for label in self._spec.labels]
        rows = sorted({slugs.index(event.slug) for event in self._events})
        axes.set_yticks(range(len(rows)), [self._spec.labels[i].name for i in rows])
        axes.set_ylim(len(rows) - 0.5 if rows else 0.5, -0.5)
        rate = self._spec.mel.sample_rate
        for event in self._events:
            label = slugs.index(event.slug)
            length = ((event.offset or event.onset) - event.onset) / rate
            colour = _colour(label)
            fill = colour if event.confirmed else "none"
            axes.barh(rows.index(label), length, left=event.onset / rate, height=0.6, color=fill, edgecolor=colour)
        if not rows:
            axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center")


def _colour(label: int) -> str:
    return f"C{label % 10}" if label < 10 else _MORE[label % len(_MORE)]
