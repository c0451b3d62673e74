import numpy as np
import pytest

from tests.training.parts import tones
from training.data import LABELS, RATE, Sound
from training.negatives import FOREGROUND
from training.pool import Pool, in_some_room, varied, with_made_up
from training.synthesis import (
    COLUMN,
    LEAD,
    MEL,
    Occurrence,
    Scene,
    column_targets,
    negative_scene,
    occurrences,
    soundscape,
    training_window,
)

WINDOW = MEL.samples_for(624)
BEEP = Sound(np.ones(COLUMN, np.float32), 3, ((0, COLUMN),))


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Tones for clips, and a little of everything that needs no speech synthesiser."""
    quiet = {name: maker for name, maker in FOREGROUND.items() if name != "speech"}
    return with_made_up(tones(), np.random.default_rng(0), variants=1, made_up=2, foreground=quiet)


def test_sound_is_mixed_in_where_its_annotation_says() -> None:
    scene = Scene(np.zeros(WINDOW, np.float32))
    scene.add(BEEP, 50_000, 0.5)
    (event,) = scene.heard
    assert (event.label, event.start, event.stop) == (3, 50_000, 50_000 + COLUMN)
    assert np.flatnonzero(scene.samples)[[0, -1]].tolist() == [event.start, event.stop - 1]
    assert scene.samples.max() == 0.5


def test_sound_at_the_edge_is_cut_and_a_silent_part_is_not_annotated() -> None:
    scene = Scene(np.zeros(WINDOW, np.float32))
    scene.add(BEEP, 100 - COLUMN, 1.0)
    scene.add(Sound(np.zeros(500, np.float32), 4, ((0, 500),)), 1000, 1.0)
    assert [event.label for event in scene.heard] == [3]
    assert np.count_nonzero(scene.samples) == 100


def test_silence_before_a_sample_takes_the_annotation_along() -> None:
    scene = Scene(np.ones(WINDOW, np.float32), [Occurrence(1, 0, 900), Occurrence(2, 500, 2000)])
    scene.silence_before(1000)
    assert scene.heard == [Occurrence(2, 1000, 2000)]
    assert not scene.samples[:1000].any()


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (4 * COLUMN - LEAD, 6 * COLUMN - LEAD, {4: 1.0, 5: 1.0}),
        (4 * COLUMN - LEAD + COLUMN // 2, 6 * COLUMN - LEAD, {4: 0.5, 5: 1.0}),
        (4 * COLUMN - LEAD + 2000, 4 * COLUMN - LEAD + 4000, {4: 1.0}),
        (5 * COLUMN - LEAD - 1000, 5 * COLUMN - LEAD + 1000, {4: 0.5, 5: 0.5}),
        (0, COLUMN - LEAD, {0: 1.0}),
        (-5 * COLUMN, 100, {}),
    ],
)
def test_columns_are_trained_on_what_is_heard_in_them(start: int, stop: int, expected: dict[int, float]) -> None:
    targets = column_targets([Occurrence(7, start, stop)], WINDOW)
    assert targets.shape == (20, len(LABELS))
    assert {int(i): float(targets[i, 7]) for i in np.flatnonzero(targets[:, 7])} == pytest.approx(expected)
    assert not np.delete(targets, 7, axis=1).any()


@pytest.mark.parametrize(("frames", "columns"), [(16, 1), (48, 2), (624, 20)])
def test_every_window_length_has_its_columns(frames: int, columns: int) -> None:
    assert column_targets([], MEL.samples_for(frames)).shape == (columns, len(LABELS))


def test_last_column_ends_with_the_window() -> None:
    assert 20 * COLUMN - LEAD == WINDOW


def test_occurrences_of_a_label_within_reach_are_one() -> None:
    heard = [Occurrence(1, 0, 10), Occurrence(1, 15, 20), Occurrence(2, 12, 14), Occurrence(1, 40, 50)]
    assert occurrences(heard, 5) == [Occurrence(1, 0, 20), Occurrence(1, 40, 50), Occurrence(2, 12, 14)]


def test_soundscape_holds_its_events_over_background(pool: Pool) -> None:
    scene = soundscape(pool, np.random.default_rng(1), seconds=30, events=5)
    assert len(scene.samples) == 30 * RATE
    assert 1 <= len(scene.heard) <= 5
    assert all(0 <= event.start < event.stop <= len(scene.samples) for event in scene.heard)
    assert 10 ** (-18 / 20) - 1e-3 <= np.abs(scene.samples).max() <= 1


def test_negative_scene_holds_nothing_to_report(pool: Pool) -> None:
    assert negative_scene(pool, np.random.default_rng(2), seconds=10).heard == []


def test_training_windows_repeat_with_their_seed_and_stay_in_range(pool: Pool) -> None:
    for seed in range(20):
        first, again = (training_window(pool, np.random.default_rng(seed), WINDOW) for _ in range(2))
        np.testing.assert_array_equal(first.samples, again.samples)
        assert np.abs(first.samples).max() <= 1.0001
        assert np.isfinite(first.samples).all()


def test_room_leaves_a_sound_where_it_is() -> None:
    click = np.zeros(RATE, np.float32)
    click[8000] = 100
    heard = in_some_room(Sound(click, 1, ((7000, 9000),)), np.random.default_rng(0), dry=0.0)
    assert np.abs(heard.samples).argmax() == 8000
    assert heard.spans == ((7000, 9000),)


def test_variant_keeps_its_label_and_its_spans_in_reach() -> None:
    original = tones()[5]
    changed = varied(original, np.random.default_rng(4))
    assert changed.label == original.label
    assert 0.8 < changed.spans[0][1] / original.spans[0][1] < 1.2
    assert changed.spans[-1][1] <= len(changed.samples)
