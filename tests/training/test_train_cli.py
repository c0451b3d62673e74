"""The command, as it is called."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main

from ssondo_stream.bundle import WEIGHTS_FILE, StudentSpec
from ssondo_stream.errors import BundleError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig
from ssondo_stream.students import ColumnTagger, MobileNetV3
from ssondo_stream.students.export import write_bundle
from tests.parts import PATIENCE
from tests.parts_forked import ROOT
from tests.training.parts_distill import CLIPS, RECIPE, recipe_file, sources, tones
from tests.training.parts_train_cli import ssondo_train
from tests.training.parts_verifier import folders
from training import recipe
from training.cli import app
from training.embeddings import open_embeddings
from training.learner import STUDENT_FILE, new_learner, save_learner
from training.manifest import open_manifest
from training.recipe import load_recipe
from training.teachers.textures import MEL, fit_textures

COMMANDS = tuple(typer.main.get_group(app).commands)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sources(tmp_path / "data")
    return tmp_path / "data"


def distilling(data: Path, out: Path, *more: object) -> list[object]:
    recipe = recipe_file(out.parent)
    given = ["--manifest", data / "meta.csv", "--embeddings", data / "embeddings", "--clusters", data]
    return ["distill", recipe, *given, "--out", out, "--device", "cpu", "--threads", 1, "--quiet", *more]


def test_steps_lead_from_audio_to_a_bundle_that_runs(tmp_path: Path) -> None:
    manifest, out = tones(tmp_path / "audio"), tmp_path / "out"
    teacher = ["--teacher", "default", "--seconds", 0.6, "--quiet"]
    code, said, _ = ssondo_train("extract", manifest, "--out", out / "embeddings", *teacher)
    assert (code, f"{CLIPS} of {CLIPS} clips embedded, 0 skipped" in said) == (0, True)

    folds = ["--manifest", manifest, "--folds", "1,2,3,4", "--clusters", 2, "--quiet"]
    code, said, _ = ssondo_train("cluster", out / "embeddings", "--out", out / "clusters", *folds)
    assert (code, "2 clusters" in said) == (0, True)

    dim = open_embeddings(out / "embeddings").dim
    given = ["--manifest", manifest, "--embeddings", out / "embeddings", "--clusters", out / "clusters", "--threads", 1]
    recipe = [recipe_file(tmp_path), "--set", f"teacher.dim={dim}", "--set", "epochs=1"]
    code, said, _ = ssondo_train("distill", *recipe, *given, "--out", out / "student", "--device", "cpu", "--quiet")
    assert (code, "3 of 3 steps" in said) == (0, True)

    code, said, _ = ssondo_train("export", out / "student", "--out", out / "plain")
    assert (code, "0 labels, ONNX Runtime and torch differ by" in said) == (0, True)
    own = ["--teacher", out / "plain", "--seconds", 0.6, "--quiet"]
    assert ssondo_train("extract", manifest, "--out", out / "own", *own)[0] == 0
    code, said, _ = ssondo_train("probe", out / "own", "--manifest", manifest, "--out", out / "probe")
    assert (code, "on average over 4 unseen folds, 8 clips" in said) == (0, True)

    (tmp_path / "card.md").write_text("# A student")
    head = ["--probe", out / "probe", "--extra", tmp_path / "card.md"]
    code, said, _ = ssondo_train("export", out / "student", "--out", out / "bundle", *head)
    assert (code, "2 labels, ONNX Runtime" in said) == (0, True)

    scenes = ["--clips", manifest, "--count", 2, "--seconds", 4, "--longest", 1, "--events", 1, 2, "--quiet"]
    code, said, _ = ssondo_train("synthesis", "--out", out / "scenes", *scenes)
    assert (code, "2 soundscapes with" in said) == (0, True)
    given = ["--recordings", out / "scenes", "--clips", manifest, "--choose-on", out / "scenes", "--quiet"]
    code, said, error = ssondo_train("evaluate", out / "bundle", "--out", out / "report", *given, "--false-alarms", 1e6)
    assert (code, "2 recordings and 8 clips measured" in said) == (0, True), error
    assert {"evaluation.md", "evaluation.json", "labels.json"} <= {path.name for path in (out / "report").iterdir()}

    final = ["--probe", out / "probe", "--labels", out / "report" / "labels.json"]
    assert ssondo_train("export", out / "student", "--out", out / "final", *final)[0] == 0
    student = load_student(out / "final")
    assert student.infer(np.zeros((36, 128), np.float32)).logits.shape == (2, 2)
    assert [label.name for label in student.spec.labels] == ["high", "low"]
    assert student.spec.window_frames == 36
    assert load_recipe(str(out / "final" / "recipe.toml")).fingerprint == student.spec.source["recipe_sha256"]

    assert ssondo_train("export", out / "student", "--out", out / "small", *final, "--no-weights")[0] == 0
    assert {path.name for path in (out / "final").iterdir()} - {path.name for path in (out / "small").iterdir()} == {
        WEIGHTS_FILE
    }
    assert len(load_student(out / "small").spec.labels) == 2
    with pytest.raises(BundleError, match="weights"):
        load_student(out / "small", engine="torch")


def test_statistics_are_put_beside_a_finished_bundle(tmp_path: Path) -> None:
    textures, bundle = tmp_path / "textures", tmp_path / "bundle"
    fit_textures(open_manifest(tones(tmp_path / "audio")), textures, 0.6)
    student = ColumnTagger(MobileNetV3(width_mult=0.1), None).eval()
    for name, mel in (("bundle", MEL), ("other", MelConfig())):
        write_bundle(student, tmp_path / name, StudentSpec(name, (), student.backbone.embedding_dim, mel))
    code, said, _ = ssondo_train("export", bundle, "--textures", textures, "--out", tmp_path / "both")
    assert (code, "748 statistics added" in said) == (0, True)
    both = load_student(tmp_path / "both").spec
    assert (both.computed_dim, both.embedding_dim) == (748, student.backbone.embedding_dim + 748)
    code, _, error = ssondo_train("export", tmp_path / "other", "--textures", textures, "--out", tmp_path / "none")
    assert (code, "the statistics are of frames as" in error) == (2, True)


def test_head_over_columns_goes_into_a_bundle(tmp_path: Path) -> None:
    heard, head, student = folders(tmp_path)[1], tmp_path / "head", tmp_path / "student"
    student.mkdir()
    save_learner(student / STUDENT_FILE, new_learner(RECIPE, 2), RECIPE, ())
    given = ["columns", heard, "--student", student, "--out", head, "--quiet", "--strength", 0.02]
    code, said, _ = ssondo_train(*given, "--dry-run")
    assert (code, "recordings               6\n" in said, head.exists()) == (0, True, False)
    code, said, error = ssondo_train(*given)
    assert (code, f"{head}: a head of 2 labels, of " in said) == (0, True), error
    assert {"head.pth", "head.safetensors", "report.json", "settings.json"} <= {path.name for path in head.iterdir()}
    assert ssondo_train("export", student, "--probe", head, "--window", 10, "--out", tmp_path / "final")[0] == 0
    assert [label.name for label in load_student(tmp_path / "final").spec.labels] == ["Hiss", "Tone"]


def test_verifier_is_made_once_and_never_of_other_settings(tmp_path: Path) -> None:
    bundle, heard, others = folders(tmp_path)
    out, given = tmp_path / "out", [heard, "--bundle", bundle, "--refuse", others, "--quiet"]
    code, said, _ = ssondo_train("verifier", *given, "--out", out, "--dry-run")
    assert (code, out.exists()) == (0, False)
    told = {" ".join(line.split()) for line in said.splitlines()}
    assert {"recordings 6", "refused 3", "skipped 0", "labels ('Hiss', 'Tone')", "seed 0"} <= told
    code, said, error = ssondo_train("verifier", *given, "--out", out)
    assert (code, f"{out}: a verifier of 2 labels, of 6 recordings and " in said) == (0, True), error
    code, said, _ = ssondo_train("verifier", *given, "--out", out)
    assert (code, said) == (0, f"{out}: this verifier is finished already, and left as it is\n")
    code, said, error = ssondo_train("verifier", *given, "--out", out, "--seed", 3)
    assert (code, said, "seed: it has 0, asked is 3; name another output folder" in error) == (1, "", True)


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--set", "epoch=3"], 2, "unknown key 'epoch'"),
        (["--set", "epochs=0"], 2, "need epochs >= 1"),
        (["--set", "student.architecture=mn"], 2, "no architecture 'mn'"),
        (["--set", "seconds=5"], 2, "the teacher heard 0.6 s of each clip, the recipe's student 5.0 s"),
        (["--folds", "one"], 2, "--folds: expected whole numbers as 1,2,3, found 'one'"),
        (["--set", "epochs=2", "--set", "seed=1e23"], 2, "--set seed=1e23: seed: expected a whole number"),
        (["--readers", "0"], 2, "need readers >= 1, got 0"),
        (["--max-skipped", "2"], 2, "need 0 <= max_skipped <= 1, got 2.0"),
        (["--initial", "none.pt"], 2, "none.pt: there is no such file"),
        (["--initial", __file__], 1, "test_train_cli.py: is missing, damaged"),
        (["--initial", __file__, "--dry-run"], 1, "expected a dictionary of tensors, or student.safetensors"),
        (["--folds", "7"], 1, "the manifest names no audio"),
        (["--manifest", "none.csv"], 1, "none.csv: No such file or directory"),
        (["--embeddings", "none"], 1, "none: expected a folder of embeddings"),
        (["--clusters", "none"], 1, "none/clusters.csv: No such file or directory; run the cluster step first"),
        (["--backgrounds", "none.csv"], 1, "none.csv: No such file or directory"),
        (["--device", "cuda:9"], 2, "device 'cuda:9'"),
    ],
)
def test_mistake_is_one_line_on_stderr(*, data: Path, tmp_path: Path, more: list[str], code: int, told: str) -> None:
    (data / "embeddings" / "settings.json").write_text('{"seconds": 0.6}')
    found, said, error = ssondo_train(*distilling(data, tmp_path / "out", *more))
    assert (found, said) == (code, "")
    assert error.startswith("ssondo-train: ")
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("step", "code", "told"),
    [
        (["extract", "{data}/meta.csv", "--teacher", "matpac", "--out", "o"], 1, "needs a checkpoint"),
        (["extract", "{data}/meta.csv", "--teacher", "default", "--batch", "0", "--out", "o"], 2, "need batch"),
        (["extract", "{data}/meta.csv", "--teacher", "m2d", "--checkpoint", "none", "--out", "o"], 2, "none: No such"),
        (["cluster", "{data}/embeddings", "--clusters", "0", "--out", "o"], 2, "need levels that fall"),
        (["cluster", "{data}/embeddings", "--levels", "a", "--out", "o"], 2, "--levels: expected whole numbers"),
        (["cluster", "{data}/embeddings", "--folds", "1", "--out", "o"], 2, "folds need --manifest"),
        (["export", "{data}", "--out", "o"], 1, "student.safetensors: cannot be read"),
        (["export", "{data}", "--labels", "l.json", "--out", "o"], 2, "--labels and --verifier are of a head"),
        (["export", "b", "--textures", "t", "--probe", "p", "--out", "o"], 2, "--textures go beside a finished bundle"),
        (["export", "b", "--textures", "{data}", "--out", "o"], 1, "cannot be read as statistics of textures"),
        (["recipes", "none"], 2, "no recipe 'none'"),
        (["columns", "{data}", "--student", "{data}", "--out", "o"], 1, "student.safetensors: cannot be read"),
        (["columns", "{data}", "--student", "s", "--strength", "-1", "--out", "o"], 2, "need strength >= 0, got -1.0"),
        (["columns", "{data}", "--student", "s", "--window", "0", "--out", "o"], 2, "need window > 0, got 0.0"),
        (["probe", "{data}/embeddings", "--manifest", "{data}/meta.csv", "--hidden", "0", "--out", "o"], 2, "hidden"),
        (["probe", "{data}", "--manifest", "{data}/meta.csv", "--out", "o"], 1, "expected"),
        (["synthesis", "--count", "0", "--out", "o"], 2, "need count"),
        (
            ["verifier", "{data}", "--bundle", "default", "--seed", "-1", "--out", "o"],
            2,
            "need 0 <= seed < 2^63",
        ),
        (["verifier", "{data}", "--bundle", "default", "--max-skipped", "2", "--out", "o"], 2, "max_skipped <= 1"),
        (["verifier", "{data}", "--bundle", "default", "--out", "o"], 1, "expected annotations"),
        (["verifier", "none", "--bundle", "default", "--out", "o"], 1, "none: expected recordings with annotations"),
        (["evaluate", "default", "--out", "o"], 2, "name --recordings, or --clips"),
        (["evaluate", "none", "--clips", "{data}/meta.csv", "--out", "o"], 1, "no bundle 'none'"),
    ],
)
def test_mistake_of_another_step_is_one_line_too(data: Path, step: list[str], code: int, told: str) -> None:
    found, said, error = ssondo_train(*(part.format(data=data) for part in step))
    assert (found, said) == (code, "")
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["listen"], ["distill"], ["extract", "a", "--out", "b", "--dtype", "float8"]])
def test_bad_usage_exits_with_2(arguments: list[str]) -> None:
    code, said, error = ssondo_train(*arguments)
    assert (code, said) == (2, "")
    assert "Error" in error


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    code, said, _ = ssondo_train(name, "--help")
    assert code == 0
    assert "Usage: " in said


def test_help_leaves_torch_out() -> None:
    program = (
        "import sys, training.cli\n"
        "assert 'torch' not in sys.modules\n"
        "sys.argv = ['ssondo-train', '--help']\n"
        "training.cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 60,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_stop_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "list_recipes", interrupted)
    code, _, error = ssondo_train("recipes")
    assert (code, error.strip()) == (130, "ssondo-train: stopped; the same command goes on after what is finished")
