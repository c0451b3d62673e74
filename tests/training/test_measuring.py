import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from ssondo_stream.bundle import StudentSpec
from ssondo_stream.windowed import WindowedStream
from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed
from tests.training.parts_measuring import SETTINGS, clips, left, measure, recordings, renamed
from tests.training.parts_streams import Fickle
from training.annotations import Heard
from training.errors import ManifestError, SettingsError, StorageError
from training.evaluation import EvaluationError
from training.files import locked
from training.measuring import LABELS_FILE, SETTINGS_FILE, Measured, MeasureSettings
from training.report import JSON_FILE, PLOT_FILE, TABLE_FILE
from training.skipping import SKIPPED_FILE
from training.stream_scores import StreamSettings
from training.thresholds import Preference

SCORES = [f"{number:05d}.npz" for number in range(3)]
Left = dict[str, dict[str, str]]

KILLED = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.parts_measuring import measure

die_after(int(sys.argv[2]), within="out")
measure(Path(sys.argv[1]))
"""

FULL = """
import resource, sys
from pathlib import Path
from tests.training.parts_measuring import measure
from tests.training.parts_streams import Fickle

class Late(Fickle):
    streams = 0

    def stream(self, hop_columns=1):
        self.streams += 1
        if self.streams == int(sys.argv[2]):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        return super().stream(hop_columns)

measure(Path(sys.argv[1]), Late(1.0))
"""


class Counting(Fickle):
    """Counts its streams, one a recording and one a clip."""

    streams = 0

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        self.streams += 1
        return super().stream(hop_columns)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """What a run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    measure(folder)
    return left(folder / "out")


def test_run_leaves_its_settings_thresholds_and_a_report(uninterrupted: Left) -> None:
    assert set(uninterrupted[""]) == {SETTINGS_FILE, SKIPPED_FILE, LABELS_FILE, TABLE_FILE, JSON_FILE, PLOT_FILE}
    assert set(uninterrupted["scores"]) == set(uninterrupted["chosen_on"]) == {"scores.json", *SCORES}


@pytest.mark.parametrize("writes", [0, 2, 4, 5, 8, 10, 12])
def test_run_that_was_killed_goes_on_and_leaves_the_same_files(
    tmp_path: Path, uninterrupted: Left, writes: int
) -> None:
    assert_killed(run_python(KILLED, tmp_path, writes))
    measure(tmp_path)
    assert left(tmp_path / "out") == uninterrupted


@pytest.mark.parametrize(("stream", "streams"), [(2, 9), (10, 5)])
def test_full_disk_is_told_and_a_later_run_goes_on(
    tmp_path: Path, uninterrupted: Left, stream: int, streams: int
) -> None:
    """With the second recording of those that are chosen on, and with the last of all."""
    done = run_python(FULL, tmp_path, stream)
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    student = Counting(1.0)
    measure(tmp_path, student)
    assert student.streams == streams  # four clips, and what had not been scored
    assert left(tmp_path / "out") == uninterrupted


def test_figures_of_something_else_are_refused(tmp_path: Path) -> None:
    of = Measured(recordings(tmp_path / "heard"))
    measure(tmp_path, of=of)
    corrected = [replace(of.recordings[0], heard=(Heard(1.0, 2.0, "Loud"),)), *of.recordings[1:]]
    for other, settings, said in (
        (Measured(recordings(tmp_path / "further", 3)), SETTINGS, "recordings_sha256"),
        (Measured(corrected), SETTINGS, "recordings_annotations_sha256"),
        (Measured(of.recordings, recordings(tmp_path / "others", 5)), SETTINGS, "chosen_on"),
        (Measured(of.recordings, clips=clips(tmp_path / "clips")), SETTINGS, "clips_sha256"),
        (of, replace(SETTINGS, per_hour=2.0), "false_alarms_per_hour: it has 1000000.0, asked is 2.0"),
        (of, replace(SETTINGS, prefer="f1+recall"), "prefer"),
        (of, replace(SETTINGS, stream=StreamSettings(settle_seconds=5.0)), "settle_seconds: it has 10.0, asked is 5.0"),
        (of, replace(SETTINGS, metrics=replace(SETTINGS.metrics, bridge_seconds=1.0)), "bridge_seconds"),
    ):
        with pytest.raises(SettingsError, match=said):
            measure(tmp_path, of=other, settings=settings)
    measure(tmp_path, of=of)


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(StorageError, match="another run"):
        measure(tmp_path, of=Measured(clips=clips(tmp_path / "clips")))


def test_clips_that_cannot_be_read_are_listed_and_told(tmp_path: Path) -> None:
    of = Measured(clips=clips(tmp_path / "clips"))
    (tmp_path / "clips" / "1.wav").write_text("no audio")
    with pytest.raises(ManifestError, match="1 of 4 clips cannot be used"):
        measure(tmp_path, of=of)
    measure(tmp_path, of=of, most_skipped=0.25)
    assert (tmp_path / "out" / SKIPPED_FILE).read_text().splitlines()[1].startswith("1.wav,")
    assert "- skipped: 1, as skipped.csv says" in (tmp_path / "out" / TABLE_FILE).read_text()


def test_thresholds_are_chosen_within_the_budget_and_that_is_told(tmp_path: Path) -> None:
    of = Measured(recordings(tmp_path / "heard"), recordings(tmp_path / "others", 5))
    measure(tmp_path, of=of, out="loose")
    measure(tmp_path, of=of, settings=replace(SETTINGS, per_hour=0.0), out="strict")
    assert chosen(tmp_path / "loose") < 0.5 < chosen(tmp_path / "strict")
    told = (tmp_path / "strict" / TABLE_FILE).read_text()
    assert "- thresholds: chosen on 3 recordings for f1, at most 0 false alarms an hour" in told


def test_thresholds_are_chosen_for_what_is_preferred(tmp_path: Path) -> None:
    """A faint sound is found at the price of three that are none: too much for F1 alone."""
    others = recordings(tmp_path / "others", 5)
    of = Measured(recordings(tmp_path / "heard"), [*others, others[2], others[2]])
    for prefer in get_args(Preference):
        measure(tmp_path, of=of, settings=replace(SETTINGS, prefer=prefer), out=prefer)
    assert chosen(tmp_path / "f1+recall") < 0.5 < chosen(tmp_path / "f1")


def chosen(out: Path) -> float:
    """The threshold of what is loud."""
    loud, _ = json.loads((out / LABELS_FILE).read_text())
    return float(loud["threshold"])


@pytest.mark.parametrize(
    ("wrong", "said"), [({"per_hour": -1.0}, "budget"), ({"per_hour": float("nan")}, "budget"), ({"prefer": "x"}, "f1")]
)
def test_impossible_settings_are_refused(wrong: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MeasureSettings(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    headless, of = Fickle(), Measured(clips=clips(tmp_path / "clips"))
    headless.spec = StudentSpec("headless", (), 1)
    wide = replace(SETTINGS, stream=StreamSettings(hop_columns=21))
    with pytest.raises(EvaluationError, match=r"headless: has no labels to measure; export .* --probe"):
        measure(tmp_path, headless, of)
    with pytest.raises(EvaluationError, match="hops of 21 columns, its window has 20"):
        measure(tmp_path, of=of, settings=wide)
    with pytest.raises(ManifestError, match="no clip has a label"):
        measure(tmp_path, of=renamed(of, ""))
    with pytest.raises(ManifestError, match="no label 'Owl'"):
        measure(tmp_path, of=renamed(of, "Owl"))
    assert not (tmp_path / "out").exists()
