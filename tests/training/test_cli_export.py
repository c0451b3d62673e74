"""The command `export`, as it is called."""

import contextlib
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from ssondo_stream.bundle import CARD_FILE, WEIGHTS_FILE, Label, load_spec
from ssondo_stream.loading import load_student
from ssondo_stream.students import classifier
from tests.parts_forked import run_python
from tests.training.parts_distill import RECIPE, tones
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_train_cli import ssondo_train
from training.estimates import Estimate
from training.learner import STUDENT_FILE, new_learner, save_learner
from training.manifest import open_manifest
from training.probe_head import Probe, load_probe, save_probe
from training.report import Evaluation, write_report
from training.teachers.textures import MEL, TEXTURES_FILE, fit_textures

export = partial(ssondo_train, "export")

EXPORT = """
import sys
from tests.parts_killed import die_after
from training.cli import main

die_after(int(sys.argv.pop(1)), syncs=True)
sys.argv[0] = "ssondo-train"
main()
"""

FILL_DISK = """
import resource, sys
from training.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
sys.argv[0] = "ssondo-train"
main()
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the steps before have written: a student, a head with its report, another report, label settings."""
    folder = tmp_path_factory.mktemp("finished")
    learner = new_learner(RECIPE, RECIPE.teacher.dim if RECIPE.teacher else 0).eval()
    (folder / "student").mkdir()
    save_learner(folder / "student" / STUDENT_FILE, learner, RECIPE, ())
    torch.manual_seed(0)
    dim = learner.backbone.embedding_dim
    save_probe(folder / "head", Probe(classifier(dim, 2), ("Low", "High"), "multi", (), (0.4, 0.6)))
    write_report(folder / "head", Evaluation("Probe of own", {"accuracy, fold 1": Estimate(0.875, 0.5, 0.97)}))
    write_report(folder / "report", Evaluation("mine", {"macro AP": Estimate(0.625, 0.4, 0.8)}))
    (folder / "labels.json").write_text('[{"name": "Low", "off": 0.25}, {"name": "High", "ontology_id": "/m/01"}]')
    (folder / "credits.csv").write_text("freesound_id,author\n1,somebody\n")
    return folder


def given(folder: Path, *more: object) -> list[object]:
    return [folder / "student", "--probe", folder / "head", *more]


def test_bundle_has_a_card_of_what_it_is_and_how_well_it_does(finished: Path, tmp_path: Path) -> None:
    more = [
        "--report",
        finished / "report",
        "--credits",
        finished / "credits.csv",
        "--labels",
        finished / "labels.json",
    ]
    code, said, error = export(*given(finished), *more, "--window", 2, "--out", tmp_path / "mine")
    assert (code, error) == (0, ""), error
    card = (tmp_path / "mine" / CARD_FILE).read_text()
    difference = said.rsplit(" ", 1)[1].strip()
    learner = new_learner(RECIPE, 12)
    weights = sum(each.numel() for each in learner.backbone.parameters()) + 2 * (learner.backbone.embedding_dim + 1)
    listed = [path for path in (tmp_path / "mine").iterdir() if path.name not in (CARD_FILE, "bundle.json")]
    for line in (
        "# Model card: mine",
        "A network that recognises 2 sounds in a stream, a column of 0.512 s at a time.",
        "| Input | 32,000 Hz mono; 128 log-mel bands of 50 to 16,000 Hz, 1024-sample frames every 512 samples |",
        "| Window | up to 124 frames (2 s), in columns of 32 |",
        f"| Size | {weights:,} parameters of the network |",
        f"| Files | {sum(path.stat().st_size for path in listed) / 1e6:.2f} MB, with torch's weights |",
        f"| Parity | ONNX Runtime and torch differ by {difference} of the largest output |",
        "| Low | 0.5 | 0.25 | 0.7 | 0 | 0 | 0 | 1 |  |",
        "| High | 0.5 | 0.3 | 0.7 | 0 | 0 | 0 | 1 | /m/01 |",
        "Thresholds and the rest are those that were given at the export.",
        "| Student | mobilenetv3 (width_mult=0.1) |",
        "| Learns | what the teacher made up says of each clip; loss cosine |",
        "| Sampling | 12 draws an epoch, by clusters, balance 1 |",
        "| accuracy, fold 1 | 0.875 (0.500 to 0.970) |",
        "| macro AP | 0.625 (0.400 to 0.800) |",
        "`CREDITS.csv` lists the sources of what it was trained on.",
    ):
        assert line in card.splitlines()
    assert (tmp_path / "mine" / "CREDITS.csv").read_bytes() == (finished / "credits.csv").read_bytes()
    assert load_spec(tmp_path / "mine").window_frames == 124


def test_card_says_what_is_not_known(finished: Path, tmp_path: Path) -> None:
    assert export(finished / "student", "--out", tmp_path / "mine")[0] == 0
    card = (tmp_path / "mine" / CARD_FILE).read_text()
    assert "it has no labels" in card
    assert "## Labels" not in card
    assert "No credits were given: whose recordings" in card
    assert "None were given. `ssondo-train evaluate`" in card


def test_card_that_is_given_is_the_card(finished: Path, tmp_path: Path) -> None:
    (tmp_path / CARD_FILE).write_text("# Mine\n")
    assert export(*given(finished), "--extra", tmp_path / CARD_FILE, "--out", tmp_path / "mine")[0] == 0
    assert (tmp_path / "mine" / CARD_FILE).read_text() == "# Mine\n"


def test_bundle_says_what_it_was_made_of(finished: Path, tmp_path: Path) -> None:
    assert export(*given(finished), "--labels", finished / "labels.json", "--out", tmp_path / "mine")[0] == 0
    sums = {**content(finished / "student", "*"), **content(finished / "head", "*"), **content(finished, "*")}
    assert load_spec(tmp_path / "mine").source == {
        "recipe_sha256": RECIPE.fingerprint,
        "student_sha256": sums[STUDENT_FILE],
        "probe_sha256": sums["head.safetensors"],
        "labels_sha256": sums["labels.json"],
    }


def test_bundle_takes_the_place_of_the_one_before(finished: Path, tmp_path: Path) -> None:
    assert export(*given(finished), "--out", tmp_path / "mine")[0] == 0
    assert (tmp_path / "mine" / WEIGHTS_FILE).exists()
    assert export(*given(finished), "--no-weights", "--out", tmp_path / "mine")[0] == 0
    assert len(load_student(tmp_path / "mine").spec.labels) == 2
    assert not (tmp_path / "mine" / WEIGHTS_FILE).exists()


def test_dry_run_says_what_would_be_written_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    code, said, _ = export(*given(finished), "--window", 1, "--out", tmp_path / "mine", "--dry-run")
    assert code == 0
    told = dict(line.split(maxsplit=1) for line in said.splitlines())
    assert (told["labels"], told["window_frames"], told["replaces"]) == ("Low, High", "61", "nothing")
    assert told["recipe_sha256"] == RECIPE.fingerprint
    assert not list(tmp_path.iterdir())
    assert export(*given(finished), "--out", tmp_path / "mine")[0] == 0
    assert set(told["files"].split(", ")) == {path.name for path in (tmp_path / "mine").iterdir()}


@pytest.fixture(scope="module")
def bundles(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One without a head, and one with it that takes its place."""
    before, after = (tmp_path_factory.mktemp(name) / "mine" for name in ("before", "after"))
    assert export(finished / "student", "--out", before)[0] == 0
    assert export(*given(finished), "--out", after)[0] == 0
    return before, after


@pytest.mark.parametrize("point", [5, 7, 8, 9])
def test_killed_export_leaves_a_whole_bundle_and_the_next_one_the_same_files(
    finished: Path, bundles: tuple[Path, Path], tmp_path: Path, point: int
) -> None:
    folder = shutil.copytree(bundles[0], tmp_path / "mine")
    before, after = (content(bundle, "*") for bundle in bundles)
    trial = len(before) + 2  # what is tried first has no card yet, and is renamed once
    assert_killed(run_python(EXPORT, trial + point, "export", *given(finished), "--out", folder))
    aside = tmp_path / ".mine.writing" / "old"
    assert content(aside if point == 8 else folder, "*") == (after if point == 9 else before)
    assert export(*given(finished), "--out", folder)[0] == 0
    assert content(folder, "*") == after
    assert not aside.parent.exists()


def test_full_disk_is_told_and_the_bundle_before_stays(
    finished: Path, bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(bundles[0], tmp_path / "mine")
    done = run_python(FILL_DISK, "export", *given(finished), "--out", folder)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "no room left to write the bundle (File too large)" in done.stderr
    assert content(folder, "*") == content(bundles[0], "*")


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--window", "-1"], 2, "expected a window of more than 0 s, got -1.0"),
        (["--window", "0"], 2, "expected a window of more than 0 s, got 0.0"),
        (["--window", "nan"], 2, "expected a window of more than 0 s, got nan"),
        (["--window", "inf"], 2, "expected a window of more than 0 s, got inf"),
        (["--window", "0.1"], 2, "need 1 <= column_frames <= window_frames, got 32 and 5"),
        (["--window", "1e6"], 2, "need window_frames <= 100000"),
        (["--labels", "confirm.json"], 2, "a label's confirm and bias need a verifier"),
        (["--labels", "few.json"], 1, "labels must be those of the probe, ('Low', 'High'), got ['Low']"),
        (["--labels", "none.json"], 2, "none.json: expected a list of labels"),
        (["--extra", "none.md"], 2, "none.md: No such file or directory; expected a file to go with the bundle"),
        (["--extra", "head"], 2, "head: Is a directory"),
        (["--extra", "student.onnx"], 2, "a bundle has another file of the name 'student.onnx'"),
        (["--extra", "weights.safetensors"], 2, "a bundle has another file of the name 'weights.safetensors'"),
        (["--extra", "bundle.json"], 2, "a bundle has another file of the name 'bundle.json'"),
        (["--extra", "recipe.toml"], 2, "a bundle has another file of the name 'recipe.toml'"),
        (["--extra", "few.json", "--extra", "few.json"], 2, "a bundle has another file of the name 'few.json'"),
        (["--extra", "a\nb"], 2, "without line breaks"),
        (["--credits", "none.csv"], 2, "none.csv: No such file or directory"),
        (["--report", "student"], 2, "student: expected evaluation.md, as `evaluate` writes it"),
        (["--report", "report", "--extra", "MODEL_CARD.md"], 2, "--report is for the card that is written"),
        (["--out", "student"], 1, "holds 'student.safetensors', which is no part of a bundle and would be lost"),
    ],
)
def test_mistake_is_one_line_and_nothing_is_written(
    *,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    code: int,
    told: str,
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / CARD_FILE).write_text("# Mine\n")
    (tmp_path / "few.json").write_text('[{"name": "Low"}]')
    confirmed = [{"name": name, "confirm": 0.5} for name in ("Low", "High")]
    (tmp_path / "confirm.json").write_text(json.dumps(confirmed))
    before = sorted(tmp_path.rglob("*"))
    with contextlib.chdir(tmp_path):
        found, said, error = export("student", "--probe", "head", "--out", "mine", *more)
    assert (found, said, error.count("\n")) == (code, "", 1), error
    assert told in error
    assert sorted(tmp_path.rglob("*")) == before


def test_statistics_go_into_the_bundle_itself_and_its_card(finished: Path, tmp_path: Path) -> None:
    recipe, mine, textures = replace(RECIPE, mel=MEL), tmp_path / "mine", tmp_path / "textures"
    save_learner(tmp_path / STUDENT_FILE, new_learner(recipe, 12).eval(), recipe, ())
    fit_textures(open_manifest(tones(tmp_path / "audio")), textures, 0.6)
    assert export(tmp_path, "--out", mine)[0] == 0
    before, more = content(mine, "*"), ["--textures", textures, "--out", mine]
    assert export(mine, *more, "--window", 0)[:2] == (2, "")
    code, said, _ = export(mine, *more, "--dry-run")
    assert (code, said.split()) == (0, ["statistics", "748", "embedding_dim", str(load_spec(mine).embedding_dim + 748)])
    assert content(mine, "*") == before
    assert export(mine, *more)[0] == 0
    card, spec = (mine / CARD_FILE).read_text(), load_spec(mine)
    assert card.startswith("# Model card: mine\n")
    assert f"Of the {spec.embedding_dim:,} dimensions of an embedding the last 748 are computed" in card
    assert spec.source["textures_sha256"] == content(textures, "*")[TEXTURES_FILE]
    assert spec.source["student_sha256"] == content(tmp_path, "*")[STUDENT_FILE]


def test_head_without_a_report_leaves_no_figures(finished: Path, tmp_path: Path) -> None:
    save_probe(tmp_path / "head", load_probe(finished / "head"))
    assert export(finished / "student", "--probe", tmp_path / "head", "--out", tmp_path / "mine")[0] == 0
    assert "## Figures\n\nNone were given." in (tmp_path / "mine" / CARD_FILE).read_text()
    assert load_spec(tmp_path / "mine").labels == (Label("Low", 0.4, 0.24, 0.7), Label("High", 0.6, 0.36, 0.8))
