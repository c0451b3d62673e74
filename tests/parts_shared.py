"""Data beside the checkout."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def shared(name: str) -> Path:
    """A path under `../shared`; without it the test fails in CI and is skipped elsewhere."""
    path = SHARED / name
    if not path.exists():
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"needs {path}")
    return path


def seeded() -> ModuleType:
    """The program beside the golden files that rebuilds their weights."""
    path = shared("golden/seeded.py")
    spec = importlib.util.spec_from_file_location("seeded", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
