import json
from pathlib import Path

import numpy as np
import pytest

from training.errors import SettingsError, StorageError
from training.files import locked, remember, write_array, write_file, write_json


def test_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(StorageError, match="could not be written"):
        write_file(path, lambda _: (tmp_path / "missing").read_bytes())
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.float16).reshape(2, 3), np.zeros((0, 4), np.float32)])
def test_array_is_read_back_by_numpy(tmp_path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.float16]]) -> None:
    write_array(tmp_path / "a.npy", array)
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype


def test_settings_are_kept_and_the_same_ones_accepted(tmp_path: Path) -> None:
    for _ in range(2):
        remember(tmp_path / "settings.json", {"sizes": (1, 2), "name": "a"})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"sizes": [1, 2], "name": "a"}


@pytest.mark.parametrize(
    ("other", "told"),
    [({"a": 2}, "a: it has 1, asked is 2"), ({"a": 1, "b": 3}, "b: it has None, asked is 3"), ({}, "asked is None")],
)
def test_other_settings_are_refused_by_their_names(tmp_path: Path, other: dict[str, object], told: str) -> None:
    remember(tmp_path / "settings.json", {"a": 1})
    with pytest.raises(SettingsError, match=told):
        remember(tmp_path / "settings.json", other)


@pytest.mark.parametrize(("text", "told"), [("{", "not JSON"), ("[]", "expected an object of settings, found list")])
def test_damaged_settings_are_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(SettingsError, match=told):
        remember(tmp_path / "settings.json", {"a": 1})


def test_lock_is_let_go_of_at_the_end(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StorageError, match="another run"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_lock_of_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"), locked(tmp_path / "none"):
        pass
