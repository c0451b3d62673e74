"""The commands `probe` and `evaluate`, as they are called."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.parts_distill import sources
from tests.training.parts_extract import tone
from tests.training.parts_train_cli import ssondo_train
from training.measuring import SETTINGS_FILE
from training.probe_head import load_probe
from training.report import TABLE_FILE
from training.skipping import SKIPPED_FILE


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices are slower with more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def probing(tmp_path: Path) -> list[object]:
    """Eight clips in four folds, and their embeddings."""
    sources(tmp_path)
    return ["probe", tmp_path / "embeddings", "--manifest", tmp_path / "meta.csv", "--out", tmp_path / "out"]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two recordings that the shipped student can be measured on, one of them a negative."""
    for name, heard in (("a", "0.2\t0.8\tRain\n"), ("b", "")):
        tone(tmp_path / "scenes" / f"{name}.wav", 1.0)
        (tmp_path / "scenes" / f"{name}.tsv").write_text(f"onset\toffset\tlabel\n{heard}")
    return tmp_path / "scenes"


def test_probe_keeps_a_head_with_all_settings_that_it_was_given(probing: list[object], tmp_path: Path) -> None:
    fitted = ["--hidden", 8, "--strengths", "0.1,1", "--epochs", 3, "--dropout", 0.1, "--learning-rate", 0.01]
    code, said, error = ssondo_train(*probing, *fitted, "--tested", "3,4", "--seed", 5, "--quiet")
    assert (code, "on average over 2 unseen folds, 8 clips\n" in said, error) == (0, True, "")
    assert load_probe(tmp_path / "out").hidden_sizes == (8,)
    kept = json.loads((tmp_path / "out" / SETTINGS_FILE).read_text())
    assert {name: kept[name] for name in ("strengths", "epochs", "dropout", "learning_rate", "tested", "seed")} == {
        "strengths": [0.1, 1.0],
        "epochs": 3,
        "dropout": 0.1,
        "learning_rate": 0.01,
        "tested": [3, 4],
        "seed": 5,
    }


def test_probe_shows_its_progress_unless_it_is_quiet(probing: list[object]) -> None:
    code, said, error = ssondo_train(*probing, "--tested", 4)
    assert (code, "over 1 unseen fold, " in said) == (0, True)
    assert "2/2" in error
    assert ssondo_train(*probing, "--tested", 4, "--quiet")[2] == ""


def test_probe_lists_clips_without_an_embedding_up_to_a_share(probing: list[object], tmp_path: Path) -> None:
    with (tmp_path / "meta.csv").open("a") as file:
        file.write("lost.wav,low,4\n")
    code, _, error = ssondo_train(*probing, "--quiet")
    assert (code, "1 of 9 clips cannot be used" in error, "lost.wav: has no embedding" in error) == (1, True, True)
    assert not (tmp_path / "out" / SETTINGS_FILE).exists()
    code, said, _ = ssondo_train(*probing, "--quiet", "--max-skipped", 0.2)
    assert (code, "8 clips, 1 skipped, as skipped.csv says" in said) == (0, True)
    assert (tmp_path / "out" / SKIPPED_FILE).read_text() == "path,reason\nlost.wav,has no embedding\n"


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--tested", "9"], 1, "there is no fold 9 to test: the clips are of folds [1, 2, 3, 4]"),
        (["--tested", "2,3,4"], 1, "4 recipes cannot be compared on fold 1 alone: give two folds or more to fit on"),
        (["--tested", "3,3"], 2, "need each tested fold once"),
        (["--seed", "-1"], 2, "need a seed >= 0"),
        (["--strengths", "a"], 2, "--strengths: expected numbers as 0.01,0.1, found 'a'"),
        (["--strengths", "-1"], 2, "need strength >= 0"),
        (["--dropout", "nan"], 2, "0 <= dropout < 1"),
        (["--max-skipped", "2"], 2, "need a share of 0 to 1"),
        (["--root", "/"], 1, "no clip of the manifest has an embedding"),
        (
            ["--manifest", "{data}/labels.csv"],
            1,
            "clip0.wav: has 2 labels; task 'single' needs one a clip, --task multi",
        ),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_probe_refuses_mistakes_before_it_writes(
    *, probing: list[object], tmp_path: Path, more: list[str], code: int, told: str, dry: list[str]
) -> None:
    (tmp_path / "labels.csv").write_text("path,labels,fold\nclip0.wav,low;high,1\nclip1.wav,low,2\nclip2.wav,low,3\n")
    if "--root" in more:  # other names of the same clips
        (tmp_path / "meta.csv").write_text("path,labels,fold\naudio/clip.wav,low,1\n")
    found, said, error = ssondo_train(*probing, *(part.format(data=tmp_path) for part in more), *dry)
    assert (found, said) == (code, "")
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_dry_runs_tell_and_write_nothing(probing: list[object], scenes: Path, tmp_path: Path) -> None:
    code, said, _ = ssondo_train(*probing, "--dry-run", "--tested", 4)
    assert (code, said.splitlines()[0].split()) == (0, ["clips", "8"])
    code, said, _ = ssondo_train("evaluate", "default", "--recordings", scenes, "--out", tmp_path / "out", "--dry-run")
    assert code == 0
    assert ["recordings", "2"] in [line.split() for line in said.splitlines()]
    assert not (tmp_path / "out").exists()


def test_evaluation_is_kept_with_its_settings_and_refuses_others(scenes: Path, tmp_path: Path) -> None:
    out = ["evaluate", "default", "--recordings", scenes, "--out", tmp_path / "out", "--quiet"]
    stream = ["--hop", 2, "--early-windows", 2, "--settle", 5, "--bridge", 0.5]
    collars = ["--onset-collar", 0.2, "--offset-collar", 0.3, "--offset-share", 0.4]
    chosen = ["--choose-on", scenes, "--false-alarms", 1e6, "--prefer", "f1+recall"]
    code, said, error = ssondo_train(*out, *stream, *collars, *chosen)
    assert (code, "2 recordings and 0 clips measured\n" in said, error) == (0, True, "")
    assert "| event F1, onset 0.2 s and offset 40 % |" in (tmp_path / "out" / TABLE_FILE).read_text()
    kept = json.loads((tmp_path / "out" / SETTINGS_FILE).read_text())
    assert (kept["bundle"], kept["recordings"], kept["hop_columns"], kept["settle_seconds"]) == ("default", 2, 2, 5.0)
    assert (kept["event_offset"], kept["bridge_seconds"], kept["prefer"]) == (0.3, 0.5, "f1+recall")
    code, _, error = ssondo_train(*out)
    assert (code, "hop_columns: it has 2, asked is 1" in error) == (1, True)


def test_evaluation_leaves_out_what_cannot_be_read_up_to_a_share(scenes: Path, tmp_path: Path) -> None:
    (scenes / "b.wav").write_text("no audio")
    (tmp_path / "clips.csv").write_text("path,labels\nscenes/a.wav,Rain\nscenes/b.wav,Rain\n")
    given = [
        "evaluate",
        "default",
        "--recordings",
        scenes,
        "--clips",
        tmp_path / "clips.csv",
        "--out",
        tmp_path / "out",
    ]
    code, _, error = ssondo_train(*given, "--quiet")
    assert (code, "1 of 2 recordings cannot be used" in error, "b.wav: cannot be read" in error) == (1, True, True)
    code, said, error = ssondo_train(*given, "--quiet", "--max-skipped", 0.5)
    assert (code, "1 recordings and 1 clips measured, 2 skipped, as skipped.csv says" in said) == (0, True), error
    assert [line.split(",")[0] for line in (tmp_path / "out" / SKIPPED_FILE).read_text().splitlines()[1:]] == [
        "b.wav",
        "scenes/b.wav",
    ]


@pytest.mark.parametrize(
    ("more", "code", "told"),
    [
        (["--false-alarms", "-1"], 2, "need a budget of false alarms an hour >= 0, got -1"),
        (["--false-alarms", "nan"], 2, "need a budget of false alarms an hour >= 0, got nan"),
        (["--settle", "0"], 2, "need durations > 0"),
        (["--hop", "0"], 2, "need hops and windows >= 1, got 0 and 1"),
        (["--hop", "1000"], 1, "hops of 1000 columns, its window has"),
        (["--onset-collar", "-1"], 2, "need collars that are not negative, got onset=-1"),
        (["--bridge", "-1"], 2, "need pauses of >= 0 s"),
        (["--clips", "{data}/scenes"], 1, "no clip has a label to be measured against"),
        (["--clips", "{data}/owls.csv"], 1, "a.wav: the student has no label 'Owl'"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_evaluation_refuses_mistakes_before_it_writes(
    *, scenes: Path, tmp_path: Path, more: list[str], code: int, told: str, dry: list[str]
) -> None:
    (tmp_path / "owls.csv").write_text("path,labels\na.wav,Owl\n")
    given = ["evaluate", "default", "--recordings", scenes, "--out", tmp_path / "out"]
    found, said, error = ssondo_train(*given, *(part.format(data=tmp_path) for part in more), *dry)
    assert (found, said) == (code, "")
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
