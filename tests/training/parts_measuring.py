"""What a student is measured on in seconds: short recordings, others to choose thresholds on, and clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from ssondo_stream.engine import Student
from tests.training.parts_embeddings import content
from tests.training.parts_streams import RATE, Fickle, bursts
from training.annotations import Annotated, Heard, annotated_recordings, annotation_path, write_annotations
from training.manifest import Entry, Manifest
from training.measuring import Measured, MeasureSettings, measure_student, resolve_measuring
from training.skipping import SKIPPED_FILE, Skipping
from training.stream_metrics import MetricSettings

SETTINGS = MeasureSettings(per_hour=1e6, metrics=MetricSettings(resamples=20))


def recordings(folder: Path, seed: int = 0) -> list[Annotated]:
    """Eight seconds with a loud sound, with a faint one, and with one in between that is nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate((0.3, 0.03, 0.06)):
        path, gain = folder / f"{number}.wav", np.repeat([1e-4, level, 1e-4], [3 * RATE, 2 * RATE, 3 * RATE])
        soundfile.write(path, gain * np.random.default_rng(seed + number).standard_normal(8 * RATE), RATE)
        write_annotations(annotation_path(path), [Heard(3.0, 5.0, "Loud")] if number < 2 else [])
    return annotated_recordings(folder)


def clips(folder: Path, count: int = 4) -> Manifest:
    """Loud and quiet ones."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.wav" for number in range(count)]
    for number, name in enumerate(names):
        soundfile.write(folder / name, bursts(number, 2), RATE)
    return Manifest(
        folder, tuple(Entry(name, (("Loud", "Quiet")[number % 2],), 1) for number, name in enumerate(names))
    )


def measured(folder: Path) -> Measured:
    """All of them."""
    return Measured(recordings(folder / "heard"), recordings(folder / "others", 5), clips(folder / "clips"))


def measure(
    folder: Path,
    student: Student | None = None,
    of: Measured | None = None,
    settings: MeasureSettings = SETTINGS,
    *,
    out: str = "out",
    most_skipped: float = 0.0,
) -> None:
    """The step as the command runs it."""
    student, of = student or Fickle(1.0), of or measured(folder)
    measure_student(
        student,
        of,
        folder / out,
        settings=settings,
        resolved={"step": "evaluate", **resolve_measuring(student, of, settings)},
        skipping=Skipping(most_skipped, folder / out / SKIPPED_FILE),
        progress=False,
    )


def left(out: Path) -> dict[str, dict[str, str]]:
    """What a run left: checksums of the files of each folder."""
    return {folder: content(out / folder, "*") for folder in ("", "scores", "chosen_on")}


def renamed(of: Measured, label: str) -> Measured:
    """Its clips under another label."""
    assert of.clips
    entries = tuple(replace(entry, labels=(label,) if label else ()) for entry in of.clips.entries)
    return replace(of, clips=Manifest(of.clips.root, entries))
