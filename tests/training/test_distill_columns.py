"""Trainings that learn what each column says: of annotations beside the clips, and of a teacher's columns."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import training.distill
from tests.training.parts_distill import RUN, losses, same
from training.annotations import Heard, annotation_path, write_annotations
from training.augment import Masks
from training.batches import Chance
from training.clips import read_clip
from training.column_targets import COLUMN, LEAD
from training.corpus import DistillError, Sources, open_corpus
from training.distill import distill
from training.embeddings import open_embeddings
from training.errors import EmbeddingsError, ManifestError, SettingsError
from training.extract import ExtractSettings, extract
from training.learner import load_learner
from training.losses import LossSettings
from training.manifest import Manifest, open_manifest
from training.mixup import Mixup
from training.recipe import (
    AugmentSettings,
    OptimiserSettings,
    Recipe,
    SamplingSettings,
    StudentSettings,
    TeacherSettings,
    load_recipe,
)
from training.schedules import ScheduleSettings
from training.sounds import RATE
from training.supervised import LabelLoss

CLIPS, COLUMNS, SECONDS = 8, 3, 1.2
NAMES = ("low", "high")
PITCHES = {"low": 400.0, "high": 5000.0}
RICH = AugmentSettings(mixup=0.3, masks=Masks(1, 8, 1, 8), gain_db=(-6.0, 6.0), colour_db=2.0)
LABELS = Recipe(
    labels=LabelLoss("bce", NAMES),
    student=StudentSettings("resnet", {"channels": [4, 8, 8, 16], "dim": 16, "momentum": 0.5}, hidden=16, dropout=0.0),
    sampling=SamplingSettings(12),
    optimiser=OptimiserSettings(rate=1e-2),
    schedule=ScheduleSettings("constant"),
    epochs=10,
    batch=4,
    seconds=SECONDS,
    columns=True,
)
TAUGHT = replace(LABELS, teacher=TeacherSettings("levels", 4), loss=LossSettings("mse"), labels=None)
STOPPED = {"epochs": 2, "average": 0.9, "augment": RICH}
KINDS = {
    "labels": replace(LABELS, **STOPPED),  # type: ignore[arg-type]
    "teacher": replace(TAUGHT, **STOPPED),  # type: ignore[arg-type]
    "teacher and clusters, of another student": replace(
        TAUGHT,
        **STOPPED,  # type: ignore[arg-type]
        loss=LossSettings("hybrid"),
        student=StudentSettings(options={"width_mult": 0.1}, hidden=16),
        sampling=SamplingSettings(12, by="clusters"),
    ),
}


class Levels:
    """A teacher of columns as wide as a student's: how loud each is, in the bass and above."""

    sample_rate = RATE
    embedding_dim = 4

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        return self.embed_frames(audio).mean(1)

    def embed_frames(self, audio: torch.Tensor) -> torch.Tensor:
        columns = -(-(audio.shape[1] + LEAD) // COLUMN)
        padded = torch.nn.functional.pad(audio, (LEAD, columns * COLUMN - LEAD - audio.shape[1]))
        power = torch.fft.rfft(padded.view(len(audio), columns, COLUMN)).abs().square()
        bands = [power[..., low:high].mean(-1) for low, high in ((50, 400), (400, 1500), (1500, 4000), (4000, 8000))]
        return torch.stack(bands, -1).add(1e-2).log() / 10


def clip(path: Path, number: int) -> None:
    """Noise in which a tone is heard in one column and the other tone in another."""
    path.parent.mkdir(exist_ok=True)
    time = np.arange(round(SECONDS * RATE))
    wave = 0.01 * np.random.default_rng(number).standard_normal(len(time))
    heard = []
    for turn, (name, pitch) in enumerate(PITCHES.items()):
        column = (number + turn) % COLUMNS
        start, stop = max(0, column * COLUMN - LEAD), min(len(time), (column + 1) * COLUMN - LEAD)
        wave += 0.3 * np.sin(2 * np.pi * pitch * time / RATE) * ((time >= start) & (time < stop))
        heard.append(Heard(start / RATE, stop / RATE, name))
    soundfile.write(path, wave.astype(np.float32), RATE, subtype="FLOAT")
    write_annotations(annotation_path(path), heard)


@pytest.fixture(scope="module")
def shared_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with annotations, and what a teacher says of their columns and of the whole."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        clip(folder / f"clip{number}.wav", number)
    for name, columns in (("columns", True), ("means", False)):
        settings = ExtractSettings("levels", SECONDS, columns, "float32", progress=False)
        extract(open_manifest(folder), Levels(), folder / name, settings)
    return folder


def given(folder: Path, embeddings: str = "columns") -> Sources:
    manifest = open_manifest(folder)
    clusters = {entry.id: number % 3 for number, entry in enumerate(manifest.entries)}
    return Sources(manifest, open_embeddings(folder / embeddings), clusters)


def annotated(folder: Path, count: int = CLIPS) -> Sources:
    """Clips of the test's own, whose annotations it may change."""
    for number in range(count):
        clip(folder / f"clip{number}.wav", number)
    return Sources(open_manifest(folder))


def test_annotations_are_learnt_column_by_column(shared_clips: Path, tmp_path: Path) -> None:
    data = replace(given(shared_clips), embeddings=None, clusters=None)
    report = distill(LABELS, data, tmp_path / "out", RUN)
    found = losses(tmp_path / "out")
    assert report.clips == CLIPS
    assert np.mean(found[-5:]) < 0.4 * np.mean(found[:5])

    trained = load_learner(tmp_path / "out")
    assert (trained.recipe, trained.labels) == (LABELS, NAMES)
    with torch.no_grad():
        assert trained.learner(torch.zeros(2, 74, 128)).shape == (2, COLUMNS, len(NAMES))


def test_targets_are_what_is_annotated_beside_each_clip(shared_clips: Path) -> None:
    corpus = open_corpus(LABELS, given(shared_clips))
    targets = corpus.targets(np.array([4, 0]))
    assert (corpus.target_dim, targets.shape) == (2, (2, COLUMNS, 2))
    np.testing.assert_allclose(targets[0], [[0, 0], [1, 0], [0, 1]], atol=1e-3)
    np.testing.assert_allclose(targets[1], [[1, 0], [0, 1], [0, 0]], atol=1e-3)


def test_teachers_columns_are_learnt_one_by_one(shared_clips: Path, tmp_path: Path) -> None:
    distill(TAUGHT, given(shared_clips), tmp_path / "out", RUN)
    found = losses(tmp_path / "out")
    assert np.mean(found[-5:]) < 0.75 * np.mean(found[:5])
    trained = load_learner(tmp_path / "out")
    assert trained.recipe == TAUGHT == load_recipe(str(tmp_path / "out" / "recipe.toml"))
    with torch.no_grad():
        assert trained.learner(torch.zeros(1, 74, 128)).shape == (1, COLUMNS, 4)


def test_stored_columns_are_those_that_the_teacher_gave(shared_clips: Path) -> None:
    data = given(shared_clips)
    corpus = open_corpus(TAUGHT, data)
    found = corpus.targets(np.arange(CLIPS))
    assert (corpus.target_dim, found.shape) == (4, (CLIPS, COLUMNS, 4))
    audio = np.stack([read_clip(path, RATE, SECONDS).samples for path in corpus.paths])
    np.testing.assert_allclose(found, Levels().embed_frames(torch.from_numpy(audio)).numpy(), atol=1e-5)
    assert open_corpus(replace(TAUGHT, teacher=TeacherSettings("any width")), data).target_dim == 4


@pytest.mark.parametrize("recipe", KINDS.values(), ids=KINDS)
def test_stopped_training_goes_on_to_the_same_bits(shared_clips: Path, tmp_path: Path, recipe: Recipe) -> None:
    data, stopped, whole = given(shared_clips), tmp_path / "stopped", tmp_path / "whole"
    report = distill(recipe, data, stopped, replace(RUN, stop_after=4, log_every=3))
    assert (report.done, report.steps) == (4, 6)
    assert distill(recipe, data, stopped, replace(RUN, readers=3, save_every=100, log_every=3)).done == 6
    distill(recipe, data, whole, replace(RUN, log_every=3))
    same(stopped, whole)


@pytest.mark.parametrize(("kind", "loss"), [("labels", "label_loss"), ("teacher", "distillation_loss")])
def test_losses_are_told_how_the_columns_were_blended(
    *, shared_clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, loss: str
) -> None:
    recipe, compare, told = KINDS[kind], getattr(training.distill, loss), []

    def overheard(outputs: torch.Tensor, targets: torch.Tensor, *rest: object) -> torch.Tensor:
        told.append((len(outputs), rest[-1]))
        found: torch.Tensor = compare(outputs, targets, *rest)
        return found

    monkeypatch.setattr(training.distill, loss, overheard)
    distill(recipe, given(shared_clips), tmp_path / "out", replace(RUN, stop_after=1))
    ((rows, mixup),) = told
    clips = Chance(recipe.seed).mixup(0, recipe.batch, recipe.augment.mixup, "cpu")
    assert rows == recipe.batch * COLUMNS
    assert isinstance(mixup, Mixup)
    assert clips is not None
    assert torch.equal(mixup.weight.view(-1, COLUMNS), clips.weight[:, None].expand(-1, COLUMNS))
    assert torch.equal(mixup.partner.view(-1, COLUMNS) // COLUMNS, clips.partner[:, None].expand(-1, COLUMNS))


@pytest.mark.parametrize(
    ("embeddings", "dim", "seconds", "told"),
    [
        ("columns", 4, 0.6, "gives 2 columns of embeddings of 4, those stored have 12"),
        ("columns", 0, 2.5, "gives 5 columns of embeddings of one width, those stored have 12"),
        ("means", 4, SECONDS, "gives 3 columns of embeddings of 4, those stored have 4"),
    ],
)
def test_embeddings_that_are_not_of_as_many_columns_are_refused(
    *, shared_clips: Path, embeddings: str, dim: int, seconds: float, told: str
) -> None:
    recipe = replace(TAUGHT, teacher=TeacherSettings("levels", dim), seconds=seconds)
    with pytest.raises(EmbeddingsError, match=told):
        open_corpus(recipe, given(shared_clips, embeddings))


def test_embeddings_of_columns_are_refused_where_the_clips_mean_is_learnt(shared_clips: Path) -> None:
    recipe = replace(TAUGHT, columns=False)
    with pytest.raises(EmbeddingsError, match=r"'levels' gives embeddings of 4, those stored have 12"):
        open_corpus(recipe, given(shared_clips))
    assert open_corpus(recipe, given(shared_clips, "means")).targets(np.array([0])).shape == (1, 4)


@pytest.mark.parametrize(
    ("recipe", "changes", "told"),
    [
        (TAUGHT, {"augment": AugmentSettings(roll_seconds=0.1)}, "no augment.roll_seconds"),
        (LABELS, {"sampling": SamplingSettings(12, by="labels")}, "no sampling by labels"),
        (LABELS, {"labels": LabelLoss("bce")}, "columns=true with labels needs labels.names"),
    ],
)
def test_recipe_that_columns_do_not_go_with_is_refused(
    recipe: Recipe, changes: Mapping[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        replace(recipe, **changes)  # type: ignore[arg-type]


def test_label_that_is_not_learnt_is_named_with_its_clip(tmp_path: Path) -> None:
    data = annotated(tmp_path / "clips", 2)
    write_annotations(tmp_path / "clips" / "clip1.tsv", [Heard(0.1, 0.5, "shrill")])
    with pytest.raises(ManifestError, match=r"clip1\.wav: label 'shrill' is none of the 2 that are learnt"):
        distill(LABELS, data, tmp_path / "out", RUN)
    assert not (tmp_path / "out").exists()


def test_clip_without_annotations_is_named(tmp_path: Path) -> None:
    data = annotated(tmp_path / "clips", 2)
    (tmp_path / "clips" / "clip0.tsv").unlink()
    with pytest.raises(ManifestError, match=r"clip0\.tsv: .*expected annotations"):
        open_corpus(LABELS, data)


def test_other_annotations_are_other_data(tmp_path: Path) -> None:
    data = annotated(tmp_path / "clips", 4)
    distill(LABELS, data, tmp_path / "out", replace(RUN, stop_after=1))
    write_annotations(tmp_path / "clips" / "clip1.tsv", [Heard(0.1, 0.5, "low")])
    with pytest.raises(SettingsError, match="labels_sha256"):
        distill(LABELS, data, tmp_path / "out", RUN)


def test_manifest_of_annotated_clips_needs_no_labels_of_its_own(shared_clips: Path) -> None:
    manifest = open_manifest(shared_clips)
    assert all(entry.labels == () for entry in manifest.entries)
    assert len(open_corpus(LABELS, Sources(Manifest(manifest.root, manifest.entries[:3]))).paths) == 3


def test_annotations_are_refused_for_a_student_with_other_columns(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="by columns of 32 frames, this student's have 16"):
        distill(replace(LABELS, student=StudentSettings("eres2net")), annotated(tmp_path), tmp_path / "out", RUN)
