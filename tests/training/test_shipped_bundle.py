import csv

import numpy as np
import pytest

from ssondo_stream.bundle import BUNDLES
from ssondo_stream.engine import activate
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from ssondo_stream.student import LoadedStudent
from ssondo_stream.types import Samples
from tests.parts_shared import shared
from training.alarms import temporal_three
from training.data import ESC10, LABELS, RATE, SMOKE_ALARM, load_audio, read_manifest
from training.detect import column_scores, in_samples, segments

BUNDLE = BUNDLES / "default"


@pytest.fixture(scope="module")
def student() -> LoadedStudent:
    """The shipped student."""
    return load_student(BUNDLE)


def events(student: LoadedStudent, samples: Samples) -> dict[str, list[tuple[float, float]]]:
    """Events by label, in seconds, under the bundle's own settings."""
    scores = column_scores(student, samples).settled
    found = {rule.name: in_samples(segments(scores[:, i], rule)) for i, rule in enumerate(student.spec.labels)}
    return {name: [(a / RATE, b / RATE) for a, b in spans] for name, spans in found.items() if spans}


def quiet_room(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 0.003, round(seconds * RATE)).astype(np.float32)


def test_bundle_is_small_and_holds_its_card_and_credits() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) <= 4_000_000
    assert {"MODEL_CARD.md", "CREDITS.csv", "student.onnx", "bundle.json"} <= {path.name for path in BUNDLE.iterdir()}


def test_bundle_has_the_labels_it_was_trained_on(student: LoadedStudent) -> None:
    assert tuple(label.name for label in student.spec.labels) == LABELS


def test_every_recording_is_credited() -> None:
    with (BUNDLE / "CREDITS.csv").open(encoding="utf-8", newline="") as file:
        credited = {row["freesound_id"] for row in csv.DictReader(file)}
    assert credited == {clip.freesound_id for clip in read_manifest(shared("data/esc10"))}


def test_bundle_tells_the_sounds_of_its_training_apart(student: LoadedStudent) -> None:
    folder = shared("data/esc10")
    first_of_each = {clip.label: clip for clip in reversed(read_manifest(folder))}
    right = []
    for clip in first_of_each.values():
        logits = student.stream().push(log_mel(load_audio(folder / clip.file)))[-1].logits
        right.append(LABELS[activate(logits, "sigmoid").mean(axis=0).argmax()] == ESC10[clip.label])
    assert sum(right) >= 9


@pytest.mark.parametrize(
    ("frequency", "drive", "level"),
    [(3100.0, 0.0, 0.3), (3100.0, 6.0, 0.05), (2900.0, 1.5, 0.2), (520.0, 20.0, 0.3), (520.0, 20.0, 0.05)],
)
def test_alarm_is_one_event_from_the_first_beep_to_the_last(
    student: LoadedStudent, frequency: float, drive: float, level: float
) -> None:
    samples, alarm = quiet_room(30), level * temporal_three(frequency, cycles=4, drive=drive)
    start = 7 * RATE
    samples[start : start + len(alarm)] += alarm
    found = events(student, samples)
    assert list(found) == [LABELS[SMOKE_ALARM]]
    ((onset, offset),) = found[LABELS[SMOKE_ALARM]]
    assert onset == pytest.approx(7, abs=0.6)
    assert offset == pytest.approx(7 + len(alarm) / RATE, abs=1.5)


@pytest.mark.parametrize("level", [0.0, 0.0005, 0.01, 0.2])
def test_silence_and_white_noise_are_no_event(student: LoadedStudent, level: float) -> None:
    assert events(student, level / 0.003 * quiet_room(40)) == {}
