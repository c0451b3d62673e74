from pathlib import Path

import numpy as np
import pytest

from tests.training.parts_embeddings import random_rows
from training.embeddings import check_embeddings, open_embeddings, rows_of
from training.errors import EmbeddingsError


@pytest.mark.parametrize("shape", [(1, 4), (4,)])
def test_published_layout_is_read_in_both_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = random_rows(3, 4)
    for name, row in zip("cab", rows, strict=True):
        np.savez(tmp_path / f"{name}.npz", embed=row.reshape(shape))
    found = open_embeddings(tmp_path)
    assert list(found.ids) == ["a", "b", "c"]
    np.testing.assert_array_equal(found.rows([2, 0, 1]), rows)
    check_embeddings(found)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"embedding": np.zeros(4)}, "expected the key 'embed'"),
        ({"embed": np.zeros((2, 4))}, r"expected numbers of \[1, dim\] or \[dim\]"),
        ({"embed": np.zeros(5)}, r"b\.npz: row 1 has width 5, a\.npz has 4"),
        ({"embed": np.full(4, np.nan)}, r"b\.npz: row 1 holds NaN.*; extract this clip again, or delete the file"),
    ],
)
def test_published_file_that_cannot_be_used_is_named(
    tmp_path: Path, arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]], told: str
) -> None:
    np.savez(tmp_path / "a.npz", embed=np.zeros(4))
    np.savez(tmp_path / "b.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(EmbeddingsError, match=told):
        check_embeddings(open_embeddings(tmp_path))


def test_published_file_that_is_a_pickle_is_not_executed(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", embed=np.array([object()], object))
    with pytest.raises(EmbeddingsError, match=r"a\.npz"):
        open_embeddings(tmp_path)


def test_published_file_that_is_cut_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(EmbeddingsError, match=r"a\.npz: missing or damaged"):
        open_embeddings(tmp_path)


def test_rows_of_clips_in_the_published_layout_are_found_by_basename(tmp_path: Path) -> None:
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", embed=np.zeros(4))
    found = open_embeddings(tmp_path)
    assert rows_of(found, ["x/b.wav", "y/a.flac"]).tolist() == [1, 0]
    with pytest.raises(EmbeddingsError, match="one basename"):
        rows_of(found, ["x/b.wav", "y/b.wav"])
