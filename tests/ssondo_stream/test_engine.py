from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssondo_stream.engine import StreamingEngine, activate
from ssondo_stream.errors import AudioError
from ssondo_stream.types import AudioBlock, Prediction, Samples
from tests.fakes import LoudnessStudent

RATE, COLUMN, LEAD = 32_000, 16_384, 7_680
NOISE = np.random.default_rng(0).normal(0, 0.05, 14 * RATE).astype(np.float32)


def run(audio: Samples, sizes: list[int], rate: int = RATE, start: int = 0, hop: int = 1) -> list[Prediction]:
    engine = StreamingEngine(LoudnessStudent(), rate, hop)
    predictions = []
    for part in np.split(audio, np.minimum(np.cumsum(sizes), len(audio))):
        predictions += engine.push(AudioBlock(start, part))
        start += len(part)
    return predictions


def assert_same(left: list[Prediction], right: list[Prediction]) -> None:
    assert [(p.start, p.scores.shape) for p in left] == [(p.start, p.scores.shape) for p in right]
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        assert one.levels is not None and other.levels is not None
        np.testing.assert_allclose(one.levels, other.levels, atol=1e-3)


@given(st.lists(st.integers(0, 30_000), max_size=20))
@settings(max_examples=20, deadline=None)
def test_streamed_equals_one_shot_however_the_audio_is_cut(sizes: list[int]) -> None:
    assert_same(run(NOISE, sizes), run(NOISE, []))


def test_window_grows_from_one_column_to_ten_seconds_and_then_slides() -> None:
    predictions = run(NOISE, [])
    assert [len(p.scores) for p in predictions] == [min(n, 20) for n in range(1, len(predictions) + 1)]
    assert {p.start for p in predictions[:20]} == {-LEAD}
    assert [p.start for p in predictions[20:]] == [-LEAD + n * COLUMN for n in range(1, len(predictions) - 19)]


def test_first_column_is_ready_after_a_quarter_of_a_second() -> None:
    engine = StreamingEngine(LoudnessStudent(), RATE)
    assert engine.push(AudioBlock(0, NOISE[: COLUMN - LEAD - 1])) == []
    assert len(engine.push(AudioBlock(COLUMN - LEAD - 1, NOISE[:1]))) == 1


@pytest.mark.parametrize("hop", [2, 5, 20])
def test_longer_hops_give_every_nth_prediction(hop: int) -> None:
    assert_same(run(NOISE, [], hop=hop), run(NOISE, [])[::hop])


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000, 192_000])
def test_other_rates_are_laid_on_the_same_grid(rate: int) -> None:
    seconds = np.arange(6 * rate) / rate
    burst = (np.random.default_rng(0).normal(0, 0.3, len(seconds)) * (seconds >= 3)).astype(np.float32)
    last = run(burst, [777] * 400, rate)[-1]
    onset = last.start + int(np.argmax(last.scores[:, 0] > 0.5)) * COLUMN
    assert abs(onset / RATE - 3) < 0.5


@pytest.mark.parametrize("missing", [1, 1000, 16_384, 100_000])
def test_a_gap_equals_two_streams_on_one_absolute_grid(missing: int) -> None:
    engine = StreamingEngine(LoudnessStudent(), RATE)
    resumed = 50_000 + missing
    together = engine.push(AudioBlock(0, NOISE[:50_000])) + engine.push(AudioBlock(resumed, NOISE[:90_000]))
    apart = run(NOISE[:50_000], []) + run(NOISE[:90_000], [], start=resumed)
    assert_same(together, apart)
    assert {(p.start + LEAD) % COLUMN for p in together} == {0}


def test_index_never_wraps_over_decades() -> None:
    start = 40 * 365 * 86_400 * RATE
    predictions = run(NOISE[:70_000], [333] * 100, start=start)
    assert predictions[-1].end <= start + 70_000
    assert predictions[-1].end > start + 70_000 - 2 * COLUMN


def test_reset_equals_a_new_engine() -> None:
    engine = StreamingEngine(LoudnessStudent(), RATE)
    engine.push(AudioBlock(0, NOISE[:123_456]))
    engine.reset()
    assert_same(engine.push(AudioBlock(0, NOISE)), run(NOISE, []))


@pytest.mark.parametrize("samples", [1, 500, 8_704, 8_705, 25_088, 100_001])
@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_flush_analyses_every_last_sample(samples: int, rate: int) -> None:
    engine = StreamingEngine(LoudnessStudent(), rate)
    predictions = engine.push(AudioBlock(0, NOISE[:samples]))
    predictions += engine.flush()
    assert predictions[-1].end >= samples * RATE / rate - 1
    assert predictions[-1].end < samples * RATE / rate + COLUMN + 2
    assert engine.pending == 0
    assert engine.flush() == []


def test_pending_is_the_audio_in_no_prediction() -> None:
    engine = StreamingEngine(LoudnessStudent(), RATE)
    engine.push(AudioBlock(0, NOISE[:8_000]))
    assert engine.pending == pytest.approx(8_000 / RATE)
    engine.push(AudioBlock(8_000, NOISE[:1_000]))
    assert engine.pending == pytest.approx((9_000 - (COLUMN - LEAD)) / RATE)


def test_levels_are_those_of_the_columns() -> None:
    seconds = np.arange(4 * RATE) / RATE
    sine = (0.1 * np.sin(2 * np.pi * 1000 * seconds)).astype(np.float32)
    levels = run(sine, [])[-1].levels
    assert levels is not None
    np.testing.assert_allclose(levels, 20 * np.log10(0.1) - 3.01, atol=0.05)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    engine = StreamingEngine(LoudnessStudent(), RATE)
    with pytest.raises(AudioError, match="not all finite"):
        engine.push(AudioBlock(0, np.array([0, bad], np.float32)))


def test_stages_are_measured_from_outside() -> None:
    seen: list[str] = []

    def stage(name: str) -> nullcontext[None]:
        seen.append(name)
        return nullcontext()

    StreamingEngine(LoudnessStudent(), RATE, stage=stage).push(AudioBlock(0, NOISE[:20_000]))
    assert seen == ["resample", "mel", "infer"]


def test_softmax_and_sigmoid_stay_in_range_for_huge_logits() -> None:
    logits = np.array([[1000, -1000, 0]], np.float32)
    np.testing.assert_allclose(activate(logits, "sigmoid"), [[1, 0, 0.5]])
    np.testing.assert_allclose(activate(logits, "softmax"), [[1, 0, 0]])
