import csv
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parts import PATIENCE
from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_extract import LevelTeacher, tone, tones
from training.clips import read_clip
from training.embeddings import check_embeddings, open_embeddings
from training.errors import EmbeddingsError, ExtractError, SettingsError, StorageError
from training.extract import ExtractSettings, extract, plan_extraction
from training.files import locked
from training.manifest import open_manifest

SETTINGS = ExtractSettings("levels", seconds=1.0, batch=3, shard_rows=6, progress=False)

EXTRACT = """
import os, signal, sys
from pathlib import Path
from tests.training.parts_extract import LevelTeacher
from tests.training.test_extract import SETTINGS
from training.extract import extract
from training.manifest import open_manifest

class MortalTeacher(LevelTeacher):
    def embed(self, audio):
        if self.heard >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(audio)

extract(open_manifest(Path(sys.argv[1])), MortalTeacher(), Path(sys.argv[2]), SETTINGS)
"""

FILL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.parts_extract import LevelTeacher
from tests.training.test_extract import SETTINGS
from training.extract import extract
from training.manifest import open_manifest

class LateTeacher(LevelTeacher):
    def embed(self, audio):
        if self.heard >= 12:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        return super().embed(audio)

extract(open_manifest(Path(sys.argv[1])), LateTeacher(), Path(sys.argv[2]), SETTINGS)
"""


class NextBatchTeacher(LevelTeacher):
    """Goes on with its first batch only when reading has come to a later one."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.seen_ahead = False
        self._changed = threading.Condition()

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
        return 8000

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        with self._changed:
            self.seen_ahead = self._changed.wait_for(lambda: self.asked > 2 * SETTINGS.batch, timeout=PATIENCE * 30)
        return super().embed(audio)


class WrongTeacher(LevelTeacher):
    """Gives what it does not say."""

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        return super().embed(audio)[:, :5]


class InterruptedTeacher(LevelTeacher):
    """Somebody presses Ctrl-C on its tenth clip."""

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        if self.heard >= 9:
            raise KeyboardInterrupt
        return super().embed(audio)


class NanTeacher(LevelTeacher):
    """Fails on its eighth clip."""

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        before, found = self.heard, super().embed(audio)
        if before <= 7 < self.heard:
            found[7 - before] = torch.nan
        return found


def test_embeddings_are_those_of_the_clips_one_by_one(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 10))
    extract(manifest, LevelTeacher(), tmp_path / "out", replace(SETTINGS, dtype="float32"))
    found = open_embeddings(tmp_path / "out")
    assert list(found.ids) == [entry.id for entry in manifest.entries]
    for row, entry in enumerate(manifest.entries):
        audio = torch.from_numpy(read_clip(manifest.path(entry), 8000, 1.0).samples)[None]
        np.testing.assert_allclose(found.rows([row]), LevelTeacher().embed(audio), atol=1e-6)
    np.testing.assert_allclose(found.durations, 0.5)


@pytest.mark.parametrize("heard", [0, 9, 21])
def test_run_that_was_killed_is_resumed_to_the_same_store(tmp_path: Path, heard: int) -> None:
    audio = tones(tmp_path / "audio", 25)
    assert_killed(run_python(EXTRACT, audio, tmp_path / "out", heard))
    done = (heard // SETTINGS.shard_rows) * SETTINGS.shard_rows
    teacher = LevelTeacher()
    report = extract(open_manifest(audio), teacher, tmp_path / "out", SETTINGS)
    assert (report.embedded, report.stored, teacher.heard) == (25 - done, 25, 25 - done)
    extract(open_manifest(audio), LevelTeacher(), tmp_path / "whole", SETTINGS)
    assert content(tmp_path / "out", "shard-*", "index.json") == content(tmp_path / "whole", "shard-*", "index.json")


def test_finished_run_is_not_done_again(tmp_path: Path) -> None:
    manifest, teacher = open_manifest(tones(tmp_path / "audio", 7)), LevelTeacher()
    extract(manifest, teacher, tmp_path / "out", SETTINGS)
    before = content(tmp_path / "out", "shard-*", "index.json")
    report = extract(manifest, teacher, tmp_path / "out", SETTINGS)
    assert (report.embedded, report.stored, teacher.heard) == (0, 7, 7)
    assert content(tmp_path / "out", "shard-*", "index.json") == before


def test_full_disk_is_told_and_a_later_run_goes_on(tmp_path: Path) -> None:
    audio = tones(tmp_path / "audio", 25)
    done = run_python(FILL_DISK, audio, tmp_path / "out")
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    check_embeddings(open_embeddings(tmp_path / "out"))
    assert extract(open_manifest(audio), LevelTeacher(), tmp_path / "out", SETTINGS).embedded == 13


def test_clips_that_cannot_be_read_are_skipped_counted_and_listed(tmp_path: Path) -> None:
    audio = tones(tmp_path / "audio", 9)
    (audio / "clip002.wav").write_text("no audio")
    tone(audio / "clip005.wav", 0.0)
    report = extract(open_manifest(audio), LevelTeacher(), tmp_path / "out", replace(SETTINGS, max_skipped_share=0.3))
    assert [clip.id for clip in report.skipped] == ["clip002.wav", "clip005.wav"]
    assert (report.clips, report.stored) == (9, 7)
    with (tmp_path / "out" / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["clip002.wav", "clip005.wav"]
    assert "cannot be read as audio" in rows[0]["reason"]
    assert str(tmp_path) not in rows[1]["reason"]


def test_clip_that_was_repaired_is_taken_by_the_next_run(tmp_path: Path) -> None:
    audio, some = tones(tmp_path / "audio", 6), replace(SETTINGS, max_skipped_share=0.3)
    (audio / "clip002.wav").write_text("no audio")
    extract(open_manifest(audio), LevelTeacher(), tmp_path / "out", some)
    tone(audio / "clip002.wav")
    assert extract(open_manifest(audio), LevelTeacher(), tmp_path / "out", some).embedded == 1
    assert len((tmp_path / "out" / "skipped.csv").read_text().splitlines()) == 1


def test_too_many_unreadable_clips_fail_the_step_and_the_rest_stays(tmp_path: Path) -> None:
    audio = tones(tmp_path / "audio", 20)
    for number in (9, 10, 11):
        (audio / f"clip{number:03d}.wav").write_text("no audio")
    with pytest.raises(ExtractError, match=r"3 of 20 clips could not be used, more than 10\.00%.*clip011\.wav"):
        extract(open_manifest(audio), LevelTeacher(), tmp_path / "out", replace(SETTINGS, max_skipped_share=0.1))
    assert len(open_embeddings(tmp_path / "out")) == 9


def test_manifest_without_any_readable_clip_fails(tmp_path: Path) -> None:
    tone(tmp_path / "audio" / "a.wav", 0.0)
    with pytest.raises(ExtractError, match="no clip of the manifest could be used"):
        extract(
            open_manifest(tmp_path / "audio"),
            LevelTeacher(),
            tmp_path / "out",
            replace(SETTINGS, max_skipped_share=1.0),
        )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"teacher": "other"}, "teacher: it has 'levels', asked is 'other'"),
        ({"seconds": 2.0}, "seconds: it has 1.0, asked is 2.0"),
        ({"dtype": "float32"}, "dtype: it has 'float16', asked is 'float32'"),
    ],
)
def test_resuming_with_other_settings_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 4))
    extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    with pytest.raises(SettingsError, match=told):
        extract(manifest, LevelTeacher(), tmp_path / "out", replace(SETTINGS, **change))  # type: ignore[arg-type]


def test_resuming_with_another_manifest_is_refused(tmp_path: Path) -> None:
    extract(open_manifest(tones(tmp_path / "audio", 4)), LevelTeacher(), tmp_path / "out", SETTINGS)
    with pytest.raises(SettingsError, match="clips: it has 4, asked is 5; manifest_sha256"):
        extract(open_manifest(tones(tmp_path / "audio", 5)), LevelTeacher(), tmp_path / "out", SETTINGS)


def test_batch_and_threads_may_change_on_resuming(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 4))
    extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    extract(manifest, LevelTeacher(), tmp_path / "out", replace(SETTINGS, batch=1, readers=1, ahead=1))


@pytest.mark.parametrize("settings_left", [True, False])
def test_teacher_of_another_width_than_the_stored_is_refused(tmp_path: Path, settings_left: bool) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 4))
    extract(manifest, LevelTeacher(8), tmp_path / "out", SETTINGS)
    if not settings_left:
        (tmp_path / "out" / "settings.json").unlink()
    with pytest.raises(
        (SettingsError, EmbeddingsError), match=r"embedding_dim: it has 8, asked is 4|of width 8.*width 4"
    ):
        extract(manifest, LevelTeacher(4), tmp_path / "out", SETTINGS)


def test_teacher_that_gives_another_width_than_it_says_is_told(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 4))
    with pytest.raises(ExtractError, match=r"levels: expected embeddings \[3, 8\], got \[3, 5\]"):
        extract(manifest, WrongTeacher(), tmp_path / "out", SETTINGS)


def test_clip_that_the_teacher_says_nan_of_is_skipped_as_if_it_could_not_be_read(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 12))
    with pytest.raises(ExtractError, match=r"1 of 12 .*clip007\.wav: the teacher gave NaN or infinity"):
        extract(manifest, NanTeacher(), tmp_path / "out", SETTINGS)
    assert len(open_embeddings(tmp_path / "out")) == 8
    some = replace(SETTINGS, max_skipped_share=0.1)
    assert [clip.id for clip in extract(manifest, NanTeacher(), tmp_path / "new", some).skipped] == ["clip007.wav"]
    assert extract(manifest, LevelTeacher(), tmp_path / "new", some).embedded == 1


def test_run_that_is_interrupted_by_hand_keeps_what_the_teacher_gave(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 12))
    with pytest.raises(KeyboardInterrupt):
        extract(manifest, InterruptedTeacher(), tmp_path / "out", SETTINGS)
    assert len(open_embeddings(tmp_path / "out")) == 9
    assert extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS).embedded == 3


def test_two_runs_do_not_write_into_one_folder(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 4))
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(StorageError, match="another run is writing here"):
        extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    assert extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS).stored == 4


def test_dry_run_says_what_is_left_and_writes_nothing(tmp_path: Path) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 10))
    plan = plan_extraction(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    assert (plan.clips, plan.stored, plan.bytes_needed) == (10, 0, 10 * 8 * 2)
    assert plan.bytes_free > 0
    assert not (tmp_path / "out").exists()
    extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    assert plan_extraction(manifest, LevelTeacher(), tmp_path / "out", SETTINGS).bytes_needed == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text()) == plan.resolved


def test_audio_of_the_next_batches_is_read_while_the_teacher_works(tmp_path: Path) -> None:
    teacher = NextBatchTeacher()
    extract(open_manifest(tones(tmp_path / "audio", 12)), teacher, tmp_path / "out", SETTINGS)
    assert teacher.seen_ahead


def test_report_accounts_for_the_time(tmp_path: Path) -> None:
    report = extract(open_manifest(tones(tmp_path / "audio", 6)), LevelTeacher(), tmp_path / "out", SETTINGS)
    saved = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 0 < report.teacher_seconds < report.seconds
    assert report.teacher_share == saved["teacher_share"] == report.teacher_seconds / report.seconds


def test_progress_is_shown_if_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = open_manifest(tones(tmp_path / "audio", 6))
    extract(manifest, LevelTeacher(), tmp_path / "out", SETTINGS)
    assert capsys.readouterr().err == ""
    extract(manifest, LevelTeacher(), tmp_path / "again", replace(SETTINGS, progress=True))
    assert "6/6" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [{"teacher": ""}, {"seconds": 0.0}, {"max_skipped_share": 1.1}, {"batch": 0}, {"readers": 0}, {"ahead": 0}],
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="need"):
        replace(SETTINGS, **change)  # type: ignore[arg-type]
