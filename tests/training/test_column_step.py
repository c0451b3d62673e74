"""A head over columns from folders: what is refused, what is left after a kill, what is told."""

from pathlib import Path

import pytest

from tests.parts_forked import run_python
from tests.training.parts_distill import RECIPE
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_verifier import LABELS, folders
from training.annotations import annotated_recordings, annotation_path, write_annotations
from training.column_step import ColumnSettings, Practice, make_head, open_practice
from training.errors import ManifestError, SettingsError, StorageError
from training.files import locked
from training.learner import STUDENT_FILE, new_learner, save_learner
from training.probe_data import ProbeError
from training.probe_head import HEAD_FILE, load_probe

SETTINGS = ColumnSettings((0.02,), progress=False)

MAKE = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.test_column_step import SETTINGS, opened
from training.column_step import make_head

practice = opened(Path(sys.argv[1]))
die_after(int(sys.argv[2]))
make_head(practice, Path(sys.argv[1]) / "out", SETTINGS)
"""

FILL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.test_column_step import SETTINGS, opened
from training.column_step import make_head

practice = opened(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
make_head(practice, Path(sys.argv[1]) / "out", SETTINGS)
"""


def opened(folder: Path, settings: ColumnSettings = SETTINGS, labels: tuple[str, ...] = ()) -> Practice:
    """Six recordings and a student that has learnt nothing."""
    save_learner(folder / STUDENT_FILE, new_learner(RECIPE, 2), RECIPE, labels)
    return open_practice(folder, folders(folder)[1], settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head whose making nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    make_head(opened(folder), folder / "out", SETTINGS)
    return folder / "out"


@pytest.mark.parametrize("files", [0, 2, 3, 4])
def test_run_that_was_killed_goes_on_and_gives_the_same_files(tmp_path: Path, whole: Path, files: int) -> None:
    folders(tmp_path)
    assert_killed(run_python(MAKE, tmp_path, files))
    make_head(opened(tmp_path), tmp_path / "out", SETTINGS)
    assert content(tmp_path / "out", "*") == content(whole, "*")


def test_full_disk_is_told_and_a_later_run_goes_on(tmp_path: Path, whole: Path) -> None:
    done = run_python(FILL_DISK, tmp_path)
    assert f"{HEAD_FILE}: no room left" in done.stderr
    make_head(opened(tmp_path), tmp_path / "out", SETTINGS)
    assert content(tmp_path / "out", "*") == content(whole, "*")


def test_other_settings_and_other_work_are_refused(tmp_path: Path) -> None:
    practice, out = opened(tmp_path), tmp_path / "out"
    make_head(practice, out, SETTINGS)
    before = content(out, "*")
    other = ColumnSettings((0.1,), progress=False)
    with pytest.raises(SettingsError, match=r"strengths: it has \[0\.02\], asked is \[0\.1\]"):
        make_head(opened(tmp_path, other), out, other)
    with locked(out), pytest.raises(StorageError, match="another run is writing here"):
        make_head(practice, out, SETTINGS)
    assert content(out, "*") == before
    (out / "settings.json").unlink()
    with pytest.raises(SettingsError, match="its settings are not beside it"):
        make_head(practice, out, SETTINGS)


def test_head_has_the_labels_that_the_student_learnt_or_those_annotated(tmp_path: Path) -> None:
    assert opened(tmp_path).labels == LABELS
    practice = opened(tmp_path, labels=LABELS[::-1])
    make_head(practice, tmp_path / "out", SETTINGS)
    assert load_probe(tmp_path / "out").labels == LABELS[::-1]
    with pytest.raises(ManifestError, match="'Bark' is annotated nowhere"):
        opened(tmp_path, labels=(*LABELS, "Bark"))


def test_unreadable_recordings_are_skipped_listed_and_limited(tmp_path: Path) -> None:
    heard = folders(tmp_path)[1]
    (heard / "005.wav").write_bytes(b"no audio")
    with pytest.raises(ManifestError, match="1 of 6 recordings cannot be used"):
        opened(tmp_path)
    lenient = ColumnSettings((0.02,), max_skipped_share=0.2, progress=False)
    practice = opened(tmp_path, lenient)
    assert len(practice.recordings) == 5
    make_head(practice, tmp_path / "out", lenient)
    assert (tmp_path / "out" / "skipped.csv").read_text().splitlines()[1].startswith("005.wav,")


def test_too_few_recordings_are_told(tmp_path: Path) -> None:
    heard = folders(tmp_path)[1]
    for one in annotated_recordings(heard)[4:]:
        annotation_path(one.audio).unlink()
        one.audio.unlink()
    with pytest.raises(ProbeError, match="need 5 recordings or more"):
        make_head(opened(tmp_path), tmp_path / "out", SETTINGS)
    for one in annotated_recordings(heard):
        write_annotations(annotation_path(one.audio), ())
    with pytest.raises(ManifestError, match="nothing is annotated"):
        opened(tmp_path)
