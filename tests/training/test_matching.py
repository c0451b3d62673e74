import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from training.matching import EVENT, ONSET, Collar, Counts, match, overlaps

REFERENCE = json.loads(Path(__file__).with_name("sed_reference.json").read_text(encoding="utf-8"))
Spans = list[tuple[float, float]]


def runs(scores: list[float]) -> Spans:
    """Columns above the reference's threshold, joined."""
    above = np.array(scores) > REFERENCE["threshold"]
    changes = np.flatnonzero(np.diff(above, prepend=False, append=False))
    edges = REFERENCE["edges"]
    return [(edges[first], edges[last]) for first, last in list(pairwise(changes))[::2]]


@pytest.mark.parametrize(("name", "collar"), [("onset_offset", EVENT), ("onset", ONSET)])
def test_counts_are_those_of_sed_eval(name: str, collar: Collar) -> None:
    total = Counts()
    for label, by_name in enumerate(REFERENCE["labels"]):
        counts = Counts()
        for recording in REFERENCE["recordings"]:
            real = [(on, off) for heard, on, off in recording["events"] if heard == by_name]
            counts += match(runs([row[label] for row in recording["scores"]]), real, collar)
        expected = REFERENCE["events"][name]["labels"][by_name]
        assert {"Ntp": counts.hits, "Nsys": counts.reported, "Nref": counts.real} == expected
        total += counts
    assert total.f1 == pytest.approx(REFERENCE["events"][name]["f1"])


@pytest.mark.parametrize(
    ("reported", "real", "collar", "hits"),
    [
        ([(1.5, 3.0)], [(1.0, 3.0)], EVENT, 1),
        ([(1.51, 3.0)], [(1.0, 3.0)], EVENT, 0),
        ([(1.0, 3.6)], [(1.0, 3.0)], EVENT, 1),  # half of two seconds
        ([(1.0, 4.1)], [(1.0, 3.0)], EVENT, 0),
        ([(1.0, 4.1)], [(1.0, 3.0)], ONSET, 1),
        ([(1.0, 1.7)], [(1.0, 1.2)], EVENT, 1),  # a short sound's end has the collar of its onset
        ([(1.0, 2.0), (1.1, 2.0)], [(1.0, 2.0)], EVENT, 1),
        ([(1.0, 2.0), (1.4, 2.4)], [(1.4, 2.4), (1.8, 2.8)], EVENT, 2),  # nearest first would find one
        ([], [(1.0, 2.0)], EVENT, 0),
        ([(1.0, 2.0)], [], EVENT, 0),
    ],
)
def test_pairs_lie_within_the_collar_one_to_one(reported: Spans, real: Spans, collar: Collar, hits: int) -> None:
    counts = match(reported, real, collar)
    assert (counts.hits, counts.reported, counts.real) == (hits, len(reported), len(real))


def test_errors_are_of_the_nearest_onsets() -> None:
    assert match([(1.3, 2), (0.9, 2)], [(1.0, 2)]).errors == pytest.approx((-0.1,))


def test_counts_add_up_to_precision_recall_and_f1() -> None:
    counts = Counts(3, 4, 5, (0.1,)) + Counts(0, 2, 1, (0.2,))
    assert (counts.precision, counts.recall, counts.f1, counts.errors) == (0.5, 0.5, 0.5, (0.1, 0.2))
    assert all(math.isnan(value) for value in (Counts().f1, Counts().precision, Counts().recall))


def test_spans_that_only_touch_do_not_overlap() -> None:
    assert overlaps((0, 2), [(5, 6), (1, 3)])
    assert not overlaps((0, 2), [(2, 3)])


def test_negative_collars_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Collar(onset=-1)
