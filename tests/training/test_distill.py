import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.parts_distill import CLIPS, DIM, RECIPE, RUN, losses, same, sources, tensors
from tests.training.parts_extract import tone
from training.corpus import DistillError
from training.distill import distill
from training.distill_plan import plan_distillation
from training.embeddings import open_embeddings
from training.errors import ClusterError, EmbeddingsError, ManifestError, SettingsError, TrainingError
from training.learner import load_learner
from training.losses import LOSSES, LossSettings
from training.manifest import Entry, Manifest
from training.processes import Processes
from training.recipe import AugmentSettings, OptimiserSettings, Recipe, SamplingSettings, TeacherSettings, load_recipe
from training.schedules import ScheduleSettings
from training.supervised import LabelLoss

ONE_STEP = replace(RUN, stop_after=1)
PLAIN = replace(
    RECIPE,
    augment=AugmentSettings(),
    average=0.0,
    schedule=ScheduleSettings("constant"),
    epochs=10,
    optimiser=OptimiserSettings(rate=3e-3),
)
LABELS = replace(
    RECIPE, teacher=None, loss=None, labels=LabelLoss("bce"), sampling=SamplingSettings(12, by="labels"), average=0.0
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sources(tmp_path / "data")
    return tmp_path / "data"


def test_student_comes_to_say_what_the_teacher_said(data: Path, tmp_path: Path) -> None:
    distill(PLAIN, sources(data), tmp_path / "out", RUN)
    found = losses(tmp_path / "out")
    assert np.mean(found[-5:]) < 0.75 * np.mean(found[:5])


def test_what_is_left_is_the_average_and_says_how_it_was_made(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    distill(RECIPE, sources(data), out, RUN)
    trained = load_learner(out)
    assert trained.recipe == RECIPE == load_recipe(str(out / "recipe.toml"))
    saved = {name.removeprefix("/average/"): value for name, value in tensors(out).items() if "/average/" in name}
    found = trained.learner.state_dict()
    assert all(torch.equal(found[name], saved[name]) for name in found)
    with torch.no_grad():
        assert trained.learner(torch.zeros(1, 36, 128)).shape == (1, DIM)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_mixed_clips(data: Path, tmp_path: Path, name: str) -> None:
    report = distill(replace(RECIPE, loss=LossSettings(name)), sources(data), tmp_path / "out", ONE_STEP)
    assert (report.done, report.steps) == (1, RECIPE.steps)
    assert math.isfinite(report.loss)


@pytest.mark.parametrize("loss", ["bce", "ce"])
def test_labels_are_learnt_through_the_same_loop(data: Path, tmp_path: Path, loss: str) -> None:
    recipe = replace(
        LABELS, labels=LabelLoss(loss), epochs=10, augment=AugmentSettings(), schedule=ScheduleSettings("constant")
    )
    distill(recipe, replace(sources(data), embeddings=None, clusters=None), tmp_path / "out", RUN)
    found = losses(tmp_path / "out")
    assert np.mean(found[-5:]) < np.mean(found[:5])
    assert load_learner(tmp_path / "out").labels == ("high", "low")


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"teacher": TeacherSettings("wide", 3840)}, EmbeddingsError, "gives embeddings of 3840, those stored have 12"),
        ({"augment": AugmentSettings(background=0.5)}, DistillError, "name a manifest of them"),
        ({"student": replace(RECIPE.student, options={"widht": 1})}, TrainingError, "no option 'widht'"),
        ({"student": replace(RECIPE.student, architecture="mn")}, TrainingError, "no architecture 'mn'"),
    ],
)
def test_recipe_that_does_not_fit_is_refused(
    data: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        distill(replace(RECIPE, **changes), sources(data), tmp_path / "out", RUN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipe", "missing", "error", "told"),
    [
        (RECIPE, "clusters", ClusterError, "needs clusters"),
        (RECIPE, "embeddings", DistillError, "name the folder of its embeddings"),
        (replace(RECIPE, loss=LossSettings("hybrid"), sampling=SamplingSettings(12)), "clusters", ClusterError, "loss"),
    ],
)
def test_missing_data_is_named(
    *, data: Path, tmp_path: Path, recipe: Recipe, missing: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        distill(recipe, replace(sources(data), **{missing: None}), tmp_path / "out", RUN)  # type: ignore[arg-type]


def test_clips_without_embedding_are_skipped_listed_and_limited(data: Path, tmp_path: Path) -> None:
    given = sources(data)
    manifest = Manifest(given.manifest.root, (*given.manifest.entries, Entry("unheard.wav")))
    more = replace(given, manifest=manifest)
    with pytest.raises(DistillError, match=r"1 of 9 clips cannot be used.*unheard.wav: it has no embedding"):
        distill(RECIPE, more, tmp_path / "out", RUN)
    report = distill(RECIPE, more, tmp_path / "out", replace(ONE_STEP, max_skipped_share=0.2))
    assert (report.clips, report.skipped) == (CLIPS, 1)
    assert "unheard.wav,it has no embedding" in (tmp_path / "out" / "skipped.csv").read_text()


def test_unreadable_clips_are_skipped_where_labels_are_learnt(data: Path, tmp_path: Path) -> None:
    (data / "clip3.wav").write_bytes(b"no audio")
    report = distill(LABELS, sources(data), tmp_path / "out", replace(ONE_STEP, max_skipped_share=0.2))
    assert (report.clips, report.skipped) == (CLIPS - 1, 1)


def test_unreadable_backgrounds_are_skipped_listed_and_limited(data: Path, tmp_path: Path) -> None:
    recipe = replace(PLAIN, augment=AugmentSettings(background=1.0))
    quiet = Manifest(data, tuple(Entry(name) for name in ("clip0.wav", "clip1.wav", "broken.wav")))
    (data / "broken.wav").write_bytes(b"no audio")
    given = replace(sources(data), backgrounds=quiet)
    with pytest.raises(DistillError, match=r"1 of 3 backgrounds cannot be used, more than 1\.00%.*broken\.wav: cannot"):
        distill(recipe, given, tmp_path / "out", ONE_STEP)
    assert not (tmp_path / "out").exists()
    report = distill(recipe, given, tmp_path / "out", replace(ONE_STEP, max_skipped_share=0.4))
    assert (report.clips, report.skipped) == (CLIPS, 1)
    assert "broken.wav,as a background: cannot be read as audio" in (tmp_path / "out" / "skipped.csv").read_text()
    readable = replace(given, backgrounds=Manifest(data, quiet.entries[:2]))
    distill(recipe, readable, tmp_path / "readable", ONE_STEP)
    same(tmp_path / "out", tmp_path / "readable")
    (data / "clip0.wav").write_bytes(b"no audio")
    (data / "clip1.wav").write_bytes(b"no audio")
    with pytest.raises(DistillError, match="none of the 3 backgrounds can be read"):
        plan_distillation(recipe, given, tmp_path / "out", replace(RUN, max_skipped_share=1.0))


def test_clip_that_is_gone_ends_the_training_with_its_name(data: Path, tmp_path: Path) -> None:
    given = sources(data)
    (data / "clip3.wav").unlink()
    with pytest.raises(TrainingError, match=r"clip3\.wav: there is no such file"):
        distill(replace(RECIPE, epochs=20), given, tmp_path / "out", RUN)


def test_nan_embedding_ends_the_training_with_its_place(data: Path, tmp_path: Path) -> None:
    path = data / "embeddings" / "shard-00001.npy"
    rows = np.load(path)
    rows[1, 3] = np.nan
    np.save(path, rows)
    with pytest.raises(EmbeddingsError, match=r"shard-00001\.npy: row 1 \(clip4\.wav\) holds NaN"):
        distill(replace(RECIPE, epochs=20), sources(data), tmp_path / "out", RUN)


def test_loss_that_is_not_finite_ends_the_training_and_is_not_saved(data: Path, tmp_path: Path) -> None:
    wild = replace(PLAIN, loss=LossSettings("mse"), optimiser=OptimiserSettings(rate=1e30, clip=0))
    with pytest.raises(DistillError, match=r"the loss was (nan|inf).*try a lower optimiser\.rate"):
        distill(wild, sources(data), tmp_path / "out", RUN)
    assert all(map(math.isfinite, losses(tmp_path / "out")))
    assert not (tmp_path / "out" / "student.safetensors").exists()


def test_output_of_another_recipe_is_refused_and_the_difference_named(data: Path, tmp_path: Path) -> None:
    distill(RECIPE, sources(data), tmp_path / "out", ONE_STEP)
    other = replace(RECIPE, optimiser=OptimiserSettings(rate=1e-3))
    with pytest.raises(SettingsError, match=r"optimiser\.rate: it has 0\.0008, asked is 0\.001; name another"):
        distill(other, sources(data), tmp_path / "out", RUN)


def test_checkpoint_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    other = replace(RECIPE, seed=7)
    distill(RECIPE, sources(data), tmp_path / "out", ONE_STEP)
    distill(other, sources(data), tmp_path / "other", ONE_STEP)
    (tmp_path / "out" / "checkpoint.pt").replace(tmp_path / "other" / "checkpoint.pt")
    with pytest.raises(SettingsError, match=r"checkpoint\.pt: is of another recipe or other data"):
        distill(other, sources(data), tmp_path / "other", RUN)


def test_other_data_is_refused(data: Path, tmp_path: Path) -> None:
    distill(RECIPE, sources(data), tmp_path / "out", ONE_STEP)
    given = sources(data)
    fewer = replace(given, manifest=Manifest(data, given.manifest.entries[:-1]))
    with pytest.raises(SettingsError, match="clips: it has 8, asked is 7"):
        distill(RECIPE, fewer, tmp_path / "out", RUN)


def test_student_begins_with_the_weights_of_another(data: Path, tmp_path: Path) -> None:
    distill(PLAIN, sources(data), tmp_path / "first", ONE_STEP)
    weights = tmp_path / "first" / "student.safetensors"
    still = replace(PLAIN, optimiser=OptimiserSettings(rate=1e-12))
    distill(still, replace(sources(data), initial_weights=weights), tmp_path / "second", ONE_STEP)
    first, second = load_learner(weights).learner.backbone, load_learner(tmp_path / "second").learner.backbone
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_published_weights_may_have_a_classifier_beside_the_student(data: Path, tmp_path: Path) -> None:
    distill(PLAIN, sources(data), tmp_path / "first", ONE_STEP)
    backbone = load_learner(tmp_path / "first").learner.backbone
    torch.save({**backbone.state_dict(), "classifier.2.weight": torch.zeros(3)}, tmp_path / "published.pt")
    given = replace(sources(data), initial_weights=tmp_path / "published.pt")
    assert distill(PLAIN, given, tmp_path / "second", ONE_STEP).done == 1


def test_weights_of_another_student_are_refused(data: Path, tmp_path: Path) -> None:
    torch.save({"features.0.0.weight": torch.zeros(3)}, tmp_path / "published.pt")
    given = replace(sources(data), initial_weights=tmp_path / "published.pt")
    with pytest.raises(TrainingError, match=r"published\.pt: is not of this student"):
        distill(PLAIN, given, tmp_path / "out", ONE_STEP)


@pytest.mark.parametrize("name", ["meta.csv", "damaged.safetensors", "list.pt"])
def test_weights_that_are_none_are_refused_before_anything_is_written(data: Path, tmp_path: Path, name: str) -> None:
    (data / "damaged.safetensors").write_bytes(b"none")
    torch.save([1, 2], data / "list.pt")
    given = replace(sources(data), initial_weights=data / name)
    for step in (distill, plan_distillation):
        with pytest.raises(TrainingError, match=rf"{name}: .*(expected a dictionary of tensors|as safetensors)"):
            step(PLAIN, given, tmp_path / "out", ONE_STEP)
    assert not (tmp_path / "out").exists()


def test_figures_are_there_for_tensorboard(data: Path, tmp_path: Path) -> None:
    distill(RECIPE, sources(data), tmp_path / "out", replace(RUN, tensorboard=True))
    read = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    read.Reload()
    assert [scalar.step for scalar in read.Scalars("loss")] == list(range(1, 7))
    assert [scalar.value for scalar in read.Scalars("loss")] == pytest.approx(losses(tmp_path / "out"), rel=1e-6)


def test_dry_run_says_what_would_be_done_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    plan = plan_distillation(RECIPE, sources(data), tmp_path / "out", RUN)
    assert (plan.clips, plan.target_dim, plan.steps, plan.done) == (CLIPS, DIM, 6, 0)
    assert plan.cache_bytes == CLIPS * 36 * 128 * 4
    assert not (tmp_path / "out").exists()
    distill(RECIPE, sources(data), tmp_path / "out", replace(RUN, stop_after=4))
    assert plan_distillation(RECIPE, sources(data), tmp_path / "out", RUN).done == 4
    assert json.loads((tmp_path / "out" / "settings.json").read_text()) == json.loads(json.dumps(plan.resolved))


def test_processes_that_cannot_share_a_batch_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="3 processes cannot share a batch of 4"):
        distill(RECIPE, sources(data), tmp_path / "out", RUN, Processes(0, 3))


def test_clips_of_the_published_layout_are_found_by_their_stems(data: Path, tmp_path: Path) -> None:
    (tmp_path / "published").mkdir()
    for number in range(CLIPS):
        np.savez(tmp_path / "published" / f"clip{number}.npz", embed=np.ones((1, DIM), np.float32))
    given = replace(sources(data), embeddings=open_embeddings(tmp_path / "published"))
    recipe = replace(RECIPE, sampling=SamplingSettings(12))
    assert distill(recipe, given, tmp_path / "out", ONE_STEP).clips == CLIPS


def test_clips_without_labels_are_refused_where_labels_are_learnt(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    given = replace(sources(tmp_path / "data"), manifest=Manifest(tmp_path, (Entry("a.wav"),)))
    with pytest.raises(ManifestError, match="no clip of the manifest has a label"):
        distill(LABELS, given, tmp_path / "out", RUN)
