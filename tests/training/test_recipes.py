"""Every shipped recipe trains; whatever is wrong with a recipe is said by key and number."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.parts_distill import CLIPS, RUN, clusters_of, embedded, tones
from training.annotations import Heard, annotation_path, write_annotations
from training.corpus import Sources
from training.distill import distill
from training.embeddings import open_embeddings
from training.learner import load_learner, new_learner
from training.losses import LOSSES, LossSettings
from training.manifest import open_manifest
from training.recipe import list_recipes, load_recipe
from training.schedules import schedule
from training.tables import RecipeError

PUBLISHED = ("matpac_dymn", "matpac_eres2net", "matpac_mobilenetv3", "m2d_dymn", "m2d_eres2net", "m2d_mobilenetv3")
PARAMETERS = {"mobilenetv3": 2_971_664, "dymn": 8_643_312, "eres2net": 1_368_068}
SHORT = ("batch=4", "sampling.draws=8", "epochs=2", "seconds=0.6", "student.hidden=16")
NARROW = {
    "mobilenetv3": "student.options.width_mult=0.1",
    "textured_mobilenetv3": "student.options.width_mult=0.1",
    "dymn": "student.options.width_mult=0.1",
    "eres2net": "student.options={m_channels = 8, num_blocks = [1, 1, 1, 1, 1]}",
    "resnet": "student.options={channels = [4, 8, 8, 16], dim = 8}",
}
THESE = {  # the data has labels of its own
    "esc10_resnet": ("labels.names=[]",),
    "esc10_scenes": ('labels.names=["high", "low"]',),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    manifest = open_manifest(tones(folder))
    embedded(manifest, folder / "embeddings", 3840)
    for entry in manifest.entries:
        write_annotations(annotation_path(manifest.path(entry)), [Heard(0.1, 0.4, entry.labels[0])])
    return folder


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_trains(data: Path, tmp_path: Path, name: str) -> None:
    """As it is shipped, in precision, sampling, augmentation and all, but for a narrow student and few, short clips."""
    narrow = NARROW[load_recipe(name).student.architecture]
    recipe = load_recipe(name, (*SHORT, narrow, *THESE.get(name, ())))
    manifest = open_manifest(data / "meta.csv")
    sources = Sources(manifest, open_embeddings(data / "embeddings"), clusters_of(manifest))
    report = distill(recipe, sources, tmp_path, replace(RUN, save_every=2))
    assert (report.done, report.clips) == (4, CLIPS)
    assert load_learner(tmp_path).recipe == recipe


def test_the_published_pairs_the_baseline_and_ours_are_shipped() -> None:
    assert {*PUBLISHED, "supervised_mobilenetv3", "esc10_mobilenetv3", "esc10_resnet", "esc10_scenes"} == set(
        list_recipes()
    )


@pytest.mark.parametrize("name", [*PUBLISHED, "supervised_mobilenetv3"])
def test_published_recipes_have_the_published_values(name: str) -> None:
    recipe = load_recipe(name)
    optimiser, sampling = recipe.optimiser, recipe.sampling
    assert (optimiser.name, optimiser.rate, optimiser.betas) == ("adam", 8e-4, (0.9, 0.999))
    assert (optimiser.weight_decay, optimiser.clip, recipe.precision, recipe.seed) == (0, 5.0, "fp16", 42)
    assert (recipe.student.hidden, recipe.student.dropout, recipe.seconds) == (1280, 0.2, 10.0)
    multiplier = schedule(recipe.schedule, recipe.steps_per_epoch, recipe.epochs)
    values = {epoch: multiplier(epoch * recipe.steps_per_epoch) for epoch in (0, 4, 8, 80, 120, 175)}
    assert values == pytest.approx({0: 0.0123, 4: 0.2865, 8: 1, 80: 1, 120: 0.5832, 175: 0.01}, abs=5e-5)
    if recipe.loss and recipe.teacher:
        assert (recipe.loss.name, recipe.teacher.dim) == ("cosine", 3840)
        assert (sampling.by, sampling.balance, sampling.draws) == ("clusters", 1.0, 100_000)
    else:
        assert (sampling.by, sampling.label_offset, recipe.augment.mixup) == ("labels", 100, 0.3)


@pytest.mark.parametrize("name", PUBLISHED[:3])
def test_published_students_have_their_published_size(name: str) -> None:
    recipe = load_recipe(name)
    backbone = new_learner(recipe, 3840).backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) == PARAMETERS[recipe.student.architecture]


def test_our_student_is_below_a_million_parameters() -> None:
    backbone = new_learner(load_recipe("esc10_mobilenetv3"), 8).backbone
    assert sum(parameter.numel() for parameter in backbone.parameters()) < 1_000_000


def test_recipe_with_every_value_spelled_out_is_the_same(tmp_path: Path) -> None:
    for name in list_recipes():
        recipe = load_recipe(name)
        (tmp_path / "spelled.toml").write_text(recipe.to_toml(), encoding="utf-8")
        again = load_recipe(str(tmp_path / "spelled.toml"))
        assert again == recipe
        assert again.fingerprint == recipe.fingerprint


def test_every_recipe_has_a_fingerprint_of_its_own() -> None:
    prints = {load_recipe(name).fingerprint for name in list_recipes()}
    prints.add(load_recipe("m2d_dymn", ["seed=1"]).fingerprint)
    assert len(prints) == len(list_recipes()) + 1


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("epoch=3", "unknown key 'epoch': expected teacher, loss, labels, student"),
        ("optimiser.learning_rate=1", "optimiser: unknown key 'learning_rate': expected name, rate"),
        ("augment.masks.freq=1", "augment: masks: unknown key 'freq'"),
        ("epochs=0", "--set epochs=0: need epochs >= 1, got 0"),
        ("epochs=2.5", "--set epochs=2.5: epochs: expected a whole number, found 2.5"),
        ("epochs=true", "epochs: expected a whole number, found True"),
        ("batch=200_000", r"need 2 <= batch <= sampling.draws, got \[200000, 100000\]"),
        ("seconds=0.01", "need seconds for a frame of 1024 samples, got 0.01"),
        ("seconds=nan", "need seconds for a frame"),
        ("average=1", "need 0 <= average < 1, got 1.0"),
        ("precision=fp8", "precision: expected 'fp32' or 'bf16' or 'fp16', found 'fp8'"),
        ("optimiser.name=sgd", "optimiser: name: expected 'adam' or 'adamw', found 'sgd'"),
        ("optimiser.rate=-1e-3", "optimiser: need rate > 0, got -0.001"),
        ("optimiser.betas=[0.9]", r"optimiser: betas: expected 2 values, found \[0.9\]"),
        ("optimiser.betas=[0.9, 1]", r"need betas from 0 to below 1, got \[0.9, 1.0\]"),
        ("optimiser=3", "optimiser: expected a table, found 3"),
        ("loss.name=cosin", "loss: no loss 'cosin': expected one of cosine"),
        ("loss.temperature=0", "loss: loss 'cosine': need temperature > 0, got 0.0"),
        ("schedule.name=cosine", "schedule: no schedule 'cosine'"),
        ("student.hidden=0", "student: need hidden >= 1, got 0"),
        ("student.dropout=off", "student: dropout: expected a number, found 'off'"),
        ("student.architecture=3", "student: architecture: expected text in quotes, found 3"),
        ("sampling.by=cluster", "sampling: by: expected 'clips' or 'clusters' or 'labels', found 'cluster'"),
        ("sampling.by=labels", "sampling by labels needs the table 'labels'"),
        ("sampling.balance=1.5", "sampling: need 0 <= balance <= 1, got 1.5"),
        ("augment.gain_db=[3, -3]", "augment: gain_db: need two numbers that do not fall, got 3.0 and -3.0"),
        ("augment.mixup=-1", "augment: need mixup >= 0, got -1.0"),
        ("augment.mix_style=1.5", "augment: need 0 <= mix_style <= 1, got 1.5"),
        ("augment.masks.frames=-1", "augment: masks: masks must not be negative"),
        ("mel.hop=0", "mel: need 0 < hop <= n_fft, got hop=0"),
        ("labels.loss=bce", "need either the tables 'teacher' and 'loss', or the table 'labels'"),
        ("teacher.name=3", "teacher: name: expected text in quotes, found 3"),
        ("seed=1e23", r"--set seed=1e23: seed: expected a whole number, found 1e\+23"),
        ("seed=100000000000000000000000", r"need 0 <= seed < 2\^63, got 100000000000000000000000"),
        ("seconds=inf", "need seconds for a frame of 1024 samples, got inf"),
        ("seed.of=3", "--set seed.of=3: seed is 42 and no table"),
        ("seed", "--set: expected key=value, found 'seed'"),
        ("=3", "--set: expected key=value, found '=3'"),
    ],
)
def test_what_is_wrong_is_said(override: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_recipe("matpac_mobilenetv3", [override])


def test_mistake_is_looked_for_where_it_was_made(tmp_path: Path) -> None:
    """In the override without which there is none, in all if it takes them together, or in the file."""
    with pytest.raises(RecipeError, match=r"^--set batch=1: need 2 <= batch"):
        load_recipe("m2d_dymn", ["epochs=3", "batch=1", "seed=2"])
    with pytest.raises(RecipeError, match=r"^--set epochs=0 --set batch=1: need epochs"):
        load_recipe("m2d_dymn", ["epochs=0", "batch=1"])
    (tmp_path / "mine.toml").write_text("[labels]\nepoch = 3\n")
    with pytest.raises(RecipeError, match=r"^\S+mine\.toml: labels: unknown key 'epoch'"):
        load_recipe(str(tmp_path / "mine.toml"), ["batch=4"])
    assert load_recipe("m2d_dymn", ["sampling.draws=8", "batch=4"]).batch == 4, "which neither alone allows"


@pytest.mark.parametrize(("loss", "temperature"), [(name, 4.0 if name == "kl" else 0.07) for name in LOSSES])
def test_loss_has_a_temperature_of_its_own_and_the_recipe_says_which(loss: str, temperature: float) -> None:
    recipe = load_recipe("esc10_mobilenetv3", [f"loss.name={loss}"])
    assert recipe.loss == LossSettings(loss, temperature)
    assert f"\ntemperature = {temperature}\n" in recipe.to_toml()
    said = load_recipe("esc10_mobilenetv3", [f"loss.name={loss}", f"loss.temperature={temperature}"])
    assert said.fingerprint == recipe.fingerprint
    assert load_recipe("m2d_dymn", [f"loss.name={loss}", "loss.temperature=2"]).loss == LossSettings(loss, 2.0)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[labels]\n[sampling]\nby = 'clusters'\n", "sampling by clusters, .*needs the table 'teacher'"),
        (b"epochs = ", "not TOML in UTF-8"),
        (b"name = '\xff'", "not TOML in UTF-8"),
        (b"[teacher]\ndim = 3\n[loss]\n", "teacher: needs name"),
        (b"[labels]\nnames = ['a', 'a']\n", "labels: label names must differ"),
        (b"[labels]\nnames = [1]\n", "labels: names: expected text in quotes, found 1"),
    ],
)
def test_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=rf"mine\.toml: .*{told}|mine\.toml: {told}"):
        load_recipe(str(path))


def test_unknown_recipe_lists_those_that_there_are() -> None:
    with pytest.raises(
        RecipeError,
        match=r"no recipe 'matpac': expected a file, or one of esc10_mobilenetv3, esc10_resnet, esc10_scenes",
    ):
        load_recipe("matpac")
