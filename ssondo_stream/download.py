"""Published files from the Hugging Face hub, each from one commit that stays the same.

The commit is pinned on first use: the branch is resolved once, at the first download, and noted in the hub's cache
beside the files; whatever is fetched later comes from that commit, whatever the branch has become. That does not prove
that the first download was right, so the checksum of every file is returned and kept in the bundle. To move on, name
a revision, or delete the repository from the cache (`hf cache`).
"""

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssondo_stream.checksum import sha256_of
from ssondo_stream.errors import CheckpointError, DownloadError
from ssondo_stream.published import BRANCH, HEADS, MODELS, REPOSITORY

_PIN = "ssondo-monitor"  # a ref of the cache, so that cleaning the cache keeps what it points to
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file with where it came from.

    Attributes:
        path: on this machine.
        sha256: of its content.
        repository: on the hub; empty for a file that was named by its path.
        revision: commit of that repository; empty likewise.
    """

    path: Path
    sha256: str
    repository: str = ""
    revision: str = ""

    @property
    def provenance(self) -> dict[str, str]:
        """For a bundle's `source`."""
        known = {"repository": self.repository, "revision": self.revision}
        return {"file": self.path.name, "sha256": self.sha256, **{key: value for key, value in known.items() if value}}


def locate(source: str | Path, names: Collection[str], kind: str, revision: str | None = None) -> Fetched:
    """A published file by its name, else a file by its path; names come first, so write `./name` for such a path.

    Args:
        source: name or path.
        names: that are published.
        kind: what it is, for errors.
        revision: see `fetch`.

    Raises:
        CheckpointError: there is no such name, and no such file.
        DownloadError: see `fetch`.
    """
    if str(source) in names:
        return fetch(str(source), revision)
    path = Path(source)
    if not path.is_file():
        raise CheckpointError(f"no {kind} {str(source)!r}: expected a file, or one of {', '.join(names)}")
    return Fetched(path, sha256_of(path))


def fetch(name: str, revision: str | None = None) -> Fetched:
    """A published checkpoint or head from the cache, else from the hub. `HF_HUB_OFFLINE=1` forbids the latter.

    Args:
        name: of a published model or head.
        revision: branch, tag or commit; none means the commit that was pinned on first use, see above.

    Raises:
        DownloadError: the file is not uploaded, not cached and out of reach, or damaged; or huggingface_hub is missing.
        ValueError: there is no such name.
    """
    item = MODELS.get(name) or HEADS.get(name)
    if item is None:
        raise ValueError(f"no published model or head {name!r}: expected one of {', '.join((*MODELS, *HEADS))}")
    path = _download(name, item.file, revision or _pinned() or BRANCH)
    commit, blob = _commit(path), path.resolve().name
    sha256 = sha256_of(path)
    if _SHA256.fullmatch(blob) and blob != sha256:  # the hub names large files by their checksum
        raise DownloadError(f"{path}: sha256 is {sha256}, but the hub says {blob}: delete the file and fetch it again")
    if revision is None:
        _pin(commit)
    return Fetched(path, sha256, REPOSITORY, commit)


def _download(name: str, file: str, revision: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415  # an extra
        from huggingface_hub.errors import (  # type: ignore[attr-defined]  # noqa: PLC0415  # HTTPError is its client's
            HTTPError,
            LocalEntryNotFoundError,
            RemoteEntryNotFoundError,
        )
    except ImportError as error:
        raise DownloadError(
            f"fetching {name} needs huggingface_hub: pip install 'ssondo-monitor[hub]', or name a local file"
        ) from error
    where = f"{file} in {REPOSITORY} at revision {revision}"
    try:
        return Path(hf_hub_download(REPOSITORY, file, revision=revision))
    except RemoteEntryNotFoundError as error:
        raise DownloadError(f"{name}: {_absent(name, where)}") from error
    except LocalEntryNotFoundError as error:
        raise DownloadError(
            f"{name}: {where} is not in the cache, and the hub cannot be reached from here: connect, unset "
            f"HF_HUB_OFFLINE, or fetch the file elsewhere and name its path{_unsure(name)}"
        ) from error
    except (HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(f"{name}: the hub does not give {where}: {reason}") from error


def _absent(name: str, where: str) -> str:
    there = ", ".join(model.name for model in MODELS.values() if model.uploaded)
    return (
        f"there is no {where}. The authors announce files before they upload them; known to be there: {there}. If it "
        f"has been uploaded since, name a newer revision, such as {BRANCH}"
    )


def _unsure(name: str) -> str:
    model = MODELS.get(name)
    return "; the authors have announced it, but may not have uploaded it" if model and not model.uploaded else ""


def _pin_file() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415  # an extra

    return Path(HF_HUB_CACHE) / f"models--{REPOSITORY.replace('/', '--')}" / "refs" / _PIN


def _pinned() -> str | None:
    try:
        commit = _pin_file().read_text(encoding="ascii").strip()
    except (ImportError, OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _pin(commit: str) -> None:
    if _pinned() or not commit:
        return
    with suppress(OSError):  # a cache that cannot be written to stays as it is anyway
        _pin_file().parent.mkdir(parents=True, exist_ok=True)
        _pin_file().write_text(commit, encoding="ascii")


def _commit(path: Path) -> str:
    """The commit that the cache's `…/snapshots/<commit>/<file>` names."""
    parts = path.parts
    after = parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""
    return after if _COMMIT.fullmatch(after) else ""
