"""Files that are whole or absent, and settings that an output folder remembers.

A step may be killed at any moment, so whatever it leaves under its final name must be complete.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.errors import SettingsError, StorageError

TEMPORARY = ".tmp"  # suffix of what is not finished
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that it is there completely or not at all, even after a power cut.

    Args:
        path: its final name; an older file of that name is replaced in one step.
        write: writes the content into the open file.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    unfinished = path.with_name(path.name + TEMPORARY)
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise _told(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as `write_file` does."""
    write_file(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: object) -> None:
    """Write JSON as `write_file` does, readable and with keys in their given order."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write a `.npy` as `write_file` does; numpy's own writer would not say what is wrong with the disk."""
    rows = np.ascontiguousarray(array)

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.data)

    write_file(path, write)


def make_folder(path: Path) -> None:
    """Create a folder and its parents.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _told(path, error) from error


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes that lock this folder out of it; a process that dies lets go of it.

    Args:
        folder: that is worked in.
        wait: for another one that is at work there, instead of refusing.

    Raises:
        StorageError: another one is at work there, or the folder is missing.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _told(folder, error) from error
    try:
        _lock(folder, handle, wait)
        yield
    finally:
        os.close(handle)


def discard(paths: Iterable[Path]) -> None:
    """Delete what an interrupted run left behind."""
    for path in paths:
        path.unlink(missing_ok=True)


def remember(path: Path, resolved: Mapping[str, object]) -> None:
    """Save a step's resolved settings beside its output, or refuse if it was begun with others.

    Args:
        path: the JSON file.
        resolved: everything that the output depends on; JSON values only.

    Raises:
        SettingsError: the file holds other values; the message names each.
    """
    refuse_other(path, resolved)
    if not path.exists():
        write_json(path, resolved)


def refuse_other(path: Path, resolved: Mapping[str, object]) -> None:
    """Refuse settings as `remember` does, and write nothing; any will do where the file is missing.

    Raises:
        SettingsError: the file holds other values; the message names each.
    """
    if not path.exists():
        return
    wanted = json.loads(json.dumps(resolved))
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON ({error}); name another output folder") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: expected an object of settings, found {type(found).__name__}")
    other = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
    if other:
        told = "; ".join(f"{key}: it has {found.get(key)!r}, asked is {wanted.get(key)!r}" for key in other)
        raise SettingsError(f"{path}: this output was begun with other settings: {told}; name another output folder")


def _lock(folder: Path, handle: int, wait: bool) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(f"{folder}: another run is writing here; wait for it, or name another folder") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(path: Path, error: OSError) -> StorageError:
    if error.errno in _NO_ROOM:
        return StorageError(
            f"{path}: no room left to write it ({error.strerror}); what was finished before stays usable: "
            "make room and run the same command again"
        )
    return StorageError(f"{path}: could not be written ({error.strerror})")
