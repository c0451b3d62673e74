"""Recordings of hisses and tones, others without, and a student that knows nothing of them."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from ssondo_stream.bundle import Label, StudentSpec
from ssondo_stream.students import ColumnTagger, MobileNetV3, classifier
from ssondo_stream.students.export import write_bundle
from training.annotations import Annotated, Heard, annotation_path, write_annotations
from training.teachers.textures import MEL

RATE = MEL.sample_rate
SAME_BYTES = "PCM_32"  # files of floats say when they were written
LABELS = ("Hiss", "Tone")


def sound(label: str, seconds: float, rng: np.random.Generator) -> np.ndarray:
    n = round(seconds * RATE)
    if label == "Hiss":
        return rng.normal(0, 0.1, n)
    return np.asarray(0.2 * np.sin(2 * np.pi * rng.uniform(500, 4000) / RATE * np.arange(n)))


def recordings(folder: Path, count: int, seed: int = 0) -> list[Annotated]:
    """Ten seconds each, over faint rumble: a hiss, or a tone, or both."""
    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        samples = np.cumsum(rng.normal(0, 1e-4, 10 * RATE)) * 0.1
        heard = []
        for label, onset in zip(LABELS, rng.permutation([1.0, 5.5]), strict=True):
            if rng.random() < 0.8:
                length = rng.uniform(0.6, 3.5)
                start = round(onset * RATE)
                part = sound(label, length, rng)
                samples[start : start + len(part)] += part
                heard.append(Heard(onset, onset + length, label))
        path = folder / f"{number:03d}.wav"
        soundfile.write(path, samples.astype(np.float32), RATE, subtype=SAME_BYTES)
        made.append(Annotated(path, tuple(sorted(heard))))
    return made


def folders(folder: Path) -> tuple[str, Path, Path]:
    """A bundle, six annotated recordings, and three of something else; as they were made here or are now."""
    bundle, heard, others = (folder / name for name in ("bundle", "heard", "others"))
    if not heard.exists():
        heard.mkdir()
        for one in recordings(heard, 6):
            write_annotations(annotation_path(one.audio), one.heard)
        others.mkdir()
        for number in range(3):
            noise = np.random.default_rng(number).normal(0, 0.01, 4 * RATE)
            soundfile.write(others / f"{number}.wav", noise.astype(np.float32), RATE, subtype=SAME_BYTES)
        _write_bundle(bundle)
    return str(bundle), heard, others


def _write_bundle(folder: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = MobileNetV3(width_mult=0.1)
        student = ColumnTagger(backbone, classifier(backbone.embedding_dim, len(LABELS))).eval()
    labels = tuple(Label(name, 0.5, 0.3, 0.7) for name in LABELS)
    write_bundle(student, folder, StudentSpec(folder.name, labels, backbone.embedding_dim, MEL))
