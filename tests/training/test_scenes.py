import numpy as np

from training.scenes import Scene
from training.sounds import RATE, Sound

BEEP = Sound(np.ones(RATE // 2, np.float32), 3, ((0, RATE // 2),))


def empty() -> Scene:
    return Scene(np.zeros(10 * RATE, np.float32))


def test_sound_is_mixed_in_where_its_annotation_says() -> None:
    scene = empty()
    scene.add(BEEP, 50_000, 0.5)
    (event,) = scene.heard
    assert (event.label, event.start, event.stop) == (3, 50_000, 50_000 + RATE // 2)
    assert np.flatnonzero(scene.samples)[[0, -1]].tolist() == [event.start, event.stop - 1]
    assert scene.samples.max() == 0.5


def test_sound_at_the_edge_is_cut_and_a_silent_part_is_not_annotated() -> None:
    scene = empty()
    scene.add(BEEP, 100 - RATE // 2, 1.0)
    scene.add(Sound(np.zeros(500, np.float32), 4, ((0, 500),)), 1000, 1.0)
    assert [event.label for event in scene.heard] == [3]
    assert np.count_nonzero(scene.samples) == 100


def test_level_is_that_of_the_loudest_sample_and_silence_stays_silent() -> None:
    scene = empty()
    scene.scale_to(-6)
    assert not scene.samples.any()
    scene.add(BEEP, 0, -0.1)
    scene.scale_to(-20)
    assert np.abs(scene.samples).max() == np.float32(0.1)


def test_part_has_the_samples_from_there_on_and_what_is_heard_in_them() -> None:
    scene = empty()
    for start in (0, RATE, 3 * RATE):
        scene.add(BEEP, start, 1.0)
    part = scene.part(RATE // 4, RATE)
    assert [(event.start, event.stop) for event in part.heard] == [(0, RATE // 4), (3 * RATE // 4, RATE)]
    assert len(part.samples) == RATE
    np.testing.assert_array_equal(part.samples, scene.samples[RATE // 4 : RATE // 4 + RATE])
