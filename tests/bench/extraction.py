"""How much of an extraction's time the teacher has; what it waits for is lost: python -m tests.bench.extraction."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch

from tests.bench.rows import Row, table
from training.extract import ExtractSettings, extract
from training.manifest import open_manifest
from training.teachers.checkpoints import FAMILIES
from training.teachers.vit import AudioViT, Encoder, Geometry

CLIPS, SECONDS, BATCH = 16, 10.0, 4
RATE = 44_100  # to be resampled, as most recordings are


def teacher_share(folder: Path, clips: int = CLIPS, geometry: Geometry | None = None) -> list[Row]:
    """Extract from generated recordings, by a teacher of MATPAC's size; speed does not depend on the weights."""
    generate(folder / "audio", clips)
    family = FAMILIES["matpac"]
    teacher = AudioViT(Encoder(geometry or Geometry()), family.mel, centred=family.centred)
    settings = ExtractSettings("untrained", seconds=SECONDS, batch=BATCH, progress=False)
    with all_cores() as cores:
        report = extract(open_manifest(folder / "audio"), teacher, folder / "out", settings)
    note = f"ViT of MATPAC's size on {cores} cores, {report.embedded} clips in {report.seconds:.0f} s"
    return [Row("extraction: share of the time in the teacher", report.teacher_share, "", 0.9, True, note)]


@contextmanager
def all_cores() -> Iterator[int]:
    """As `ssondo-train extract` runs, where the teacher is soonest done; other parts of the bench take one core."""
    before, cores = torch.get_num_threads(), os.cpu_count() or 1
    torch.set_num_threads(cores)
    try:
        yield cores
    finally:
        torch.set_num_threads(before)


def generate(folder: Path, clips: int) -> None:
    """Noise in stereo."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(clips):
        noise = rng.normal(0, 0.05, (round(SECONDS * RATE), 2))
        soundfile.write(folder / f"{number}.wav", noise.astype(np.float32), RATE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(table(teacher_share(Path(name))) + "\n")
