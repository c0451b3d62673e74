import json
import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content, names, random_rows, stored
from training.embeddings import EmbeddingsWriter, ShardedEmbeddings, blocks, check_embeddings, open_embeddings, rows_of
from training.errors import EmbeddingsError, StorageError

APPEND = """
import os, signal, sys
from pathlib import Path
from tests.training.parts_embeddings import names, random_rows
from training.embeddings import EmbeddingsWriter

left, rename = int(sys.argv[2]), os.replace

def replace_or_die(*paths):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*paths)

os.replace = os.rename = replace_or_die
Path.replace = lambda self, target: replace_or_die(self, target)
rows = random_rows(20, 4)
with EmbeddingsWriter(Path(sys.argv[1]), 4, "float16", 8) as store:
    for name, row in zip(names(20), rows):
        if name not in store.stored:
            store.add([name], [10.0], row[None])
"""

FILL_DISK = """
import resource, sys
from pathlib import Path
from tests.training.parts_embeddings import random_rows, stored

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
stored(Path(sys.argv[1]), random_rows(20, 4))
stored(Path(sys.argv[2]), random_rows(20, 4096))
"""


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_come_back_in_any_order_over_all_shards(tmp_path: Path, dtype: str) -> None:
    rows = stored(tmp_path, random_rows(20, 4), dtype=dtype)  # type: ignore[arg-type]
    found = open_embeddings(tmp_path)
    wanted = [19, 0, 8, 7, 8, 15, 16]
    np.testing.assert_array_equal(found.rows(wanted), rows[wanted])
    assert len(found) == 20
    assert found.rows([]).shape == (0, 4)


@settings(deadline=None, max_examples=30)  # the disk's time, not ours
@given(wanted=st.lists(st.integers(0, 19), max_size=30), shard_rows=st.integers(1, 25))
def test_rows_are_the_same_however_they_are_cut_into_shards(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[int], shard_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    rows = stored(folder, random_rows(20, 3), shard_rows)
    np.testing.assert_array_equal(ShardedEmbeddings(folder).rows(wanted), rows[wanted])


def test_ids_and_durations_come_back_with_the_rows(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    found = open_embeddings(tmp_path)
    assert list(found.ids) == names(20)
    np.testing.assert_array_equal(found.durations, 10 + np.arange(20))


def test_ids_with_commas_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    odd = ['a,"b".wav', "new\nline.wav", "ä ö.wav"]
    with EmbeddingsWriter(tmp_path, 2) as store:
        store.add(odd, [1.0, 2.0, 3.0], random_rows(3, 2))
    assert list(open_embeddings(tmp_path).ids) == odd


@pytest.mark.parametrize("row", [-1, 20])
def test_row_that_is_not_there_is_refused(tmp_path: Path, row: int) -> None:
    stored(tmp_path, random_rows(20, 4))
    with pytest.raises(IndexError, match=r"\[0, 20\)"):
        open_embeddings(tmp_path).rows([row])


def test_blocks_give_all_rows_in_order(tmp_path: Path) -> None:
    rows = stored(tmp_path, random_rows(20, 4))
    parts = list(blocks(open_embeddings(tmp_path), size=6))
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


@pytest.mark.parametrize("renames", range(9))
def test_writer_killed_before_any_rename_is_resumed_to_the_same_store(tmp_path: Path, renames: int) -> None:
    assert_killed(run_python(APPEND, tmp_path / "killed", renames))
    done = run_python(APPEND, tmp_path / "killed", 1000)
    assert done.returncode == 0, done.stderr
    assert run_python(APPEND, tmp_path / "whole", 1000).returncode == 0
    assert content(tmp_path / "killed", "*") == content(tmp_path / "whole", "*")


def test_what_a_killed_writer_finished_is_readable(tmp_path: Path) -> None:
    assert_killed(run_python(APPEND, tmp_path, 4))
    found = open_embeddings(tmp_path)
    np.testing.assert_array_equal(found.rows(range(8)), random_rows(20, 4)[:8])
    assert len(found) == 8


def test_full_disk_is_told_and_leaves_finished_shards_usable(tmp_path: Path) -> None:
    done = run_python(FILL_DISK, tmp_path / "small", tmp_path / "large")
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    check_embeddings(open_embeddings(tmp_path / "small"))
    assert not list((tmp_path / "large").iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_rows_waiting_for_a_full_shard_are_written_after_an_error(tmp_path: Path) -> None:
    rows = random_rows(3, 4)
    rows[2, 1] = np.nan
    with pytest.raises(EmbeddingsError, match=r"clip0002\.wav is not finite .* the teacher gave NaN or infinity"):
        stored(tmp_path, rows)
    np.testing.assert_array_equal(open_embeddings(tmp_path).rows([0, 1]), rows[:2])


def test_value_beyond_float16_is_refused_and_fits_float32(tmp_path: Path) -> None:
    rows = np.full((1, 4), 70_000, np.float32)
    with pytest.raises(EmbeddingsError, match="not finite as float16: extract with --dtype float32"):
        stored(tmp_path / "half", rows)
    stored(tmp_path / "single", rows, dtype="float32")
    np.testing.assert_array_equal(open_embeddings(tmp_path / "single").rows([0]), rows)


@pytest.mark.parametrize(("dim", "dtype"), [(5, "float16"), (4, "float32")])
def test_writer_refuses_a_store_of_another_width_or_type(tmp_path: Path, dim: int, dtype: str) -> None:
    stored(tmp_path, random_rows(20, 4))
    with pytest.raises(EmbeddingsError, match=f"holds float16 of width 4, to come are {dtype} of width {dim}"):
        EmbeddingsWriter(tmp_path, dim, dtype)  # type: ignore[arg-type]


def test_writer_refuses_rows_of_another_width(tmp_path: Path) -> None:
    with (
        EmbeddingsWriter(tmp_path, 4) as store,
        pytest.raises(EmbeddingsError, match=r"expected embeddings of \[2, 4\], got \[2, 5\]"),
    ):
        store.add(names(2), [1.0, 1.0], random_rows(2, 5))


def test_writer_refuses_a_name_that_is_stored(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    with EmbeddingsWriter(tmp_path, 4) as store, pytest.raises(ValueError, match="stored already"):
        store.add(names(1), [1.0], random_rows(1, 4))


def test_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        EmbeddingsWriter(tmp_path / "file" / "store", 4)


def test_missing_shard_is_named(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    (tmp_path / "shard-00001.npy").unlink()
    with pytest.raises(EmbeddingsError, match=r"shard-00001\.npy: missing"):
        open_embeddings(tmp_path)


def test_cut_shard_is_named(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    path = tmp_path / "shard-00001.npy"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(EmbeddingsError, match=r"shard-00001\.npy: damaged"):
        open_embeddings(tmp_path)


def test_shard_of_another_width_is_named(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    np.save(tmp_path / "shard-00001.npy", np.zeros((8, 5), np.float16))
    with pytest.raises(EmbeddingsError, match=r"00001\.npy: expected float16 \[8, 4\], found float16 \[8, 5\]"):
        open_embeddings(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_row_that_is_not_finite_is_named_with_file_row_and_clip(tmp_path: Path, value: float) -> None:
    rows = stored(tmp_path, random_rows(20, 4)).astype(np.float16)[8:16]
    rows[3, 2] = value
    np.save(tmp_path / "shard-00001.npy", rows)
    with pytest.raises(EmbeddingsError, match=r"shard-00001\.npy: row 3 \(folder/clip0011\.wav\).*extract again"):
        open_embeddings(tmp_path).rows([1, 11])


def test_altered_shard_fails_the_check(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    np.save(tmp_path / "shard-00001.npy", np.zeros((8, 4), np.float16))
    with pytest.raises(EmbeddingsError, match="altered"):
        check_embeddings(open_embeddings(tmp_path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "damaged"),
        ('{"format": 9}', "format 9, this version reads 1"),
        ('{"format": 1, "dim": 4}', "'shards'"),
        ('{"format": 1, "dim": 4, "dtype": "float64", "shards": []}', "float16 or float32"),
    ],
)
def test_damaged_index_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(EmbeddingsError, match=told):
        open_embeddings(tmp_path)


def test_table_with_a_row_too_few_is_named(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    path = tmp_path / "shard-00002.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(EmbeddingsError, match=r"shard-00002\.csv: expected 4 rows, found 3"):
        open_embeddings(tmp_path)


def test_fingerprint_changes_with_the_rows_alone(tmp_path: Path) -> None:
    stored(tmp_path / "a", random_rows(20, 4))
    stored(tmp_path / "b", random_rows(20, 4))
    stored(tmp_path / "c", random_rows(20, 4, seed=1))
    a, b, c = (open_embeddings(tmp_path / name).fingerprint for name in "abc")
    assert a == b != c


def test_index_holds_no_absolute_path(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    for path in (*tmp_path.glob("*.json"), *tmp_path.glob("*.csv")):
        assert str(tmp_path) not in path.read_text()
    assert json.loads((tmp_path / "index.json").read_text())["dim"] == 4


@pytest.mark.parametrize(("name", "told"), [("nothing", "found none"), ("file", "found a file"), (".", "found none")])
def test_path_without_embeddings_is_told(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddingsError, match=told):
        open_embeddings(tmp_path / name)


def test_rows_of_clips_are_found_by_id(tmp_path: Path) -> None:
    stored(tmp_path, random_rows(20, 4))
    found = open_embeddings(tmp_path)
    assert rows_of(found, [names(20)[7], names(20)[2]]).tolist() == [7, 2]
    with pytest.raises(EmbeddingsError, match=r"1 of 2 clips have no embedding; the first is other\.wav"):
        rows_of(found, [names(20)[7], "other.wav"])
    assert rows_of(found, [names(20)[7], "other.wav"], skip_missing=True).tolist() == [7]
