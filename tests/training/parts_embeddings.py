"""Embeddings, and programs that are killed; without torch, which would take longer than most of them."""

import hashlib
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.embeddings import EmbeddingsWriter, Precision


def random_rows(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Rows that any precision stores without loss."""
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float16).astype(np.float32)


def names(count: int) -> list[str]:
    """Ids of clips."""
    return [f"folder/clip{number:04d}.wav" for number in range(count)]


def stored(
    folder: Path, rows: NDArray[np.float32], shard_rows: int = 8, dtype: Precision = "float16"
) -> NDArray[np.float32]:
    """Write a store; gives the rows back."""
    with EmbeddingsWriter(folder, rows.shape[1], dtype, shard_rows) as store:
        store.add(names(len(rows)), [10.0 + i for i in range(len(rows))], rows)
    return rows


def content(folder: Path, *patterns: str) -> dict[str, str]:
    """Checksum of each file that a pattern matches."""
    found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def assert_killed(done: subprocess.CompletedProcess[str]) -> None:
    """The program ended by SIGKILL, and not by a mistake before it."""
    assert done.returncode == -signal.SIGKILL, done.stderr


def blobs(sizes: Sequence[int], dim: int = 16, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Well separated groups of rows, in shuffled order, and the group of each."""
    rng = np.random.default_rng(seed)
    centres = 4 * rng.standard_normal((len(sizes), dim))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = centres[labels] + 0.3 * rng.standard_normal((len(labels), dim))
    return rows.astype(np.float16).astype(np.float32), labels
