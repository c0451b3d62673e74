"""Events that a verifier hears again: it speaks for or against a sound once its extent is known."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.detection import Detection, EventDetector, Rule
from ssondo_stream.verifier import certainty
from tests.monitor.test_detection import COLUMN, SECONDS, WINDOW, column_scores, columns, detect, windows

DOG = Rule("Dog bark", "dog_bark", threshold=0.5, off=0.3, early=0.7, hold_seconds=0.0, confirm=0.6)
FOR, AGAINST = 3.0, -6.0  # a mean score of 0.9 and the evidence against it make a certainty of 0.02


@dataclass
class Verifier:
    """Says the same of every sound, and remembers which it was asked about."""

    evidence: list[float] | None
    asked: list[tuple[int, int]] = field(default_factory=list)

    def __call__(self, onset: int, offset: int) -> NDArray[np.float32] | None:
        self.asked.append((onset, offset))
        return None if self.evidence is None else np.array(self.evidence, np.float32)


def listen(
    rule: Rule, evidence: float | None, *active: tuple[int, int, float], length: int = 60
) -> tuple[list[tuple[int, Detection]], Verifier]:
    """What is told of a stream of one label, with the newest column at that time, and the verifier that was asked."""
    verifier = Verifier(None if evidence is None else [evidence])
    detector = EventDetector([rule], SECONDS, verify=verifier)
    return detect(detector, windows(column_scores(length, *active))), verifier


def told(found: list[tuple[int, Detection]]) -> list[tuple[int, str, bool | None]]:
    return [(at, d.kind, d.confirmed) for at, d in found]


def test_sound_that_the_verifier_speaks_for_is_confirmed() -> None:
    found, verifier = listen(DOG, FOR, (10, 14, 0.9))
    assert told(found) == [(11, "started", None), (15 + WINDOW, "ended", True)]
    ended = found[-1][1]
    assert verifier.asked == [(ended.onset, ended.offset)], "asked once, about the extent that is told"
    assert columns(ended) == (10, 14)


def test_start_of_a_sound_that_the_verifier_speaks_against_is_refuted() -> None:
    found, verifier = listen(DOG, AGAINST, (10, 14, 0.9))
    assert told(found) == [(11, "started", None), (15 + WINDOW, "ended", False)]
    assert found[0][1].key == found[1][1].key
    assert columns(found[1][1]) == (10, 14)
    assert len(verifier.asked) == 1


def test_nothing_is_told_of_a_weak_sound_that_the_verifier_speaks_against() -> None:
    found, verifier = listen(DOG, AGAINST, (10, 14, 0.6))
    assert found == []
    assert verifier.asked


def test_score_and_evidence_decide_together() -> None:
    """Log odds of 0.9 are 2.2, of the certainty asked for 0.4: evidence of -1.7 is enough, of -1.9 is not."""
    assert [listen(DOG, evidence, (10, 14, 0.9))[0][-1][1].confirmed for evidence in (-1.7, -1.9)] == [True, False]


def test_what_was_verified_is_told_by_its_certainty() -> None:
    (_, started), (_, ended) = listen(DOG, 1.0, (10, 14, 0.9))[0]
    assert (started.score, started.threshold) == (pytest.approx(0.9), DOG.threshold), "nobody was asked yet"
    assert ended.score == ended.score_peak == pytest.approx(certainty(0.9, 1.0))
    assert ended.threshold == DOG.confirm


def test_forgotten_sound_is_left_to_its_score() -> None:
    strict = replace(DOG, confirm=0.99)
    found, verifier = listen(strict, None, (10, 14, 0.6))
    assert told(found) == [(10 + WINDOW, "started", None), (15 + WINDOW, "ended", True)]
    assert verifier.asked


@pytest.mark.parametrize("peak", [0.6, 0.9])
def test_rule_without_certainty_never_asks(peak: float) -> None:
    rule = replace(DOG, confirm=0.0)
    found, verifier = listen(rule, AGAINST, (10, 14, peak))
    assert verifier.asked == []
    assert found == detect(EventDetector([rule], SECONDS), windows(column_scores(60, (10, 14, peak))))


def test_without_a_verifier_scores_decide_alone() -> None:
    found = detect(EventDetector([DOG], SECONDS), windows(column_scores(60, (10, 14, 0.9))))
    assert [d.confirmed for _, d in found] == [None, True]


def test_late_start_waits_until_the_open_sound_is_certain() -> None:
    """Its first column settles when 20 were heard; the verifier wants 25."""
    heard: list[float] = []

    def verify(onset: int, offset: int) -> NDArray[np.float32]:
        heard.append((offset - onset) / COLUMN)
        return np.array([FOR if heard[-1] > 24.5 else AGAINST], np.float32)

    detector = EventDetector([DOG], SECONDS, verify=verify)
    found = detect(detector, windows(column_scores(90, (10, 39, 0.6))))
    assert told(found) == [(35, "started", None), (40 + WINDOW, "ended", True)]
    assert columns(found[0][1]) == (10, None)
    assert heard[:2] == pytest.approx([20, 25], abs=0.1), "asked again once it is longer by a quarter"
    assert heard[2:] == [pytest.approx(30, abs=0.2)], "and once it has ended"


def test_early_start_asks_nobody() -> None:
    found, verifier = listen(DOG, AGAINST, (10, 14, 0.9), length=20)
    assert told(found) == [(11, "started", None)]
    assert verifier.asked == []


@pytest.mark.parametrize(("evidence", "confirmed"), [(FOR, True), (AGAINST, False)])
def test_close_verifies_what_is_open(evidence: float, confirmed: bool) -> None:
    verifier = Verifier([evidence])
    detector = EventDetector([DOG], SECONDS, verify=verifier)
    (_, started), *_ = detect(detector, windows(column_scores(30, (20, 29, 0.9))))
    closed = detector.close()
    assert [(d.kind, d.key, d.confirmed) for d in closed] == [("ended", started.key, confirmed)]
    assert len(verifier.asked) == 1
    assert detector.close() == []


def test_close_tells_nothing_of_a_weak_open_sound_that_the_verifier_speaks_against() -> None:
    verifier = Verifier([AGAINST])
    detector = EventDetector([DOG], SECONDS, verify=verifier)
    assert detect(detector, windows(column_scores(20, (15, 19, 0.6)))) == []
    assert detector.close() == []
    assert len(verifier.asked) == 1


def test_each_label_has_evidence_of_its_own() -> None:
    truth = np.repeat(column_scores(60, (10, 14, 0.9)), 2, axis=1)
    detector = EventDetector([DOG, replace(DOG, slug="siren")], SECONDS, verify=Verifier([AGAINST, FOR]))
    ended = [d for _, d in detect(detector, windows(truth)) if d.kind == "ended"]
    assert {d.slug: d.confirmed for d in ended} == {"dog_bark": False, "siren": True}


def test_sound_that_did_not_count_silences_none_after_it() -> None:
    rule = replace(DOG, cool_down_seconds=20 * SECONDS)

    def verify(onset: int, offset: int) -> NDArray[np.float32]:
        return np.array([FOR if onset > 20 * COLUMN else AGAINST], np.float32)

    found = detect(
        EventDetector([rule], SECONDS, verify=verify), windows(column_scores(90, (10, 14, 0.6), (30, 34, 0.6)))
    )
    assert [(columns(d), d.confirmed) for _, d in found if d.kind == "ended"] == [((30, 34), True)]


def test_every_start_has_one_end_whatever_the_verifier_says() -> None:
    random = np.random.default_rng(5)

    def verify(onset: int, offset: int) -> NDArray[np.float32]:
        return random.normal(0, 3, 1).astype(np.float32)

    rule = replace(DOG, threshold=0.6, off=0.5, early=0.8, hold_seconds=1, cool_down_seconds=1)
    detector = EventDetector([rule], SECONDS, verify=verify)
    found = [d for _, d in detect(detector, windows(random.random((400, 1), np.float32) ** 0.7))] + detector.close()
    starts = [d.key for d in found if d.kind == "started"]
    ends = {d.key: d.confirmed for d in found if d.kind == "ended"}
    assert sorted(ends) == sorted(starts)
    assert len(found) == 2 * len(starts)
    assert set(ends.values()) == {True, False}


@pytest.mark.parametrize("confirm", [-0.1, 1.1])
def test_impossible_certainty_is_refused(confirm: float) -> None:
    with pytest.raises(ValueError, match=f"dog_bark: need confirm from 0 to 1, got {confirm}"):
        replace(DOG, confirm=confirm)
