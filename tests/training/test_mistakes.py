"""What a student finds where nothing is."""

from pathlib import Path

from ssondo_stream.bundle import Label
from tests.training.parts_streams import recording
from training.annotations import Annotated, Heard
from training.labels import OTHER
from training.mistakes import mistakes

RULES = [Label("Loud", 0.5, 0.3, 0.5), Label("Quiet", 0.9, 0.9, 0.9)]
AUDIO = Path("a.wav")


def found(scores: list[list[float]], *heard: Heard) -> list[Heard]:
    (one,) = mistakes([Annotated(AUDIO, heard)], [recording(scores)], RULES) or [Annotated(AUDIO, ())]
    return list(one.heard)


def test_what_any_label_scores_is_something_else() -> None:
    scores = [[0.0, 0.0], [0.9, 0.0], [0.0, 0.0], [0.0, 0.07], [0.0, 0.0]]
    assert found(scores) == [Heard(1.0, 2.0, OTHER), Heard(3.0, 4.0, OTHER)]


def test_a_sound_is_cut_as_each_threshold_cuts_it_and_counts_once() -> None:
    scores = [[0.0, 0.0], [0.05, 0.0], [0.4, 0.4], [0.4, 0.4], [0.0, 0.0]]
    spans = [(round(one.onset, 1), round(one.offset, 1)) for one in found(scores)]
    assert len(spans) == len(set(spans)) == 2
    assert {offset for _, offset in spans} == {4.0}
    assert 1.0 <= spans[0][0] < spans[1][0] == 2.0


def test_what_is_really_heard_is_no_mistake() -> None:
    scores = [[0.9, 0.0], *[[0.0, 0.0]] * 5, [0.9, 0.0], [0.0, 0.0]]
    assert found(scores, Heard(0.5, 0.8, "Quiet")) == [Heard(6.0, 7.0, OTHER)]


def test_recordings_without_mistakes_are_left_out() -> None:
    silent, loud = recording([[0.0, 0.0]] * 3), recording([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    quiet = [Annotated(Path(name), ()) for name in ("silent.wav", "loud.wav")]
    assert [one.audio.name for one in mistakes(quiet, [silent, loud], RULES)] == ["loud.wav"]
