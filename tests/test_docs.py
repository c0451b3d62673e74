"""The pages of the library's interface."""

import shutil
import subprocess
from pathlib import Path

from tests.parts import PATIENCE

ROOT = Path(__file__).parents[1]


def test_pages_are_made_and_say_what_is_needed(tmp_path: Path) -> None:
    """From a copy, for the pages go into the folder of the build."""
    for name in ("Makefile", "ssondo_stream"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "setup.sh").write_text("#!/bin/sh\n")
    (tmp_path / "deploy" / "setup.sh").chmod(0o755)
    done = subprocess.run(
        ["make", "docs"], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=PATIENCE * 300
    )
    assert "Warn" not in done.stderr
    page = (tmp_path / "build" / "api" / "ssondo_stream" / "hub.html").read_text(encoding="utf-8")
    for needed in ("get_ssondo", "Arguments:", "Raises:", "CheckpointError"):
        assert needed in page
