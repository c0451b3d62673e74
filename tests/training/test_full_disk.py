"""A disk that is full: it is told, what was finished stays, and the next run completes it. `extract` has its own."""

from pathlib import Path

import pytest

from tests.parts_forked import run_python
from tests.training.parts_embeddings import blobs, content, stored
from tests.training.test_cluster import LEVELS, PREPARED
from tests.training.test_soundscapes import PATTERNS, SETTINGS, materials
from training.cluster import cluster
from training.embeddings import open_embeddings
from training.soundscapes import write_soundscapes

FILL_DISK = """
import resource, sys
from pathlib import Path

left, rename = int(sys.argv[2]), Path.replace

def replace_and_fill(self, target):
    global left
    left -= 1
    if left == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    return rename(self, target)

Path.replace = replace_and_fill
folder = Path(sys.argv[1])
"""
WRITE = """
from tests.training.test_soundscapes import SETTINGS, materials
from training.soundscapes import write_soundscapes

write_soundscapes(folder / "out", materials(folder), SETTINGS, progress=False)
"""
CLUSTER = """
from tests.training.test_cluster import LEVELS, PREPARED
from training.cluster import cluster
from training.embeddings import open_embeddings

settings = LEVELS if sys.argv[3] == "levels" else PREPARED
cluster(open_embeddings(folder / "store"), range(100), folder / "out", settings, range(100, 120))
"""
COMPARED = ("*.npy", "*.npz", "*.csv", "*.json", "*.png")


@pytest.mark.parametrize("files", [1, 2, 3, 4])
def test_soundscapes_go_on_after_a_full_disk(tmp_path: Path, files: int) -> None:
    given, out = materials(tmp_path), tmp_path / "out"
    done = run_python(FILL_DISK + WRITE, tmp_path, files)
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    before = content(out, *PATTERNS)
    assert len(before) == files
    for name in ("out", "whole"):
        write_soundscapes(tmp_path / name, given, SETTINGS, progress=False)
    assert before.items() <= content(out, *PATTERNS).items()
    assert content(out, *PATTERNS) == content(tmp_path / "whole", *PATTERNS)


@pytest.mark.parametrize(("kind", "files"), [("levels", 1), ("levels", 4), ("prepared", 2), ("prepared", 6)])
def test_clusters_go_on_after_a_full_disk(tmp_path: Path, kind: str, files: int) -> None:
    rows, _ = blobs([50, 40, 20, 6, 4])
    stored(tmp_path / "store", rows)
    done = run_python(FILL_DISK + CLUSTER, tmp_path, files, kind)
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    settings, before = LEVELS if kind == "levels" else PREPARED, content(tmp_path / "out", *COMPARED)
    for name in ("out", "whole"):
        cluster(open_embeddings(tmp_path / "store"), range(100), tmp_path / name, settings, range(100, 120))
    assert before.items() <= content(tmp_path / "out", *COMPARED).items()
    assert content(tmp_path / "out", *COMPARED) == content(tmp_path / "whole", *COMPARED)
