"""Real programs for tests: whether they are there, and a free port for them."""

import os
import shutil
import socket

import pytest


def require(program: str) -> str:
    """Path of a system program; without it the test fails in CI and is skipped elsewhere."""
    path = shutil.which(program)
    if path is None:
        tell = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        tell(f"needs the system program {program}")
    return path


def free_port() -> int:
    """A TCP port on loopback that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
