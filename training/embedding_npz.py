"""Embeddings as the published extraction leaves them: a folder with a `.npz` of one clip each.

Users have such folders from the released code, and need not compute them again.
"""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.embedding_store import not_finite, row_numbers
from training.errors import EmbeddingsError

KEY = "embed"


class NpzEmbeddings:
    """Rows from `<basename>.npz` files, key `embed`, of (1, dim) or (dim,); in order of their names.

    Attributes:
        folder: of the files.
        ids: the basenames, without suffix.
        durations: [rows] NaN, for the layout states none.
        dim: width of an embedding, of the first file.
        fingerprint: changes with the names and sizes of the files.
    """

    def __init__(self, folder: Path) -> None:
        """List a folder.

        Raises:
            EmbeddingsError: it holds no such file, or the first is damaged.
        """
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise EmbeddingsError(f"{folder}: expected files named <clip>.npz with the key {KEY!r}, found none")
        self.folder = folder
        self.ids = tuple(file.stem for file in files)
        self.durations = np.full(len(files), np.nan, np.float32)
        self.dim = len(_embedding(files[0]))
        told = "\n".join(f"{file.name} {file.stat().st_size}" for file in files)
        self.fingerprint = hashlib.sha256(f"{self.dim}\n{told}".encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, index: ArrayLike) -> NDArray[np.float32]:
        """Rows in the order asked for, [n, dim].

        Raises:
            EmbeddingsError: a file is damaged, of another width, or not finite.
        """
        wanted = row_numbers(index, len(self))
        out = np.empty((len(wanted), self.dim), np.float32)
        for place, row in enumerate(wanted):
            path = self.folder / f"{self.ids[row]}.npz"
            found = _embedding(path)
            if len(found) != self.dim:
                raise EmbeddingsError(f"{path}: row {row} has width {len(found)}, {self.ids[0]}.npz has {self.dim}")
            out[place] = found
        if bad := not_finite(out):
            row = int(wanted[bad[0]])
            raise EmbeddingsError(
                f"{self.folder / self.ids[row]}.npz: row {row} holds NaN or infinity; extract this clip again, or "
                "delete the file to leave it out"
            )
        return out

    def verify(self) -> None:
        """Nothing to compare with: this layout has no checksums."""


def _embedding(path: Path) -> NDArray[np.float32]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = np.asarray(arrays[KEY])
    except KeyError as error:
        raise EmbeddingsError(f"{path}: expected the key {KEY!r}") from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise EmbeddingsError(f"{path}: missing or damaged, {error}") from error
    flat = found[0] if found.ndim == 2 and len(found) == 1 else found
    if flat.ndim != 1 or not len(flat) or not np.issubdtype(flat.dtype, np.floating):
        told = f"{found.dtype} {list(found.shape)}"
        raise EmbeddingsError(f"{path}: expected numbers of [1, dim] or [dim] at {KEY!r}, found {told}")
    return flat.astype(np.float32)
