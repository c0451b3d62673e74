"""A head fitted to columns: which columns it is shown, that they go with their targets, and what is fitted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor
from torch.nn import functional

from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig
from ssondo_stream.students import Backbone, MLPHead
from tests.training.parts_distill import RECIPE
from training.annotations import Annotated, Heard
from training.column_probe import STRENGTHS, THRESHOLD, ColumnRows, column_rows, fit_columns
from training.column_targets import COLUMN, LEAD
from training.columns import annotated_targets
from training.errors import AudioFileError, ManifestError
from training.learner import Learner, Trained, new_learner
from training.probe_data import ProbeError
from training.probe_fit import fit_linear
from training.recipe import StudentSettings
from training.sounds import RATE
from training.student_bundle import write_student_bundle

MEL = MelConfig()
LABELS = ("low", "high")
PITCHES = {"low": 300.0, "high": 6000.0}
BANDS = {"low": slice(0, 40), "high": slice(64, 128)}
LOUD = -3.0  # of the loudest mel of a band; the noise is at -6.9
WINDOW = 4
WINDOW_SECONDS = MEL.samples_for(WINDOW * 32) / RATE


class Bands(Backbone):
    """A student that hears how loud each column is, below and above, and nothing else."""

    dim = embedding_dim = 2

    def rest(self, maps: Tensor) -> Tensor:
        bands = torch.stack([maps[:, 0, BANDS[name]].amax(1) for name in LABELS], 1)
        padded = functional.pad(bands, (16, -maps.shape[3] % 32), mode="replicate")
        return functional.avg_pool1d(padded, 32)[:, :, None]


def samples_in(columns: int) -> int:
    """Samples of so many whole columns of frames."""
    return MEL.samples_for(32 * columns)


def listener() -> Trained:
    return Trained(Learner(Bands(), MLPHead(2, 2, hidden=4)).eval(), RECIPE, ())


def recording(path: Path, columns: int, **heard: int) -> Annotated:
    """Noise with a tone in one column for each label."""
    time = np.arange(samples_in(columns))
    wave = 1e-3 * np.random.default_rng(columns).standard_normal(len(time))
    events = []
    for name, column in heard.items():
        start, stop = max(0, column * COLUMN - LEAD), (column + 1) * COLUMN - LEAD
        wave += 0.3 * np.sin(2 * np.pi * PITCHES[name] * time / RATE) * ((time >= start) & (time < stop))
        events.append(Heard(start / RATE, stop / RATE, name))
    soundfile.write(path, wave.astype(np.float32), RATE, subtype="FLOAT")
    return Annotated(path, tuple(events))


def rows_of(*recordings: Annotated, window_seconds: float = WINDOW_SECONDS) -> ColumnRows:
    return column_rows(listener(), recordings, LABELS, window_seconds=window_seconds, progress=False)


def separable(count: int = 300, recordings: int = 10) -> ColumnRows:
    """Labels that are heard on one side of a plane; far from standardised."""
    draw = np.random.default_rng(0)
    rows = draw.standard_normal((count, 3))
    sides = np.stack((rows[:, 0], rows[:, 1] - rows[:, 2]), 1)
    rows += 0.4 * np.sign(sides)[:, [0, 1, 1]] * (1, 1, -1)
    embeddings = rows * (1e-2, 1, 50) + (3, -1, 0)
    return ColumnRows(embeddings.astype(np.float32), (sides > 0).astype(np.float32), np.arange(count) % recordings)


def test_columns_are_seen_in_windows_that_overlap_by_half_and_go_with_their_targets(tmp_path: Path) -> None:
    one = recording(tmp_path / "a.wav", 9, low=4, high=7)
    found = rows_of(one)
    seen = [0, 1, 2, 2, 3, 4, 4, 5, 6, 5, 6, 7]  # of windows from columns 0, 2, 4 and 5 on, each but for its newest
    targets = annotated_targets(one, LABELS, samples_in(9), RATE)
    np.testing.assert_allclose(targets, np.stack([np.arange(9) == 4, np.arange(9) == 7], 1), atol=1e-3)
    np.testing.assert_array_equal(found.targets, targets[seen])
    np.testing.assert_array_equal(found.embeddings > LOUD, found.targets > 0.5)
    assert found.recordings.tolist() == [0] * len(seen)


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_recording_no_longer_than_a_window_is_seen_at_once(tmp_path: Path, columns: int) -> None:
    found = rows_of(recording(tmp_path / "a.wav", columns, low=0, high=columns - 1))
    assert found.embeddings.shape == found.targets.shape == (columns - 1, 2)
    np.testing.assert_array_equal(found.embeddings > LOUD, found.targets > 0.5)
    assert found.targets[:, 0].tolist() == [1.0] + [0.0] * (columns - 2)
    assert not found.targets[:, 1].any()


def test_recording_of_a_single_column_shows_nothing(tmp_path: Path) -> None:
    found = rows_of(recording(tmp_path / "a.wav", 1, low=0), recording(tmp_path / "b.wav", 3, low=1))
    assert found.recordings.tolist() == [1, 1]
    assert found.targets[:, 0].tolist() == [0.0, 1.0]


def test_recordings_are_numbered_and_kept_apart(tmp_path: Path) -> None:
    low, high = recording(tmp_path / "a.wav", 6, low=2), recording(tmp_path / "b.wav", 5, high=3)
    found, alone = rows_of(low, high), [rows_of(low), rows_of(high)]
    assert found.recordings.tolist() == [0] * len(alone[0].targets) + [1] * len(alone[1].targets)
    for number, one in enumerate(alone):
        np.testing.assert_array_equal(found.where(found.recordings == number).embeddings, one.embeddings)
        np.testing.assert_array_equal(found.where(found.recordings == number).targets, one.targets)


def test_many_windows_are_those_of_one_batch_after_another(tmp_path: Path) -> None:
    one = recording(tmp_path / "a.wav", 45, low=20, high=41)
    found = rows_of(one)
    starts = [*range(0, 42, 2), 41]
    assert len(starts) > 16
    places = [start + column for start in starts for column in range(WINDOW - 1)]
    expected = annotated_targets(one, LABELS, samples_in(45), RATE)[places]
    np.testing.assert_array_equal(found.targets, expected)
    np.testing.assert_array_equal(found.embeddings > LOUD, expected > 0.5)


def test_real_student_gives_shares_of_its_embedding(tmp_path: Path) -> None:
    trained = untrained()
    found = column_rows(
        trained, [recording(tmp_path / "a.wav", 7, low=3)], LABELS, window_seconds=WINDOW_SECONDS, progress=False
    )
    assert found.embeddings.shape == (3 * (WINDOW - 1), 12)
    assert found.embeddings.dtype == found.targets.dtype == np.float32
    assert found.embeddings.std(0).min() > 0


def test_recording_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_text("no audio")
    with pytest.raises(AudioFileError, match=r"b\.wav: cannot be read as audio"):
        rows_of(Annotated(tmp_path / "b.wav", ()))
    made = recording(tmp_path / "a.wav", 3)
    with pytest.raises(ManifestError, match=r"a\.wav: label 'shrill' is none of the 2"):
        rows_of(Annotated(made.audio, (Heard(0.1, 0.2, "shrill"),)))


def test_head_tells_columns_apart_that_a_plane_separates() -> None:
    rows = separable()
    found = fit_columns(rows, LABELS)
    assert (found.probe.labels, found.probe.task, found.probe.thresholds) == (LABELS, "multi", (THRESHOLD, THRESHOLD))
    assert (found.strength, found.columns) == (STRENGTHS[0], 300)
    assert found.loss < 0.1
    with torch.no_grad():
        said = found.probe.head(torch.from_numpy(rows.embeddings)).numpy() > 0
    np.testing.assert_array_equal(said, rows.targets > 0.5)


def test_head_is_held_back_where_there_is_nothing_to_learn() -> None:
    draw = np.random.default_rng(1)
    chance = ColumnRows(
        draw.standard_normal((100, 40)).astype(np.float32),
        (draw.random((100, 2)) < 0.5).astype(np.float32),
        np.arange(100) % 10,
    )
    found = fit_columns(chance, LABELS, (1e-5, 10.0))
    assert found.strength == 10.0
    assert found.loss == pytest.approx(2 * np.log(2), rel=0.1)


def test_strength_is_judged_on_every_fifth_recording_alone() -> None:
    """What is wrong there only, changes nothing of the fit that is judged, but all of the judgement."""
    rows = separable()
    upside_down = np.where((rows.recordings % 5 == 4)[:, None], 1 - rows.targets, rows.targets)
    judged = fit_columns(ColumnRows(rows.embeddings, upside_down, rows.recordings), LABELS, (1e-2,))
    assert judged.loss > 1 > fit_columns(rows, LABELS, (1e-2,)).loss


def test_head_may_see_the_first_dimensions_alone() -> None:
    """What follows changes neither the fit nor what the head says."""
    rows, draw = separable(), np.random.default_rng(2)
    more = draw.standard_normal((len(rows.embeddings), 5)).astype(np.float32)
    wide = replace(rows, embeddings=np.concatenate((rows.embeddings, more), 1))
    alone, found = fit_columns(rows, LABELS), fit_columns(wide, LABELS, used=rows.embeddings.shape[1])
    assert found.probe.dim == wide.embeddings.shape[1]
    assert (found.strength, found.loss) == (alone.strength, alone.loss)
    with torch.no_grad():
        said, expected = (one.probe.head(torch.from_numpy(of.embeddings)) for one, of in ((found, wide), (alone, rows)))
    torch.testing.assert_close(said, expected)


@pytest.mark.parametrize("recordings", [1, 4])
def test_too_few_recordings_are_refused(recordings: int) -> None:
    with pytest.raises(ProbeError, match="need 5 recordings or more"):
        fit_columns(separable(recordings=recordings), LABELS)
    assert fit_columns(separable(recordings=5), LABELS, (1e-2,)).columns == 300


def test_linear_head_learns_shares() -> None:
    """Where nothing tells columns apart, the mean share is what it says; else what goes with it."""
    shares = np.array([[0.25], [0.75]] * 50, np.float32)
    side = np.array([[-1.0], [1.0]] * 50, np.float32)
    with torch.no_grad():
        same = fit_linear(np.ones((100, 1), np.float32), shares, 0.0)(torch.ones(1, 1)).sigmoid()
        told = fit_linear(side, shares, 0.0)(torch.tensor([[-1.0], [1.0]])).sigmoid()
    torch.testing.assert_close(same, torch.tensor([[0.5]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(told, torch.tensor([[0.25], [0.75]]), atol=1e-4, rtol=0)


def untrained() -> Trained:
    """A student with the weights that it begins with."""
    student = StudentSettings("resnet", {"channels": [4, 4, 8, 8], "dim": 6}, 8)
    recipe = replace(RECIPE, student=student, seconds=10.0, mel=MelConfig(mean=-4.0, std=3.0))
    return Trained(new_learner(recipe, 2).eval(), recipe, ())


@pytest.mark.parametrize(("seconds", "frames"), [(WINDOW_SECONDS, WINDOW * 32), (None, 624)])
def test_head_goes_into_a_bundle_with_the_window_that_it_was_fitted_for(
    tmp_path: Path, seconds: float | None, frames: int
) -> None:
    trained = untrained()
    draw = np.random.default_rng(0)
    rows = ColumnRows(
        draw.standard_normal((50, 12)).astype(np.float32), draw.random((50, 2)).astype(np.float32), np.arange(50)
    )
    head = fit_columns(rows, LABELS).probe
    write_student_bundle(trained, tmp_path / "tried", probe=head, window_seconds=seconds)
    student = load_student(tmp_path / "tried")
    assert student.spec.window_frames == frames
    assert [label.name for label in student.spec.labels] == list(LABELS)
    image = draw.standard_normal((WINDOW * 32, 128)).astype(np.float32)
    with torch.inference_mode():
        expected = head.head(trained.learner.embed_columns(torch.from_numpy(image)[None]))[0].numpy()
    np.testing.assert_allclose(student.infer(image).logits, expected, atol=1e-3)
