import pytest

from ssondo_stream.cutting import Cutter, Limits, Phase, Segment

LIMITS = Limits(on=0.6, off=0.4)
PHASES = {"-": Phase.IDLE, "r": Phase.RISING, "A": Phase.ACTIVE, "f": Phase.FALLING}


@pytest.mark.parametrize(
    ("limits", "scores", "phases", "segments"),
    [
        (LIMITS, ".5 .6 .5 .4 .3", "-AAA-", [(1, 3)]),
        (LIMITS, ".6 .3 .5 .6", "A--A", [(0, 0)]),
        (Limits(0.6, 0.4, minimum=3), ".6 .5 .3", "rr-", []),
        (Limits(0.6, 0.4, minimum=3), ".6 .5 .5 .5 .1", "rrAA-", [(0, 3)]),
        (Limits(0.6, 0.4, hold=2), ".6 .1 .1 .5 .1 .1 .1", "AffAff-", [(0, 3)]),
        (Limits(0.6, 0.4, minimum=3, hold=1), ".6 .1 .6 .1 .1 .6", "rrAf-r", [(0, 2)]),
        (Limits(0.6, 0.4, minimum=2, hold=1), ".6 .1 .1 .6 .6 .1 .1", "rr-rAf-", [(3, 4)]),
        (Limits(0.6, 0.4, cool_down=2), ".9 .1 .9 .1 .9", "A---A", [(0, 0)]),
    ],
)
def test_scores_give_phases_and_segments(
    limits: Limits, scores: str, phases: str, segments: list[tuple[int, int]]
) -> None:
    cutter, seen, ended = Cutter(limits), [], []
    for column, score in enumerate(map(float, scores.split())):
        if segment := cutter.step(column, score):
            ended.append((segment.first, segment.last))
        seen.append(cutter.phase)
    assert seen == [PHASES[sign] for sign in phases]
    assert ended == segments


def test_score_is_the_mean_of_the_columns_above_off() -> None:
    cutter = Cutter(Limits(0.6, 0.4, hold=1))
    for column, score in enumerate([0.8, 0.1, 0.4]):
        cutter.step(column, score)
    assert cutter.finish() == Segment(0, 2, 0.0, 3.0, pytest.approx(0.6), 0.8)
    assert cutter.finish() is None


@pytest.mark.parametrize("wrong", [{"on": 0.3}, {"on": 1.1}, {"off": -0.1}, {"minimum": 0}, {"hold": -1}])
def test_impossible_limits_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need"):
        Limits(**{"on": 0.6, "off": 0.4, **wrong})  # type: ignore[arg-type]
