import csv

import numpy as np
import pytest

from ssondo_stream.bundle import BUNDLES
from ssondo_stream.loading import load_student
from ssondo_stream.student import LoadedStudent
from ssondo_stream.types import Samples
from ssondo_stream.verifier import certainty
from tests.parts_shared import shared
from training.alarms import temporal_three
from training.announcing import settled_events
from training.clips import read_clip
from training.labels import ESC10, LABELS, SMOKE_ALARM
from training.sounds import RATE
from training.stream_scores import score_samples

BUNDLE = BUNDLES / "default"


@pytest.fixture(scope="module")
def student() -> LoadedStudent:
    """The shipped student."""
    return load_student(BUNDLE)


def recordings() -> list[dict[str, str]]:
    """Rows of the table of ESC-10: `file`, `label`, `fold`, `freesound_id`."""
    with (shared("data/esc10") / "meta.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def events(student: LoadedStudent, samples: Samples) -> dict[str, list[tuple[float, float]]]:
    """Events by label, in seconds, under the bundle's own settings."""
    scores = score_samples(student, samples, RATE)
    found = {rule.name: settled_events(scores, i, rule) for i, rule in enumerate(student.spec.labels)}
    return {name: spans for name, spans in found.items() if spans}


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
    assert credited == {row["freesound_id"] for row in recordings()}


def test_bundle_tells_the_sounds_of_its_training_apart(student: LoadedStudent) -> None:
    folder = shared("data/esc10")
    first_of_each = {row["label"]: row["file"] for row in reversed(recordings())}
    right = []
    for label, name in first_of_each.items():
        scores = score_samples(student, read_clip(folder / name, RATE, 5.0).samples, RATE)
        assert scores.verdicts
        evidence = scores.verdicts.of(0.0, 5.0)
        assert evidence is not None
        certain = list(map(certainty, scores.means[:, -1].mean(axis=0).tolist(), evidence.tolist()))
        right.append(LABELS[int(np.argmax(certain))] == ESC10[label])
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
