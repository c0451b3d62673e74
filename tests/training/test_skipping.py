from pathlib import Path

import pytest

from training.errors import ManifestError
from training.manifest import Skipped
from training.skipping import SKIPPED_FILE, Skipping


def some(count: int) -> list[Skipped]:
    return [Skipped(f"{number}.wav", "no audio") for number in range(count)]


def test_share_of_each_kind_may_be_left_out(tmp_path: Path) -> None:
    skipping = Skipping(0.1, tmp_path / SKIPPED_FILE)
    skipping.add("clips", 20, *some(2))
    skipping.add("recordings", 10)
    skipping.add("recordings", 10, Skipped("a.wav", "empty"))
    assert (skipping.count("clips"), skipping.count("recordings"), skipping.count("hats")) == (2, 1, 0)
    assert not (tmp_path / SKIPPED_FILE).exists()
    skipping.write()
    lines = (tmp_path / SKIPPED_FILE).read_text().splitlines()
    assert lines == ["path,reason", "0.wav,no audio", "1.wav,no audio", "a.wav,empty"]


def test_more_is_an_error_that_lists_them(tmp_path: Path) -> None:
    skipping = Skipping(0.1, tmp_path / "out" / SKIPPED_FILE)
    said = r"3 of 20 clips cannot be used, and 10\.00% of them may be skipped; .*skipped\.csv .*; the last: 2\.wav: no"
    with pytest.raises(ManifestError, match=said):
        skipping.add("clips", 20, *some(3))
    assert len((tmp_path / "out" / SKIPPED_FILE).read_text().splitlines()) == 4


def test_something_must_be_left() -> None:
    with pytest.raises(ManifestError, match="2 of 2 clips"):
        Skipping(1.0).add("clips", 2, *some(2))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="need a share of 0 to 1"):
        Skipping(share)
