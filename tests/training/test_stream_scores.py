from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from ssondo_stream.engine import activate
from ssondo_stream.errors import AudioError
from ssondo_stream.mel import log_mel
from ssondo_stream.types import Samples
from tests.training.parts_streams import RATE, Fickle, bursts
from training.announcing import settled_events
from training.errors import AudioFileError
from training.stream_scores import StreamSettings, score_file, score_samples

Scores = NDArray[np.float32]


def by_columns(student: Fickle, samples: Samples) -> tuple[Scores, Scores]:
    """Of each column the mean over all windows but that in which it is the newest, and the largest mean on the way."""
    windows = [activate(one.logits, student.spec.activation) for one in student.stream().push(log_mel(samples))]
    means, largest = [], []
    for column in range(len(windows)):
        later = range(column + 1, len(windows))
        own = [windows[k][column - k - 1] for k in later if k - column < len(windows[k])] or [windows[column][-1]]
        running = np.cumsum(own, axis=0) / np.arange(1, len(own) + 1)[:, None]
        means.append(running[-1])
        largest.append(running.max(axis=0))
    return np.array(means), np.array(largest)


def test_settled_scores_are_means_over_the_windows_of_a_column() -> None:
    samples = bursts(3)
    ours, (settled, early) = score_samples(Fickle(3.0), samples, RATE), by_columns(Fickle(3.0), samples)
    columns = len(settled) - 1  # what lies in the last one is completed by silence here
    np.testing.assert_allclose(ours.means[:columns, -1], settled[:columns], atol=0.25)
    np.testing.assert_allclose(ours.means[: columns - 20, -1], settled[: columns - 20], atol=1e-5)
    np.testing.assert_allclose(ours.means[: columns - 20].max(axis=1), early[: columns - 20], atol=1e-5)


@pytest.mark.parametrize("block_seconds", [0.013, 7.0])
def test_scores_do_not_depend_on_the_blocks(block_seconds: float) -> None:
    samples = bursts(1, 20)
    one = score_samples(Fickle(), samples, RATE)
    other = score_samples(Fickle(), samples, RATE, StreamSettings(block_seconds=block_seconds))
    np.testing.assert_allclose(one.means, other.means, atol=1e-4)
    np.testing.assert_array_equal(one.ready, other.ready)


@pytest.mark.parametrize("hop", [1, 3])
def test_predictions_are_ready_at_each_hop_and_columns_final_after_a_window(hop: int) -> None:
    scores = score_samples(Fickle(), bursts(1), RATE, StreamSettings(hop))
    np.testing.assert_allclose(np.diff(scores.ready)[:-1], hop * scores.column)
    assert scores.ready[0] == pytest.approx(scores.column - scores.lead)
    assert scores.ready[-1] == scores.seconds == 60.0
    expected = np.maximum(0, np.arange(len(scores.ready)) * hop + 1 - 20)
    np.testing.assert_array_equal(scores.settled, expected)


def test_file_of_another_rate_with_two_channels_gives_the_same_events(tmp_path: Path) -> None:
    samples = bursts(2)
    twice = np.repeat(samples, 2)[:, None] * [1.0, 0.5] / 0.75  # 64 kHz, their mean is as loud
    soundfile.write(tmp_path / "a.wav", twice, 2 * RATE, subtype="FLOAT")
    label = Fickle().spec.labels[0]
    found = settled_events(score_file(Fickle(), tmp_path / "a.wav"), 0, label)
    expected = settled_events(score_samples(Fickle(), samples, RATE), 0, label)
    assert len(expected) > 3
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_what_cannot_be_streamed_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    for name in ("text.wav", "empty.wav", "absent.wav"):
        with pytest.raises(AudioFileError, match=name):
            score_file(Fickle(), tmp_path / name)
    with pytest.raises(AudioError, match="too short"):
        score_samples(Fickle(), np.zeros(0, np.float32), RATE)


def test_short_recording_has_the_column_that_silence_completes() -> None:
    scores = score_samples(Fickle(), bursts(0)[:5000], RATE)
    assert scores.means.shape == (1, 1, 2)
    assert scores.edges().tolist() == [0, pytest.approx(5000 / RATE)]


@pytest.mark.parametrize(
    "wrong", [{"hop_columns": 0}, {"early_windows": 0}, {"settle_seconds": 0.0}, {"settle_seconds": np.inf}]
)
def test_impossible_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"need hops|need durations"):
        StreamSettings(**wrong)
