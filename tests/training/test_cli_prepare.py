"""`extract` and `cluster`, as they are called."""

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ssondo_stream.bundle import SPEC_FILE, StudentSpec, find_bundle
from ssondo_stream.mel import MelConfig
from ssondo_stream.students import ColumnTagger, MobileNetV3
from ssondo_stream.students.export import write_bundle
from tests.training.parts_distill import CLIPS, RECIPE, sources, tones
from tests.training.parts_embeddings import random_rows
from tests.training.parts_extract import LevelTeacher
from tests.training.parts_train_cli import refused, ssondo_train
from training.cli_parts import digest
from training.cluster import read_clusters
from training.corpus import open_corpus
from training.embeddings import open_embeddings
from training.errors import EmbeddingsError
from training.learner import new_learner, save_learner
from training.manifest import open_manifest
from training.recipe import TeacherSettings
from training.teachers.textures import fit_textures

SHORT = ("--seconds", 0.6, "--quiet")


class Levels(LevelTeacher):
    """With all that a teacher of the user's own must have."""

    def embed_frames(self, audio: torch.Tensor) -> torch.Tensor:
        return self.embed(audio)[:, None]


class Terminated(Levels):
    """The system ends the process on its sixth clip."""

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        if self.heard >= 5:
            signal.raise_signal(signal.SIGTERM)
        return super().embed(audio)


class Loud(Levels):
    """Gives what float16 cannot hold."""

    level = 70_000.0

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.full((len(audio), 8), self.level)


class Broken(Loud):
    """Gives what nothing can hold."""

    level = torch.nan


@pytest.fixture
def data(tmp_path: Path) -> Path:
    sources(tmp_path / "data")
    return tmp_path / "data"


def bundle(folder: Path, seed: int) -> Path:
    """A small student in a folder, in the place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    student = ColumnTagger(MobileNetV3(width_mult=0.1), None).eval()
    write_bundle(student, folder, StudentSpec("small", (), student.backbone.embedding_dim, MelConfig()))
    return folder


def listed(path: Path, names: list[str]) -> Path:
    path.write_text("path\n" + "".join(f"{name}\n" for name in names))
    return path


@pytest.mark.parametrize("teacher", ["{}", "default,{}"])
def test_another_student_in_the_folder_of_a_bundle_is_another_teacher(tmp_path: Path, teacher: str) -> None:
    given = (tones(tmp_path / "audio", 2), "--teacher", teacher.format(tmp_path / "b"), "--out", tmp_path / "out")
    bundle(tmp_path / "b", 0)
    assert ssondo_train("extract", *given, *SHORT)[0] == 0
    assert ssondo_train("extract", *given, *SHORT)[0] == 0
    bundle(tmp_path / "b", 1)
    for more in ((), ("--dry-run",)):
        refused(1, "this output was begun with other settings: teacher: it has", "extract", *given, *SHORT, *more)


def test_shipped_bundle_is_known_by_its_checksum(tmp_path: Path) -> None:
    ssondo_train("extract", tones(tmp_path / "audio", 2), "--teacher", "default", "--out", tmp_path / "out", *SHORT)
    told = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert told["teacher"] == f"default {digest(find_bundle('default') / SPEC_FILE)}"


def test_termination_keeps_what_the_teacher_gave(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    given = ("extract", tones(tmp_path / "audio"), "--out", tmp_path / "out", *SHORT, "--batch", 1)
    assert ssondo_train(*given, "--teacher", f"{__name__}:Terminated")[0] == 128 + signal.SIGINT
    assert len(open_embeddings(tmp_path / "out")) == 5
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("kind", ["default", "bundle", "training", "textures", f"{__name__}:Levels"])
@pytest.mark.parametrize("device", ["cuda:99", "banana"])
def test_device_that_is_not_there_is_told(tmp_path: Path, kind: str, device: str) -> None:
    audio, teacher = tones(tmp_path / "audio", 2), tmp_path / kind
    if kind == "bundle":
        bundle(teacher, 0)
    elif kind == "training":
        teacher.mkdir()
        save_learner(teacher / "student.safetensors", new_learner(RECIPE, 12), RECIPE, ())
    elif kind == "textures":
        fit_textures(open_manifest(audio), teacher, 0.6)
    named = teacher if teacher.exists() else kind
    given = ("extract", audio, "--teacher", named, "--device", device, "--out", tmp_path / "out", *SHORT)
    for more in ((), ("--dry-run",)):
        refused(1, f"device '{device}': ", *given, *more)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seconds", ["inf", "nan"])
def test_seconds_without_number_are_refused(data: Path, seconds: str) -> None:
    given = ("extract", data / "meta.csv", "--teacher", "default", "--out", data / "out", "--seconds", seconds)
    refused(2, "need a teacher's name, a number of seconds > 0 and 0 <= max_skipped_share <= 1", *given)
    assert not (data / "out").exists()


@pytest.mark.parametrize("layout", ["shards", "npz"])
def test_embeddings_are_no_teacher_and_it_says_what_to_do_with_them(data: Path, layout: str) -> None:
    folder = data / "embeddings" if layout == "shards" else data
    np.savez(data / "a.npz", embed=random_rows(1, 4))
    told = f"{folder}: holds embeddings, so there is nothing to extract: give the folder to `cluster`"
    refused(1, told, "extract", data / "meta.csv", "--teacher", folder, "--out", data / "out")


@pytest.mark.parametrize(
    ("teacher", "told"),
    [
        ("Loud", "clip0.wav is not finite as float16: extract with --dtype float32 into another"),
        ("Broken", "clips could not be used, more than 1.00% of them; "),
        ("Broken", ": the teacher gave NaN or infinity"),
    ],
)
def test_embedding_that_cannot_be_stored_comes_with_a_way_out(data: Path, teacher: str, told: str) -> None:
    given = ("--teacher", f"{__name__}:{teacher}", "--out", data / "out", *SHORT)
    refused(1, told, "extract", data / "meta.csv", *given)


def test_embeddings_of_another_width_are_told_with_their_folder(data: Path) -> None:
    wide = replace(RECIPE, teacher=TeacherSettings("wide", 99))
    told = rf"gives embeddings of 99, those stored have 12 in {data}/embeddings: name the folder that `extract` made"
    with pytest.raises(EmbeddingsError, match=told):
        open_corpus(wide, sources(data))


def test_clusters_are_of_the_clips_of_the_manifest_alone(data: Path) -> None:
    names = [f"clip{number}.wav" for number in (6, 1, 3, 2)]
    given = ("--manifest", listed(data / "some.csv", names), "--clusters", 2, "--quiet")
    code, said, _ = ssondo_train("cluster", data / "embeddings", "--out", data / "out", *given)
    assert (code, "2 clusters of" in said) == (0, True)
    assert sorted(read_clusters(data / "out")) == sorted(names)


def test_manifest_of_another_folder_names_its_root(data: Path, tmp_path: Path) -> None:
    manifest = listed(tmp_path / "elsewhere.csv", [f"{data}/clip{number}.wav" for number in range(4)])
    given = ("cluster", data / "embeddings", "--manifest", manifest, "--clusters", 2, "--out", data / "out", "--quiet")
    refused(1, "none of the 4 clips of the manifest has an embedding here; it names them as data/clip0.wav", *given)
    assert ssondo_train(*given, "--root", data)[0] == 0
    assert sorted(read_clusters(data / "out")) == [f"clip{number}.wav" for number in range(4)]


def test_settings_of_clusters_are_those_of_the_options(data: Path) -> None:
    given = {"--rounds": 1, "--per-cluster": 4, "--inits": 2, "--sample": 5, "--threads": 0, "--levels": 4}
    options = [part for pair in given.items() for part in pair]
    code, *_ = ssondo_train("cluster", data / "embeddings", "--clusters", 2, "--out", data / "out", "--quiet", *options)
    told = json.loads((data / "out" / "settings.json").read_text())
    assert (code, told["resampling"], told["fit"]["inits"], told["sample"]) == (
        0,
        {"rounds": 1, "per_cluster": 4},
        2,
        5,
    )


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--clusters", 99], 1, f"99 clusters need as many rows, in each chunk too: there are {CLIPS} rows"),
        (["--components", 99], 1, f"99 components need as many rows and dimensions, there are {CLIPS} of 12"),
        (["--levels", "9,5"], 1, "9 clusters need as many rows"),
        (["--chunk-rows", 1], 1, "and chunks of 1"),
        (["--engine", "faiss"], 1, "the engine 'faiss' is not installed"),
        (["--rounds", -1], 2, "need rounds >= 0"),
        (["--seed", -1], 2, "seed >= 0"),
        (["--root", "."], 2, "folds need --manifest, and so does --root"),
        (["--evaluation-folds", 1, "--manifest", "{data}/meta.csv"], 2, "--evaluation-folds need --folds"),
        (
            ["--folds", "7", "--manifest", "{data}/meta.csv"],
            1,
            "of folds 7 the manifest names no audio; its folds are 1, 2, 3, 4",
        ),
    ],
)
def test_dry_run_refuses_what_the_run_refuses(
    *, data: Path, monkeypatch: pytest.MonkeyPatch, dry: list[str], options: list[object], code: int, told: str
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    more = [str(option).format(data=data) for option in options]
    clusters = [] if "--clusters" in more else ["--clusters", 2]
    refused(code, told, "cluster", data / "embeddings", "--out", data / "out", *clusters, *more, *dry)
    assert not (data / "out").exists()


def test_dry_run_refuses_the_folder_of_other_clusters(data: Path) -> None:
    given = ("cluster", data / "embeddings", "--out", data / "out", "--quiet")
    assert ssondo_train(*given, "--clusters", 2)[0] == 0
    refused(1, "clusters: it has 2, asked is 3", *given, "--clusters", 3, "--dry-run")
    assert ssondo_train(*given, "--clusters", 2, "--dry-run")[0] == 0
