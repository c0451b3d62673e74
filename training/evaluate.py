"""Measures a bundle on a fold it has not seen: `python -m training.evaluate --bundle DIR --fold 4 --out FILE`.

It streams the held-out clips, soundscapes made of them, and negatives, and keeps every column's scores, so that
`training.calibrate` can try settings without running the student again.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import Label
from ssondo_stream.engine import Student, activate
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from training.data import ESC10, LABELS, RATE, in_folds, load_audio, read_manifest
from training.detect import ColumnScores, column_scores, in_samples, segments
from training.negatives import FOREGROUND, UNHEARD_VOICES, speech
from training.pool import Pool, build_pool
from training.synthesis import MEL, Occurrence, Scene, negative_scene, soundscape

COLLAR = RATE // 2
SCENE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording's scores, and what was really heard in it."""

    kind: str
    scores: ColumnScores
    heard: list[Occurrence]


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of one label over some recordings; `errors` are the onset errors of the hits in seconds."""

    hits: int
    false: int
    missed: int
    errors: tuple[float, ...] = ()

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2 * self.hits / max(1, 2 * self.hits + self.false + self.missed)

    @property
    def recall(self) -> float:
        """Share of the real events that were found."""
        return self.hits / max(1, self.hits + self.missed)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.hits + other.hits,
            self.false + other.false,
            self.missed + other.missed,
            self.errors + other.errors,
        )


def compare(found: Sequence[tuple[int, int]], real: Sequence[tuple[int, int]], collar: int = COLLAR) -> Counts:
    """Match events one to one by onset, nearest first, within a collar in samples."""
    pairs = sorted((abs(f[0] - r[0]), i, j) for i, f in enumerate(found) for j, r in enumerate(real))
    used_found: set[int] = set()
    used_real: set[int] = set()
    errors = []
    for distance, i, j in pairs:
        if distance <= collar and i not in used_found and j not in used_real:
            used_found.add(i)
            used_real.add(j)
            errors.append(distance / RATE)
    return Counts(len(errors), len(found) - len(errors), len(real) - len(errors), tuple(errors))


def count_events(recordings: Iterable[Recording], label: int, rule: Label) -> Counts:
    """Events of one label under a rule, against what was really heard."""
    total = Counts(0, 0, 0)
    for recording in recordings:
        real = [(event.start, event.stop) for event in recording.heard if event.label == label]
        total += compare(in_samples(segments(recording.scores.settled[:, label], rule)), real)
    return total


def false_alarms(recordings: Iterable[Recording], rules: Sequence[Label]) -> dict[str, int]:
    """Events that these rules report on negatives, by label."""
    negatives = [recording for recording in recordings if recording.kind == "negative"]
    found = {rule.name: count_events(negatives, label, rule).false for label, rule in enumerate(rules)}
    return {name: count for name, count in found.items() if count}


def clip_accuracy(student: Student, esc10: Path, fold: int) -> float:
    """Share of a fold's clips whose own label has the highest mean score among the ten; NaN if it has no clips."""
    right = []
    for clip in in_folds(read_manifest(esc10), [fold]):
        final = student.stream().push(log_mel(load_audio(esc10 / clip.file), MEL))[-1]
        score = activate(final.logits, student.spec.activation).mean(axis=0)
        right.append(LABELS[int(score[: len(ESC10)].argmax())] == ESC10[clip.label])
    return float(np.mean(right)) if right else float("nan")


def held_out_pool(esc10: Path, fold: int) -> Pool:
    """A fold's clips, with alarms and negatives that training has not drawn and voices it has not heard."""
    foreground = {**FOREGROUND, "speech": lambda rng: speech(rng, UNHEARD_VOICES)}
    rng = np.random.default_rng([fold, 7_919])
    return build_pool(esc10, [fold], rng, variants=0, made_up=60, foreground=foreground)


def record(student: Student, pool: Pool, fold: int, soundscapes: int, negatives: int) -> Iterator[Recording]:
    """Stream so many minutes of soundscapes and of negatives through a student."""
    makers: dict[str, tuple[int, Callable[[np.random.Generator], Scene]]] = {
        "soundscape": (soundscapes, lambda rng: soundscape(pool, rng, seconds=SCENE_SECONDS)),
        "negative": (negatives, lambda rng: negative_scene(pool, rng, seconds=SCENE_SECONDS)),
    }
    for kind, (count, make) in makers.items():
        for index in range(count):
            scene = make(np.random.default_rng([fold, index, len(kind)]))
            yield Recording(kind, column_scores(student, scene.samples), scene.heard)


def save_recordings(path: Path, recordings: Sequence[Recording], accuracy: float) -> None:
    """Keep recordings and the clip accuracy as arrays."""
    arrays: dict[str, NDArray[np.generic]] = {
        "kinds": np.array([recording.kind for recording in recordings]),
        "accuracy": np.array(accuracy),
    }
    for i, recording in enumerate(recordings):
        arrays[f"settled_{i}"] = recording.scores.settled
        arrays[f"early_{i}"] = recording.scores.early
        heard = [(event.label, event.start, event.stop) for event in recording.heard]
        arrays[f"heard_{i}"] = np.array(heard, np.int64).reshape(-1, 3)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_recordings(path: Path) -> tuple[list[Recording], float]:
    """Recordings and clip accuracy of `save_recordings`."""
    with np.load(path) as arrays:
        recordings = [
            Recording(
                str(kind),
                ColumnScores(arrays[f"settled_{i}"], arrays[f"early_{i}"]),
                [Occurrence(*map(int, row)) for row in arrays[f"heard_{i}"]],
            )
            for i, kind in enumerate(arrays["kinds"])
        ]
        return recordings, float(arrays["accuracy"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--esc10", type=Path, required=True, help="folder with meta.csv and the clips")
    parser.add_argument("--fold", type=int, required=True, help="that the student has not seen")
    parser.add_argument("--out", type=Path, required=True, help="where the scores go, .npz")
    parser.add_argument("--soundscapes", type=int, default=60, help="minutes")
    parser.add_argument("--negatives", type=int, default=120, help="minutes")
    arguments = parser.parse_args()
    student = load_student(arguments.bundle)
    accuracy = clip_accuracy(student, arguments.esc10, arguments.fold)
    pool = held_out_pool(arguments.esc10, arguments.fold)
    recordings = list(record(student, pool, arguments.fold, arguments.soundscapes, arguments.negatives))
    save_recordings(arguments.out, recordings, accuracy)
    print(f"fold {arguments.fold}: clip accuracy {accuracy:.3f}, {dict(Counter(r.kind for r in recordings))} minutes")
    print(f"false alarms under the bundle's settings: {false_alarms(recordings, student.spec.labels)}")


if __name__ == "__main__":
    main()
