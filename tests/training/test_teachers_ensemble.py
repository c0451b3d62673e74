"""Finished trainings as teachers, several teachers as one, and what `extract --columns` stores of them."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ssondo_stream.errors import AudioError
from ssondo_stream.mel import log_mel
from tests.training.parts_distill import RECIPE, tones
from training.cli import main
from training.clips import read_clip
from training.embeddings import open_embeddings
from training.errors import SettingsError
from training.extract import ExtractSettings, extract, plan_extraction
from training.learner import STUDENT_FILE, load_learner, new_learner, save_learner
from training.manifest import open_manifest
from training.recipe import StudentSettings
from training.teachers import TeacherError, load_teacher
from training.teachers.ensemble import Ensemble
from training.teachers.trained import TrainedTeacher

HERE = __name__
DIMS = (6, 10)
SECONDS = 1.2
COLUMNS = 3
SETTINGS = ExtractSettings("tried", SECONDS, columns=True, dtype="float32", batch=3, progress=False)


class Halves:
    """A teacher that divides a clip otherwise: into two."""

    sample_rate = 32_000
    embedding_dim = 5

    def embed(self, audio: Tensor) -> Tensor:
        return self.embed_frames(audio).mean(1)

    def embed_frames(self, audio: Tensor) -> Tensor:
        return audio.view(len(audio), 2, 5, -1).square().mean(3)


class Slow(Halves):
    """A teacher of another sample rate."""

    sample_rate = 16_000


def training(folder: Path, dim: int, seed: int) -> str:
    """The folder of a training that ended as it began."""
    recipe = replace(
        RECIPE, student=StudentSettings("resnet", {"channels": [4, 4, 8, 8], "dim": dim // 2}, 8), seed=seed
    )
    folder.mkdir()
    save_learner(folder / STUDENT_FILE, new_learner(recipe, 2), recipe, ("a", "b"))
    return str(folder)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Two trainings, with embeddings of different width."""
    folder = tmp_path_factory.mktemp("trainings")
    return [training(folder / f"of {dim}", dim, dim) for dim in DIMS]


def audio(seconds: float = SECONDS, batch: int = 4) -> Tensor:
    level = torch.linspace(0.02, 0.5, batch)[:, None]
    return level * torch.randn(batch, round(32_000 * seconds), generator=torch.Generator().manual_seed(1))


def test_finished_training_serves_as_a_teacher(members: Sequence[str]) -> None:
    teacher, trained = load_teacher(members[0]), load_learner(Path(members[0]))
    assert (teacher.sample_rate, teacher.embedding_dim) == (32_000, DIMS[0])
    frames = torch.from_numpy(np.stack([log_mel(clip, trained.recipe.mel) for clip in audio().numpy()]))
    with torch.inference_mode():
        columns, embeddings = trained.learner.embed_columns(frames), trained.learner.embed(frames)
    assert columns.shape == (4, COLUMNS, DIMS[0])
    torch.testing.assert_close(teacher.embed_frames(audio()), columns, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(teacher.embed(audio()), embeddings, atol=1e-5, rtol=1e-4)


def test_embedding_of_a_training_is_the_mean_of_its_columns(members: Sequence[str]) -> None:
    teacher = load_teacher(members[1])
    frames = teacher.embed_frames(audio(3.0))
    assert frames.shape == (4, 6, DIMS[1])
    assert frames.std(1).min() > 1e-4
    torch.testing.assert_close(teacher.embed(audio(3.0)), frames.mean(1))


def test_training_may_be_named_by_its_file(members: Sequence[str]) -> None:
    by_file = TrainedTeacher(Path(members[0]) / STUDENT_FILE)
    assert torch.equal(by_file.embed(audio()), load_teacher(members[0]).embed(audio()))


@pytest.mark.parametrize("wrong", [torch.zeros(32_000), torch.zeros(1, 1023), torch.full((1, 32_000), torch.nan)])
def test_training_refuses_audio_that_cannot_be_heard(members: Sequence[str], wrong: Tensor) -> None:
    for call in (load_teacher(members[0]).embed, load_teacher(members[0]).embed_frames):
        with pytest.raises(AudioError):
            call(wrong)


def test_missing_training_is_told(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"student\.safetensors: cannot be read"):
        TrainedTeacher(tmp_path)
    with pytest.raises(TeacherError, match=r"no teacher '.*': .*the folder of a finished training"):
        load_teacher(str(tmp_path))


def test_damaged_training_is_told(members: Sequence[str], tmp_path: Path) -> None:
    whole = (Path(members[0]) / STUDENT_FILE).read_bytes()
    (tmp_path / STUDENT_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TeacherError, match=r"student\.safetensors: cannot be read as safetensors"):
        load_teacher(str(tmp_path))


def test_weights_that_no_training_left_are_told(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / STUDENT_FILE)
    with pytest.raises(TeacherError, match="was not left by a training"):
        load_teacher(str(tmp_path))


def test_training_and_ensemble_take_no_checkpoint(members: Sequence[str]) -> None:
    with pytest.raises(TeacherError, match=r"is a training, which has its weights with it: leave out w\.pt"):
        load_teacher(members[0], "w.pt")
    with pytest.raises(TeacherError, match=r"an ensemble takes no checkpoint: leave out w\.pt"):
        load_teacher(",".join(members), "w.pt")


def test_teachers_with_commas_between_are_an_ensemble(members: Sequence[str]) -> None:
    teacher = load_teacher(",".join(members))
    assert isinstance(teacher, Ensemble)
    assert (teacher.sample_rate, teacher.embedding_dim) == (32_000, sum(DIMS))
    assert teacher.embed(audio()).shape == (4, sum(DIMS))
    assert teacher.embed_frames(audio()).shape == (4, COLUMNS, sum(DIMS))


def test_cosine_of_joint_embeddings_is_the_mean_of_the_members_cosines(members: Sequence[str]) -> None:
    joint, alone = load_teacher(",".join(members)), [load_teacher(name) for name in members]

    def cosines(rows: Tensor) -> Tensor:
        return cosine_similarity(rows[:, None], rows[None], dim=-1)

    expected = torch.stack([cosines(one.embed(audio())) for one in alone])
    assert (expected[0] - expected[1]).abs().max() > 1e-3
    torch.testing.assert_close(cosines(joint.embed(audio())), expected.mean(0), atol=1e-5, rtol=0)
    columns = torch.stack([cosines(one.embed_frames(audio()).flatten(0, 1)) for one in alone])
    found = cosines(joint.embed_frames(audio()).flatten(0, 1))
    torch.testing.assert_close(found, columns.mean(0), atol=1e-5, rtol=0)


def test_members_keep_their_order(members: Sequence[str]) -> None:
    first = load_teacher(members[0]).embed(audio())
    joint = load_teacher(",".join(members)).embed(audio())[:, : DIMS[0]]
    torch.testing.assert_close(joint, first / first.norm(dim=1, keepdim=True))


def test_members_of_another_rate_are_refused(members: Sequence[str]) -> None:
    with pytest.raises(TeacherError, match=r"need one sample rate, these have \[16000, 32000\] Hz"):
        load_teacher(f"{members[0]},{HERE}:Slow")


def test_members_that_divide_audio_otherwise_are_refused_where_it_matters(members: Sequence[str]) -> None:
    teacher = load_teacher(f"{members[0]},{HERE}:Halves")
    assert teacher.embed(audio()).shape == (4, DIMS[0] + 5)
    with pytest.raises(TeacherError, match="must divide audio alike, these give 3, 2 stretches"):
        teacher.embed_frames(audio())


@pytest.mark.parametrize("name", ["{},resnet", "{},"])
def test_member_that_is_no_teacher_is_named(members: Sequence[str], name: str) -> None:
    with pytest.raises(TeacherError, match=f"no teacher '{name[3:]}'"):
        load_teacher(name.format(members[0]))


def test_extracted_columns_are_those_of_the_clips_one_after_another(members: Sequence[str], tmp_path: Path) -> None:
    manifest, teacher = open_manifest(tones(tmp_path / "audio", 5)), load_teacher(",".join(members))
    width = COLUMNS * sum(DIMS)
    plan = plan_extraction(manifest, teacher, tmp_path / "out", SETTINGS)
    assert (plan.bytes_needed, plan.resolved["columns"]) == (5 * width * 4, True)
    assert extract(manifest, teacher, tmp_path / "out", SETTINGS).stored == 5
    found = open_embeddings(tmp_path / "out")
    assert found.dim == width
    clips = np.stack([read_clip(manifest.path(entry), 32_000, SECONDS).samples for entry in manifest.entries])
    expected = teacher.embed_frames(torch.from_numpy(clips)).flatten(1).numpy()
    np.testing.assert_allclose(found.rows(range(5)), expected, atol=1e-4)


def test_store_of_columns_is_not_gone_on_with_by_means(members: Sequence[str], tmp_path: Path) -> None:
    manifest, teacher = open_manifest(tones(tmp_path / "audio", 3)), load_teacher(members[0])
    extract(manifest, teacher, tmp_path / "out", SETTINGS)
    with pytest.raises(SettingsError, match="columns: it has True, asked is False"):
        extract(manifest, teacher, tmp_path / "out", replace(SETTINGS, columns=False))


def test_command_stores_columns_of_an_ensemble(
    members: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--teacher", ",".join(members), "--seconds", str(SECONDS), "--columns", "--quiet"]
    given = ["extract", str(tones(tmp_path / "audio", 3)), "--out", str(tmp_path / "out"), *asked]
    monkeypatch.setattr(sys, "argv", ["ssondo-train", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "3 of 3 clips embedded, 0 skipped" in capsys.readouterr().out
    assert open_embeddings(tmp_path / "out").dim == COLUMNS * sum(DIMS)
    named = json.loads((tmp_path / "out" / "settings.json").read_text())["teacher"]
    for name in members:
        assert hashlib.sha256((Path(name) / STUDENT_FILE).read_bytes()).hexdigest() in named
