from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.training.parts_sources import chirps, clips, noise
from training.errors import AudioFileError, ManifestError
from training.manifest import Entry, Manifest
from training.sounds import RATE, Sound
from training.sources import STEADY_SECONDS, Clips, faster, looped, marked, part_of, repeated

LABELS = ("Chirp", "Rain")


def power(samples: np.ndarray) -> float:
    return float(np.mean(samples.astype(float) ** 2))


def test_clip_is_trimmed_and_marked_where_something_is_heard() -> None:
    sound = marked(chirps(seconds=2.4), 0)
    assert not sound.steady
    assert len(sound.spans) == 3
    assert [(b - a) / RATE for a, b in sound.spans] == pytest.approx([0.2] * 3, abs=0.06)
    assert [a / RATE for a, _ in sound.spans] == pytest.approx([0.0, 0.8, 1.6], abs=0.06)
    assert power(np.concatenate([sound.samples[a:b] for a, b in sound.spans])) == pytest.approx(1, rel=1e-3)


def test_sound_without_pauses_is_steady() -> None:
    sound = marked(noise(3), 1)
    assert sound.steady
    assert sound.spans == ((0, len(sound.samples)),)


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.zeros(RATE, np.float32)])
def test_silence_is_no_sound(samples: np.ndarray) -> None:
    with pytest.raises(AudioFileError, match="silent"):
        marked(samples, 0)


def test_click_of_a_millisecond_is_a_sound() -> None:
    assert len(marked(noise(0.001), 0).samples) == RATE // 100


def test_steady_sound_is_cut_anywhere_to_a_random_length() -> None:
    parts = [part_of(marked(noise(10), 0), np.random.default_rng(seed), 3.0) for seed in range(20)]
    lengths = [len(part.samples) / RATE for part in parts]
    assert 1.4 < min(lengths) < 2 < max(lengths) <= 3.0
    assert all(part.spans == ((0, len(part.samples)),) for part in parts)
    assert abs(parts[0].samples[0]) < 0.05


def test_sound_that_is_heard_all_along_goes_on_for_as_long_as_is_asked() -> None:
    sound = marked(chirps(seconds=2.4), 0)
    longer = repeated(sound, 7.0)
    assert (longer.steady, longer.spans) == (True, ((0, 7 * RATE),))
    assert power(longer.samples) == pytest.approx(1, rel=1e-3)
    n = len(sound.samples)
    np.testing.assert_allclose(longer.samples[n : 2 * n], longer.samples[:n])
    assert len(repeated(longer, 1.0).samples) == 7 * RATE


def test_labels_can_be_heard_all_along_pauses_and_all(tmp_path: Path) -> None:
    sounds = Clips(clips(tmp_path), ("Chirp", "Rain"), steady=frozenset({"Chirp"}))
    drawn = {sound.label: sound for sound in (sounds.draw(np.random.default_rng(seed)) for seed in range(9))}
    assert drawn[0].steady
    assert drawn[0].spans == ((0, round(STEADY_SECONDS * RATE)),)
    assert len(drawn[1].samples) <= 4 * RATE


def test_sound_with_pauses_is_cut_at_an_onset() -> None:
    sound = marked(chirps(seconds=8), 0)
    for seed in range(10):
        part = part_of(sound, np.random.default_rng(seed), 2.0)
        assert len(part.samples) == 2 * RATE
        assert part.spans[0][0] == 0
        assert part.spans[-1][1] <= 2 * RATE
    short = marked(chirps(), 0)
    assert part_of(short, np.random.default_rng(0), 2.0) is short


def pitch(samples: np.ndarray) -> float:
    """Of the strongest tone, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))


@pytest.mark.parametrize("speed", [0.8, 1.25, 2.0])
def test_faster_sound_is_shorter_and_higher_and_heard_where_it_was(speed: float) -> None:
    sound = marked(chirps(seconds=2.4), 0)
    other = faster(sound, speed)
    assert (other.label, other.steady, len(other.spans)) == (0, False, 3)
    assert len(other.samples) == pytest.approx(len(sound.samples) / speed, abs=1)
    np.testing.assert_allclose(other.spans, np.array(sound.spans) / speed, atol=1)
    assert pitch(other.samples) == pytest.approx(speed * pitch(sound.samples), rel=0.01)
    assert pitch(sound.samples) == pytest.approx(900, rel=0.01)
    inside = np.concatenate([other.samples[a:b] for a, b in other.spans])
    assert power(inside) == pytest.approx(1, rel=0.05)
    pauses = np.concatenate([other.samples[b:a] for (_, b), (a, _) in pairwise(other.spans)])
    assert power(pauses) < 1e-3


def test_spans_of_a_faster_sound_stay_within_it() -> None:
    for speed in (0.7, 1.3, 1.9):
        for n in (1000, 1001, 1003):
            other = faster(Sound(np.ones(n, np.float32), 1, ((0, 1), (500, n)), steady=True), speed)
            assert all(0 <= a < b <= len(other.samples) for a, b in other.spans)
            assert other.steady
            assert other.samples.dtype == np.float32
            assert other.spans[-1][1] >= len(other.samples) - 1


def test_background_goes_around_in_a_circle() -> None:
    sound = marked(noise(1), None)
    around = looped(sound, np.random.default_rng(0), 3 * RATE)
    n = len(sound.samples)
    np.testing.assert_array_equal(around.samples[:n], around.samples[n : 2 * n])


def test_labels_are_drawn_alike_whatever_their_clips(tmp_path: Path) -> None:
    manifest = clips(tmp_path)
    more = Manifest(tmp_path, manifest.entries[1:])  # one chirp, two of rain
    source, rng = Clips(more, LABELS), np.random.default_rng(0)
    drawn = [source.draw(rng).label for _ in range(200)]
    assert 80 < drawn.count(0) < 120


def test_clip_that_cannot_be_read_is_left_for_another_and_listed(tmp_path: Path) -> None:
    manifest = clips(tmp_path)
    (tmp_path / "chirp0.wav").write_text("no audio")
    source, rng = Clips(manifest, LABELS, most_skipped=0.25), np.random.default_rng(0)
    assert {source.draw(rng).label for _ in range(30)} == {0, 1}
    (skipped,) = source.not_read()
    assert skipped.id == "chirp0.wav"
    assert "cannot be read as audio" in skipped.reason


def test_too_many_unreadable_clips_end_it(tmp_path: Path) -> None:
    manifest = clips(tmp_path)
    (tmp_path / "chirp0.wav").unlink()
    source, rng = Clips(manifest, LABELS), np.random.default_rng(0)
    with pytest.raises(ManifestError, match=r"1 of 4 clips cannot be read, at most 0 may be; the last is .*chirp0"):
        for _ in range(30):
            source.draw(rng)


def test_pauses_may_belong_to_a_sound(tmp_path: Path) -> None:
    source = Clips(clips(tmp_path).in_folds([0]), LABELS, frozenset({"Chirp"}))
    drawn = {sound.label: sound for sound in (source.draw(np.random.default_rng(seed)) for seed in range(20))}
    assert drawn[0].spans == ((0, len(drawn[0].samples)),)
    assert not drawn[0].steady
    assert power(drawn[0].samples) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(("Chirp",), "rain0.flac: expected one label of Chirp, found Rain"), ((*LABELS, "Siren"), "labelled 'Siren'")],
)
def test_labels_and_clips_must_fit(tmp_path: Path, labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        Clips(clips(tmp_path), labels)


def test_clips_without_any_label_are_told_as_such(tmp_path: Path) -> None:
    bare = Manifest(tmp_path, tuple(Entry(entry.id) for entry in clips(tmp_path).entries))
    with pytest.raises(ManifestError, match="no clip has a label; a CSV names one each in the column 'labels'"):
        Clips(bare, ())


def test_clip_with_two_labels_is_refused(tmp_path: Path) -> None:
    entries = (*clips(tmp_path).entries, Entry("both.wav", LABELS))
    with pytest.raises(ManifestError, match=r"both\.wav: expected one label of Chirp, Rain, found Chirp, Rain"):
        Clips(Manifest(tmp_path, entries), LABELS)
