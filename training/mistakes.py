"""What a student finds where nothing is to be found: sounds that its verifier has to refuse.

Of what a verifier is taught as something else, random stretches are refused by the scores already; these are not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ssondo_stream.bundle import Label
from training.annotations import Annotated, Heard
from training.announcing import settled_segments
from training.labels import OTHER
from training.matching import overlaps
from training.stream_scores import Recording, StreamScores
from training.thresholds import at_threshold

_THRESHOLDS = (0.05, 0.1, 0.2, 0.3)  # from where a verifier decides to where scores alone are believed


def mistakes(recordings: Sequence[Annotated], scored: Sequence[Recording], rules: Sequence[Label]) -> list[Annotated]:
    """The recordings in which a student finds what is not there, annotated with that as `OTHER`.

    Args:
        recordings: what overlaps none of their annotations is a mistake.
        scored: the same, scored by the student.
        rules: of its labels, in their order; thresholds are low ones instead of theirs.
    """
    found = [
        replace(recording, heard=tuple(sorted(_mistaken(recording, of.scores, rules))))
        for recording, of in zip(recordings, scored, strict=True)
    ]
    return [recording for recording in found if recording.heard]


def _mistaken(recording: Annotated, scores: StreamScores, rules: Sequence[Label]) -> Iterator[Heard]:
    """Each once, even if several labels or thresholds found it to a tenth of a second."""
    real = [(sound.onset, sound.offset) for sound in recording.heard]
    seen: set[tuple[float, float]] = set()
    for onset, offset in _found(scores, rules):
        key = round(onset, 1), round(offset, 1)
        if key not in seen and not overlaps((onset, offset), real):
            seen.add(key)
            yield Heard(onset, offset, OTHER)


def _found(scores: StreamScores, rules: Sequence[Label]) -> Iterator[tuple[float, float]]:
    for label, rule in enumerate(rules):
        for threshold in _THRESHOLDS:
            for segment in settled_segments(scores, label, at_threshold(rule, threshold)):
                onset, offset = scores.at(segment.begins), scores.at(segment.ends)
                if onset < offset:
                    yield onset, offset
