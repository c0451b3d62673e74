"""Which bundle a sensor hears by: a shelf of bundles, where the link `current` leads to the one in use.

A bundle is checked, copied whole beside the others, and only then does one rename change what `current` is; so it
always leads to a complete bundle, whenever the machine loses power.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from monitor.errors import ShelfError
from ssondo_stream.bundle import SPEC_FILE, StudentSpec, load_spec, slugify
from ssondo_stream.checksum import sha256_of
from ssondo_stream.errors import BundleError

SHELF = Path("/opt/ssondo-monitor/bundles")
"""Where the installed service has it."""

Check = Callable[[Path], None]
"""Raises where this sensor could not hear by the bundle in a folder."""

_CURRENT, _PREVIOUS = "current", "previous"
_DRAFT = ".draft-"


class Shelf:
    """The bundle that a sensor hears by, and the one before. All state is on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def use(self, bundle: Path, check: Check) -> StudentSpec:
        """Hear by a copy of this bundle from the next start on.

        Raises:
            BundleError: the bundle is incomplete or altered.
            ShelfError: the shelf cannot be written.
            whatever `check` raises; then nothing has changed.
        """
        spec = load_spec(bundle)
        check(bundle)
        with self._errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            name = self._copy(bundle, spec)
            before = self._target(_CURRENT)
            if before not in (None, name):
                self._point(_PREVIOUS, str(before))
            self._point(_CURRENT, name)
            self._forget_others()
        return spec

    def roll_back(self, check: Check) -> StudentSpec:
        """Hear by the bundle before from the next start on.

        Raises:
            BundleError: it is incomplete or altered.
            ShelfError: there is none, or the shelf cannot be written.
            whatever `check` raises; then nothing has changed.
        """
        before = self._target(_PREVIOUS)
        if before is None or before == self._target(_CURRENT):
            raise ShelfError(f"{self.folder}: there is no bundle before the one in use")
        spec = load_spec(self.folder / before)
        check(self.folder / before)
        with self._errors():
            self._point(_CURRENT, before)
        return spec

    def _copy(self, bundle: Path, spec: StudentSpec) -> str:
        """A complete copy on the shelf, on disk; returns its name."""
        name = f"{slugify(spec.name)}-{sha256_of(bundle / SPEC_FILE)[:12]}"
        with suppress(BundleError):
            load_spec(self.folder / name)
            return name
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.folder))
        shutil.copytree(bundle, draft, copy_function=shutil.copyfile, dirs_exist_ok=True)
        load_spec(draft)
        for path in [*draft.rglob("*"), draft]:
            path.chmod(0o755 if path.is_dir() else 0o644)  # the service is another user
            _sync(path)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        draft.rename(self.folder / name)
        return name

    def _target(self, link: str) -> str | None:
        try:
            return str((self.folder / link).readlink())
        except OSError:
            return None

    def _point(self, link: str, target: str) -> None:
        draft = self.folder / f"{_DRAFT}{link}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        draft.replace(self.folder / link)
        _sync(self.folder)

    def _forget_others(self) -> None:
        kept = {self._target(_CURRENT), self._target(_PREVIOUS)}
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name not in kept:
                shutil.rmtree(path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ShelfError(f"{self.folder}: {error.strerror or error}; what was in use still is") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
