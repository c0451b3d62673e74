"""Embeddings in which labels can be told apart, more or less."""

import numpy as np

from training.probe_data import ProbeData

LABELS = ("bark", "rain", "siren")


def clips(count: int = 90, dim: int = 8, *, noise: float = 0.5, folds: int = 3, seed: int = 0) -> ProbeData:
    """One label a clip, shown by the first dimensions; far from standardised."""
    rng = np.random.default_rng(seed)
    label = rng.integers(len(LABELS), size=count)
    rows = noise * rng.standard_normal((count, dim))
    rows[np.arange(count), label] += 1
    rows = rows * np.geomspace(1e-2, 1e2, dim) + np.linspace(-1, 1, dim)
    return ProbeData(rows.astype(np.float32), np.eye(3, dtype=bool)[label], np.arange(count) % folds + 1, LABELS)


def several(count: int = 120, *, noise: float = 0.5, seed: int = 0) -> ProbeData:
    """Any number of labels a clip."""
    rng = np.random.default_rng(seed)
    targets = rng.random((count, 3)) < 0.4
    rows = np.hstack((targets, np.zeros((count, 3)))) + noise * rng.standard_normal((count, 6))
    return ProbeData(rows.astype(np.float32), targets, np.arange(count) % 3 + 1, LABELS)
