"""The making of a verifier from folders: what is refused before, what is left after a kill, what is told."""

import json
from pathlib import Path

import pytest

from ssondo_stream.bundle import StudentSpec
from ssondo_stream.students import ColumnTagger, MobileNetV3
from ssondo_stream.students.export import write_bundle
from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_verifier import LABELS, folders
from training.annotations import annotated_recordings, annotation_path, write_annotations
from training.errors import ManifestError, SettingsError, StorageError, TrainingError
from training.files import locked
from training.verifier import VERIFIER_FILE, VerifierError, fit_verifier
from training.verifier_step import Lessons, VerifierSettings, make_verifier, open_lessons

SETTINGS = VerifierSettings(progress=False)
LENIENT = VerifierSettings(max_skipped_share=0.4, progress=False)
EVERYTHING = ("*", "scores/*")

MAKE = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.parts_verifier import folders
from tests.training.test_verifier_step import SETTINGS
from training.verifier_step import make_verifier, open_lessons

die_after(int(sys.argv[2]))
lessons = open_lessons(*folders(Path(sys.argv[1])), SETTINGS)
make_verifier(lessons, Path(sys.argv[1]) / "out", SETTINGS)
"""

FILL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.parts_verifier import folders
from tests.training.test_verifier_step import SETTINGS
from training.verifier_step import make_verifier, open_lessons

lessons = open_lessons(*folders(Path(sys.argv[1])), SETTINGS)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
make_verifier(lessons, Path(sys.argv[1]) / "out", SETTINGS)
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    folders(folder)
    return folder


@pytest.fixture(scope="module")
def whole(given: Path) -> Path:
    """A verifier whose making nothing interrupted."""
    refused = make_verifier(opened(given), given / "whole", SETTINGS)
    assert refused
    return given / "whole"


def opened(folder: Path, settings: VerifierSettings = SETTINGS) -> Lessons:
    return open_lessons(*folders(folder), settings)


@pytest.mark.parametrize("files", [0, 2, 4, 6])
def test_run_that_was_killed_goes_on_and_gives_the_same_files(tmp_path: Path, whole: Path, files: int) -> None:
    """Killed before its settings, among the scores of what it is to refuse, and before the verifier."""
    folders(tmp_path)
    assert_killed(run_python(MAKE, tmp_path, files))
    assert not (tmp_path / "out" / VERIFIER_FILE).exists()
    assert make_verifier(opened(tmp_path), tmp_path / "out", SETTINGS)
    assert content(tmp_path / "out", *EVERYTHING) == content(whole, *EVERYTHING)


def test_full_disk_is_told_and_a_later_run_goes_on(tmp_path: Path, whole: Path) -> None:
    folders(tmp_path)
    done = run_python(FILL_DISK, tmp_path)
    assert "StorageError" in done.stderr
    assert f"{VERIFIER_FILE}: no room left" in done.stderr
    assert make_verifier(opened(tmp_path), tmp_path / "out", SETTINGS)
    assert content(tmp_path / "out", *EVERYTHING) == content(whole, *EVERYTHING)


def test_finished_verifier_is_left_alone(given: Path, whole: Path) -> None:
    before = content(whole, *EVERYTHING)
    assert make_verifier(opened(given), whole, SETTINGS) is None
    assert content(whole, *EVERYTHING) == before


def test_step_gives_the_verifier_that_the_library_gives(tmp_path: Path, given: Path) -> None:
    bundle, heard, _ = folders(given)
    make_verifier(open_lessons(bundle, heard, None, SETTINGS), tmp_path / "step", SETTINGS)
    fit_verifier(annotated_recordings(heard), LABELS, tmp_path / "library", progress=False)
    assert content(tmp_path / "step", "*.safetensors") == content(tmp_path / "library", "*.safetensors")
    assert not (tmp_path / "step" / "scores").exists()


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    bundle, heard, others = folders(tmp_path)
    out = tmp_path / "out"
    make_verifier(open_lessons(bundle, heard, None, SETTINGS), out, SETTINGS)
    kept = content(out, *EVERYTHING)
    seeded = VerifierSettings(seed=1, progress=False)
    with pytest.raises(SettingsError, match="seed: it has 0, asked is 1; name another output folder"):
        make_verifier(open_lessons(bundle, heard, None, seeded), out, seeded)
    with pytest.raises(SettingsError, match="refused_sha256"):
        make_verifier(open_lessons(bundle, heard, others, SETTINGS), out, SETTINGS)
    first = annotated_recordings(heard)[0]
    write_annotations(annotation_path(first.audio), first.heard[:-1])
    with pytest.raises(SettingsError, match="recordings_annotations_sha256"):
        make_verifier(open_lessons(bundle, heard, None, SETTINGS), out, SETTINGS)
    assert content(out, *EVERYTHING) == kept
    (out / "settings.json").unlink()
    with pytest.raises(SettingsError, match="its settings are not beside it"):
        make_verifier(open_lessons(bundle, heard, None, SETTINGS), out, SETTINGS)


def test_folder_that_another_run_works_in_is_refused(tmp_path: Path, given: Path) -> None:
    with locked(tmp_path), pytest.raises(StorageError, match="another run is writing here"):
        make_verifier(opened(given), tmp_path, SETTINGS)
    assert not list(tmp_path.iterdir())


def test_unreadable_recordings_are_skipped_listed_and_limited(tmp_path: Path) -> None:
    _, heard, others = folders(tmp_path)
    (heard / "002.wav").write_bytes(b"no audio")
    (others / "1.wav").write_bytes(b"no audio")
    with pytest.raises(ManifestError, match=r"1 of 6 recordings cannot be used, and 1\.00% of them may.*002\.wav"):
        opened(tmp_path)
    lessons = opened(tmp_path, LENIENT)
    assert (len(lessons.heard), len(lessons.refused), len(lessons.skipped)) == (5, 2, 2)
    assert make_verifier(lessons, tmp_path / "out", LENIENT)
    rows = (tmp_path / "out" / "skipped.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["002.wav", "1.wav"]
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["seed"] == 0


def test_what_no_verifier_can_be_made_of_is_refused(tmp_path: Path) -> None:
    bundle, heard, _ = folders(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match=r"empty: expected recordings .* found no audio"):
        open_lessons(bundle, tmp_path / "empty", None, SETTINGS)
    backbone = MobileNetV3(width_mult=0.1)
    write_bundle(ColumnTagger(backbone, None).eval(), tmp_path / "a", StudentSpec("a", (), backbone.embedding_dim))
    with pytest.raises(VerifierError, match="the student has no labels to verify; name a bundle with a head"):
        open_lessons(str(tmp_path / "a"), heard, None, SETTINGS)
    for one in annotated_recordings(heard):
        write_annotations(annotation_path(one.audio), [sound for sound in one.heard if sound.label == "Hiss"])
    with pytest.raises(ManifestError, match="every label of the student is needed, and 'Tone' is annotated nowhere"):
        open_lessons(bundle, heard, None, SETTINGS)
    with pytest.raises(TrainingError, match="a verifier needs every label in the recordings: 'Hiss' is never heard"):
        fit_verifier([], LABELS, tmp_path / "out", progress=False)
