"""Memory of clustering embeddings of a size that would not fit: python -m tests.bench.cluster."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.bench.rows import Row, table
from training.cluster import ClusterSettings, cluster
from training.embeddings import EmbeddingsWriter, open_embeddings
from training.kmeans import FitSettings

ROWS, DIM, GROUPS = 200_000, 3840, 50
PASSES = 2
_SHARD = 2048


def cluster_memory(folder: Path, rows: int = ROWS, dim: int = DIM, passes: int = PASSES) -> list[Row]:
    """Cluster generated embeddings in a process of its own, as the step does, figures and plot included."""
    store = folder / "store"
    generate(store, rows, dim)
    command = [sys.executable, "-m", "tests.bench.cluster", str(store), str(folder / "out"), str(passes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    note = f"peak RSS; {passes} passes, {GROUPS} clusters, one thread, {found['seconds']:.0f} s"
    return [Row(f"memory of clustering {rows} x {dim} float16", found["peak_bytes"] / 1e9, "GB", 2, note=note)]


def generate(store: Path, rows: int, dim: int) -> None:
    """Noisy groups of very different sizes, a shard at a time."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((GROUPS, dim), np.float32)
    shares = 1 / np.arange(1, GROUPS + 1)
    with EmbeddingsWriter(store, dim, "float16", _SHARD) as writer:
        for start in range(len(writer.stored), rows, _SHARD):
            groups = rng.choice(GROUPS, min(_SHARD, rows - start), p=shares / shares.sum())
            block = centres[groups] + rng.standard_normal((len(groups), dim), np.float32)
            writer.add([f"{i:07d}.wav" for i in range(start, start + len(groups))], [10.0] * len(groups), block)


def measure(store: Path, out: Path, passes: int) -> dict[str, float]:
    """Cluster in this process; peak memory in bytes and seconds."""
    begun = time.perf_counter()
    embeddings = open_embeddings(store)
    settings = ClusterSettings(GROUPS, fit=FitSettings(passes=passes), progress=False)
    cluster(embeddings, np.arange(len(embeddings)), out, settings)
    return {"peak_bytes": peak_bytes(), "seconds": time.perf_counter() - begun}


def peak_bytes() -> float:
    """The most memory that this process has had; not `ru_maxrss`, which begins at what its parent had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise OSError("/proc/self/status tells no VmHWM")


def main() -> int:
    """Without arguments the whole measurement; with them its inner part, told as JSON."""
    if len(sys.argv) > 1:
        found = measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
        sys.stdout.write(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory() as name:
        rows = cluster_memory(Path(name))
    sys.stdout.write(table(rows) + "\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
