"""A training that takes seconds: short tones, made-up embeddings, the narrowest student."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from tests.training.parts_embeddings import random_rows
from tests.training.parts_extract import tone
from training.augment import Masks
from training.corpus import Sources
from training.embeddings import EmbeddingsWriter, open_embeddings
from training.files import write_text
from training.losses import LossSettings
from training.manifest import Manifest, open_manifest
from training.recipe import AugmentSettings, Recipe, RunSettings, SamplingSettings, StudentSettings, TeacherSettings
from training.schedules import ScheduleSettings

CLIPS, DIM = 8, 12
RECIPE = Recipe(
    TeacherSettings("made up", DIM),
    LossSettings("cosine"),
    student=StudentSettings(options={"width_mult": 0.1}, hidden=16),
    sampling=SamplingSettings(12, by="clusters"),
    augment=AugmentSettings(mixup=0.3, masks=Masks(1, 8, 1, 8), roll_seconds=0.1, gain_db=(-6.0, 6.0)),
    schedule=ScheduleSettings("one_cycle"),
    epochs=2,
    batch=4,
    seconds=0.6,
    average=0.9,
)
RUN = RunSettings("cpu", threads=1, save_every=1, log_every=1, cache_gib=0.01, tensorboard=False, progress=False)


def tones(folder: Path, clips: int = CLIPS) -> Path:
    """A manifest of tones with labels and folds."""
    for number in range(clips):
        tone(folder / f"clip{number}.wav", pitch=200.0 + 100 * number)
    rows = [
        f"clip{number}.wav,{'low' if number < clips // 2 else 'high'},{number % 4 + 1}\n" for number in range(clips)
    ]
    write_text(folder / "meta.csv", "path,labels,fold\n" + "".join(rows))
    return folder / "meta.csv"


def embedded(manifest: Manifest, folder: Path, dim: int = DIM) -> None:
    """Made-up embeddings of the clips."""
    ids = [entry.id for entry in manifest.entries]
    with EmbeddingsWriter(folder, dim, "float32", 3) as store:
        store.add(ids, [0.5] * len(ids), random_rows(len(ids), dim))


def clusters_of(manifest: Manifest) -> dict[str, int]:
    """Three clusters."""
    return {entry.id: number % 3 for number, entry in enumerate(manifest.entries)}


def sources(folder: Path, dim: int = DIM) -> Sources:
    """Clips, embeddings and clusters, as they were made here or are now."""
    there = (folder / "meta.csv").exists()
    manifest = open_manifest(folder / "meta.csv" if there else tones(folder))
    if not there:
        embedded(manifest, folder / "embeddings", dim)
        lines = [f"{name},{number}\n" for name, number in clusters_of(manifest).items()]
        write_text(folder / "clusters.csv", "id,cluster\n" + "".join(lines))
    return Sources(manifest, open_embeddings(folder / "embeddings"), clusters_of(manifest))


def recipe_file(folder: Path, **changes: object) -> Path:
    """The recipe as a file."""
    path = folder / "recipe.toml"
    write_text(path, replace(RECIPE, **changes).to_toml())  # type: ignore[arg-type]
    return path


def tensors(out: Path) -> Mapping[str, torch.Tensor]:
    """Every tensor of a checkpoint, by where it is in it."""
    return dict(_flat("", torch.load(out / "checkpoint.pt", weights_only=True)["state"]))


def same(out: Path, other: Path) -> None:
    """Two outputs are the same to the last bit."""
    ours, theirs = tensors(out), tensors(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    for name in ("history.csv", "student.safetensors"):
        assert (out / name).read_bytes() == (other / name).read_bytes()


def losses(out: Path) -> list[float]:
    """The loss of each step."""
    rows = (out / "history.csv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(row.split(",")[2]) for row in rows]


def _flat(name: str, value: object) -> list[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if isinstance(value, dict):
        return [pair for key, item in value.items() for pair in _flat(f"{name}/{key}", item)]
    return []
