import numpy as np
import pytest

from tests.parts_shared import shared
from training.data import ESC10, RATE, activity, as_sound, in_folds, load_sound, merge, read_manifest

HISS = 0.001 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)


def with_bursts(*bursts: tuple[float, float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Five seconds of hiss with loud bursts, given as (start, stop) in seconds."""
    samples = HISS.copy()
    for start, stop in bursts:
        samples[round(start * RATE) : round(stop * RATE)] *= 300
    return samples


def test_activity_is_where_the_bursts_are() -> None:
    spans = activity(with_bursts((1.0, 1.4), (3.0, 3.2)), bridge_seconds=0.5)
    np.testing.assert_allclose(np.array(spans) / RATE, [(1.0, 1.4), (3.0, 3.2)], atol=0.06)


def test_activity_bridges_short_pauses_only() -> None:
    samples = with_bursts((1.0, 1.4), (1.7, 2.0), (3.0, 3.2))
    assert len(activity(samples, bridge_seconds=0.5)) == 2
    assert len(activity(samples, bridge_seconds=0.05)) == 3


def test_bark_is_trimmed_and_has_an_rms_of_one_where_it_is_heard() -> None:
    sound = as_sound(with_bursts((1.0, 1.4), (3.0, 3.2)), "dog_bark")
    heard = np.concatenate([sound.samples[start:stop] for start, stop in sound.spans])
    assert len(sound.samples) / RATE == pytest.approx(2.2, abs=0.12)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(1, rel=1e-3)
    assert not sound.steady


def test_rain_is_heard_all_along_but_not_in_the_padding() -> None:
    samples = np.concatenate((HISS, np.zeros(RATE, np.float32)))
    sound = as_sound(samples, "rain")
    assert sound.spans == ((0, len(sound.samples)),)
    assert len(sound.samples) / RATE == pytest.approx(5, abs=0.06)
    assert sound.steady


def test_merge_joins_spans_within_reach() -> None:
    assert merge([(10, 20), (0, 5), (26, 30)], 5) == [(0, 20), (26, 30)]


def test_manifest_holds_32_clips_of_each_label_and_no_recording_in_two_folds() -> None:
    clips = read_manifest(shared("data/esc10"))
    assert {label: sum(clip.label == label for clip in clips) for label in ESC10} == dict.fromkeys(ESC10, 32)
    sources = [{clip.freesound_id for clip in in_folds(clips, [fold])} for fold in (1, 2, 3, 4)]
    assert sum(map(len, sources)) == len(set().union(*sources))


def test_every_label_of_the_data_becomes_a_sound() -> None:
    folder = shared("data/esc10")
    first_of_each = {clip.label: clip for clip in reversed(read_manifest(folder))}
    for clip in first_of_each.values():
        sound = load_sound(folder, clip)
        assert sound.spans
        assert np.isfinite(sound.samples).all()
