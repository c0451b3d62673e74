import numpy as np
import pytest

from tests.parts import require
from training.negatives import BACKGROUND, FOREGROUND, UNHEARD_VOICES, VOICES, Maker, speech
from training.sounds import RATE


@pytest.mark.parametrize("name", [*FOREGROUND, *BACKGROUND])
def test_negative_carries_no_label_and_is_heard(name: str) -> None:
    require("espeak-ng")
    maker: Maker = {**FOREGROUND, **BACKGROUND}[name]
    for seed in range(3):
        sound = maker(np.random.default_rng(seed))
        assert sound.label is None
        assert len(sound.samples) > RATE // 50
        assert sound.spans[-1][1] <= len(sound.samples)
        assert np.isfinite(sound.samples).all()


def test_voices_to_measure_with_are_not_trained_on() -> None:
    require("espeak-ng")
    assert not set(VOICES) & set(UNHEARD_VOICES)
    for voice in UNHEARD_VOICES:
        assert len(speech(np.random.default_rng(0), (voice,)).samples) > RATE // 2
