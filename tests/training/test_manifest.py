import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from tests.training.parts_extract import tone
from training.clips import read_clip
from training.errors import AudioFileError, ManifestError
from training.manifest import Entry, Manifest, Skipped, open_manifest, write_skipped


def ids(manifest: Manifest) -> list[str]:
    return [entry.id for entry in manifest.entries]


def listed(folder: Path, text: str) -> Path:
    path = folder / "list.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_folder_is_walked_and_sorted_and_only_audio_is_taken(tmp_path: Path) -> None:
    for name in ("b/x.FLAC", "a/deep/er/y.wav", "z.ogg", "a/notes.txt", ".hidden/h.wav", "a/.h.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert ids(open_manifest(tmp_path)) == ["a/deep/er/y.wav", "b/x.FLAC", "z.ogg"]


def test_link_that_leads_back_into_its_folder_does_not_make_the_walk_endless(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "again").symlink_to(tmp_path)
    assert ids(open_manifest(tmp_path)) == ["a.wav"]


def test_csv_gives_paths_labels_and_folds(tmp_path: Path) -> None:
    path = listed(tmp_path, "path,labels,fold,other\nb.wav,dog; cat,2,x\nsub/a.wav,,,\n")
    assert open_manifest(path) == Manifest(tmp_path, (Entry("b.wav", ("dog", "cat"), 2), Entry("sub/a.wav")))


def test_csv_with_a_byte_order_mark_and_paths_alone_is_read(tmp_path: Path) -> None:
    assert ids(open_manifest(listed(tmp_path, '\ufeffpath\n"ü, x.wav"\n'))) == ["ü, x.wav"]


def test_absolute_path_below_the_root_becomes_relative(tmp_path: Path) -> None:
    assert ids(open_manifest(listed(tmp_path, f"path\n{tmp_path}/sub/a.wav\n"))) == ["sub/a.wav"]


def test_root_can_be_another_folder_than_that_of_the_csv(tmp_path: Path) -> None:
    manifest = open_manifest(listed(tmp_path, "path\na.wav\n"), tmp_path / "audio")
    assert manifest.path(manifest.entries[0]) == tmp_path / "audio" / "a.wav"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("file\na.wav\n", "expected a column 'path', found file"),
        ("", "expected a column 'path', found none"),
        ("path\n", "names no audio"),
        ("path\na.wav\na.wav\n", r"a\.wav is listed twice"),
        ("path\na.wav\n../b.wav\n", r"line 3: need a plain path relative .* '\.\./b\.wav'"),
        ("path\n/elsewhere/b.wav\n", "line 2: /elsewhere/b.wav is not below .*: name a root above it"),
        ("path,fold\na.wav,first\n", r"list\.csv, line 2: expected a whole number or nothing as fold, found 'first'"),
        ("path,fold\n,1\n", "line 2: need a plain path"),
        ('path\n"a.wav', "not a CSV"),
    ],
)
def test_csv_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ManifestError, match=told):
        open_manifest(listed(tmp_path, text))


def test_csv_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe.wav\n")
    with pytest.raises(ManifestError, match="not a CSV in UTF-8"):
        open_manifest(tmp_path / "list.csv")


def test_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="expected a CSV or a folder of audio"):
        open_manifest(tmp_path / "none.csv")


def test_fingerprint_is_that_of_the_list_wherever_it_lies(tmp_path: Path) -> None:
    entries = (Entry("a.wav", ("dog",), 1), Entry("b.wav"))
    one = Manifest(tmp_path, entries).fingerprint
    assert one == Manifest(tmp_path / "moved", entries).fingerprint
    others = [
        entries[::-1],
        entries[:1],
        (Entry("a.wav", ("cat",), 1), entries[1]),
        (Entry("a.wav", ("dog",), 2), entries[1]),
    ]
    assert len({one, *(Manifest(tmp_path, other).fingerprint for other in others)}) == 5


def test_folds_are_chosen(tmp_path: Path) -> None:
    manifest = open_manifest(listed(tmp_path, "path,fold\na.wav,1\nb.wav,2\nc.wav,3\nd.wav,\n"))
    assert ids(manifest.in_folds([1, 3])) == ["a.wav", "c.wav"]
    with pytest.raises(ManifestError, match="of folds 5, 6 the manifest names no audio; its folds are 1, 2, 3"):
        manifest.in_folds([6, 5])
    with pytest.raises(ManifestError, match="of folds 5 the manifest names no audio; its clips have no folds"):
        Manifest(tmp_path, (Entry("a.wav"),)).in_folds([5])


@pytest.mark.parametrize("name", ["", "/a.wav", "../a.wav", "a/../b.wav", "./a.wav", "a//b.wav"])
def test_id_is_a_plain_relative_path(name: str) -> None:
    with pytest.raises(ValueError, match="plain path"):
        Entry(name)


def test_skipped_clips_are_listed_with_their_reasons(tmp_path: Path) -> None:
    write_skipped(tmp_path / "skipped.csv", [Skipped("a,b.wav", 'said "no"')])
    with (tmp_path / "skipped.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["path", "reason"], ["a,b.wav", 'said "no"']]


@pytest.mark.parametrize("rate", [8_000, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_clip_of_any_rate_and_channels_is_the_same_tone(tmp_path: Path, rate: int, channels: int) -> None:
    tone(tmp_path / "a.wav", 0.5, rate, channels=channels)
    clip = read_clip(tmp_path / "a.wav", 16_000, 1.0)
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)
    assert clip.samples.shape == (16_000,)
    assert clip.samples.dtype == np.float32
    assert clip.duration == pytest.approx(0.5)
    np.testing.assert_allclose(clip.samples[200:7800], expected[200:7800], atol=2e-3)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 800)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack((left, right), axis=1), 8000, subtype="FLOAT")
    np.testing.assert_allclose(read_clip(tmp_path / "a.wav", 8000, 0.1).samples, (left + right) / 2, atol=1e-7)


def test_short_clip_is_padded_with_silence_at_its_end(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 0.5)
    samples = read_clip(tmp_path / "a.wav", 16_000).samples
    assert len(samples) == 160_000
    assert samples[:8000].any()
    assert not samples[8000:].any()


@pytest.mark.parametrize("wanted", [16_000, 32_000])
def test_long_clip_is_cut_to_its_first_seconds_as_if_all_had_been_resampled(tmp_path: Path, wanted: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * 44_100).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, 44_100, subtype="FLOAT")
    clip = read_clip(tmp_path / "a.wav", wanted, 2.0)
    np.testing.assert_allclose(clip.samples, soxr.resample(noise, 44_100, wanted)[: 2 * wanted], atol=1e-5)
    assert clip.duration == 3.0


def test_teacher_and_student_see_the_same_seconds(tmp_path: Path) -> None:
    rate, click = 48_000, 9.5
    samples = np.zeros(12 * rate, np.float32)
    samples[round(click * rate)] = samples[round(10.5 * rate)] = 0.9
    soundfile.write(tmp_path / "a.wav", samples, rate)
    for wanted in (16_000, 32_000):
        heard = np.abs(read_clip(tmp_path / "a.wav", wanted).samples)
        assert heard.argmax() / wanted == pytest.approx(click, abs=1e-4)


def written(path: Path, case: str) -> None:
    """A file that holds no usable audio."""
    bad = np.array([0.0, np.nan, 0.0], np.float32)
    cases: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "text": lambda: path.write_text("no audio"),
        "empty file": lambda: path.write_bytes(b""),
        "no samples": lambda: soundfile.write(path, np.zeros(0), 16_000),
        "nan": lambda: soundfile.write(path, bad, 16_000, subtype="FLOAT"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
    }
    cases[case]()


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("missing", "no such file"),
        ("text", "cannot be read as audio"),
        ("empty file", "cannot be read as audio"),
        ("no samples", "holds no samples"),
        ("nan", "NaN or infinity"),
        ("folder", "no such file"),
        ("pipe", "no such file"),
    ],
)
def test_file_without_usable_audio_is_told(tmp_path: Path, case: str, told: str) -> None:
    written(tmp_path / "a.wav", case)
    with pytest.raises(AudioFileError, match=rf"a\.wav: .*{told}"):
        read_clip(tmp_path / "a.wav", 16_000)
