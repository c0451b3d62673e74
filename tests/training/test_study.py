"""The study from end to end, on real clips, with next to no effort."""

import json

import pytest

from ssondo_stream.loading import load_student
from tests.parts_shared import shared
from training.labels import LABELS
from training.study import Split, run
from training.study_data import StudyData
from training.study_effort import Effort
from training.study_figures import measured
from training.study_report import rows_of

LITTLE = Effort(
    crops=16,
    windows=8,
    scenes=24,
    clusters=2,
    epochs=1,
    epochs_compared=1,
    draws=4,
    practice=12,
    mistakable=2,
    probed=1,
    measured=1,
    chosen_on=1,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """A recorded clip of each label and fold, and as many made-up sounds."""
    folder = tmp_path_factory.mktemp("esc10")
    rows = (shared("data/esc10") / "meta.csv").read_text(encoding="utf-8").splitlines()
    kept = {tuple(row.split(",")[1:3]): row for row in rows[1:]}
    (folder / "meta.csv").write_text("\n".join([rows[0], *kept.values()]) + "\n", encoding="utf-8")
    for row in kept.values():
        name = row.split(",")[0]
        (folder / name).symlink_to(shared("data/esc10").resolve() / name)
    return StudyData(tmp_path_factory.mktemp("study"), folder, made_up=4, varied=5)


@pytest.fixture(scope="module")
def split(data: StudyData) -> Split:
    """Everything without fold 1."""
    found = Split(data, (2, 3, 4), LITTLE)
    for step in ("teacher", "ensemble", "scratch", "uniform", "balanced", "loss-kl", "tuned", "streams"):
        run(found, step, 0)
    return found


def test_every_step_is_measured_on_the_fold_left_out(split: Split) -> None:
    rows = {row.name: row for row in rows_of(measured(split.data.folder))}
    assert set(rows) == {"teacher", "textures", "ensemble", "scratch", "uniform", "balanced", "loss-kl", "tuned"}
    assert all(set(row.by_fold) == {1} and 0 <= row.mean <= 1 for row in rows.values())


def test_nothing_of_the_fold_left_out_is_trained_on(split: Split) -> None:
    crops = json.loads((split.data.folder / "crops-234" / "crops.json").read_text(encoding="utf-8"))
    assert crops["labels"] == [*LABELS, "Other"]
    recorded = {entry.id: entry.fold for entry in split.data.recorded().entries}
    trained_on = split.data.labelled().in_folds(split.folds)
    assert {recorded[e.id.removeprefix("esc10/")] for e in trained_on.entries if e.id.startswith("esc10/")} == {2, 3, 4}


def test_scenes_are_of_more_made_up_sounds_than_what_students_are_measured_on(split: Split) -> None:
    data = split.data
    alarms, more = ({entry.id for entry in data.labelled(count).entries} for count in (None, data.varied))
    assert {name.rsplit("-", 1)[1] for name in more - alarms} == {"00004.wav"}
    told = {
        name: json.loads((data.folder / name / "soundscapes.json").read_text(encoding="utf-8"))["manifests"]["clips"]
        for name in ("scenes-234", "practice-234", "windows-234/scenes")
    }
    of = {count: data.labelled(count).in_folds(split.folds).fingerprint for count in (data.made_up, data.varied)}
    assert told == {
        "scenes-234": of[data.varied],
        "practice-234": of[data.varied],
        "windows-234/scenes": of[data.made_up],
    }


def test_a_step_that_is_done_is_left_alone(split: Split) -> None:
    kept = [path for path in (split.folder / "balanced-0").rglob("*") if path.suffix in {".pt", ".csv", ".npy"}]
    before = {path: path.stat().st_mtime_ns for path in kept}
    run(split, "balanced", 0)
    assert "checkpoint.pt" in {path.name for path in kept}
    assert {path: path.stat().st_mtime_ns for path in kept if path.name != "skipped.csv"} == {
        path: when for path, when in before.items() if path.name != "skipped.csv"
    }


def test_the_student_becomes_a_bundle_with_a_window_of_ten_seconds(split: Split) -> None:
    spec = load_student(split.bundle(0)).spec
    assert spec.window_frames == 624
    assert tuple(label.name for label in spec.labels) == LABELS


def test_its_verifier_refuses_what_it_mistook_elsewhere(split: Split) -> None:
    """In minutes of negatives that are in nothing else."""
    folders = ("mistakable", "unheard", "choosing", "negatives")
    made = [json.loads((split.data.folder / name / "made_up.json").read_text(encoding="utf-8")) for name in folders]
    assert len({one["seed"] for one in made}) == len(folders)
    found = [load_student(split.folder / name).spec for name in ("unverified-0", "bundle-0")]
    assert [spec.verifies for spec in found] == [False, True]
    assert len(list((split.folder / "unverified-0-scores").glob("*.npz"))) == LITTLE.mistakable


def test_streams_are_scored_on_sounds_and_on_quiet(split: Split) -> None:
    recordings = split.scored(0)
    assert [bool(recording.heard) for recording in recordings] == [True, False, False, False]
    assert all(recording.scores.means.shape[2] == len(LABELS) for recording in recordings)
