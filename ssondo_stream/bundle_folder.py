"""Writes a bundle's folder as a whole, so that it is the old one or the new one, and never some of each.

The new files are made in a folder beside it, which then takes its place. That takes two renames: a process that dies
between them leaves the old bundle aside, and the next that writes there puts it back first.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ssondo_stream.errors import BundleError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make these the files of a folder, instead of all that it holds.

    Raises:
        BundleError: it cannot be written, or another process is writing it; what was there before is there still.
    """
    folder = folder.resolve()
    work = folder.with_name(f".{folder.name}.writing")
    try:
        with _alone(work):
            _replace(folder, files, work)
    except OSError as error:
        raise _told(folder, error) from error


@contextmanager
def trial_folder(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder of these files for as long as they are tried.

    Raises:
        BundleError: it cannot be written.
    """
    try:
        made = tempfile.TemporaryDirectory()
    except OSError as error:
        raise BundleError(f"no folder to try a bundle in ({error}); make room, or name a place as TMPDIR") from error
    with made as name:
        replace_folder(Path(name) / "trial", files)
        yield Path(name) / "trial"


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """A folder to work in that no other process works in; one that dies lets go of it."""
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (work.exists() and os.path.samestat(os.fstat(handle), work.stat())):
            raise BlockingIOError  # it was another's, who has just deleted it
        yield
    finally:
        os.close(handle)


def _replace(folder: Path, files: Mapping[str, bytes], work: Path) -> None:
    new, old = work / "new", work / "old"
    _put_back(folder, old)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        _write(new, files)
        if _holds_something(folder):
            folder.replace(old)
        new.replace(folder)
        _sync(folder.parent)
    finally:
        _put_back(folder, old)
        shutil.rmtree(work, ignore_errors=True)


def _put_back(folder: Path, old: Path) -> None:
    if old.exists() and not _holds_something(folder):
        old.replace(folder)


def _holds_something(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, data in files.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    """Make what was done in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _told(folder: Path, error: OSError) -> BundleError:
    if isinstance(error, BlockingIOError):
        return BundleError(f"{folder}: another run is writing here; wait for it, or name another folder")
    if error.errno in _NO_ROOM:
        return BundleError(
            f"{folder}: no room left to write the bundle ({error.strerror}); what was there before stays usable: make "
            "room and run the same command again"
        )
    return BundleError(
        f"{folder}: could not be written ({error.strerror}); a bundle is made beside its folder and takes its place, "
        "so what the folder is in must be writable, and the folder no mount point"
    )
