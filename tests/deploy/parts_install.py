"""The installer, run into a folder: with the real pip on what the tests' environment has, or with a quick stand-in."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.parts import PATIENCE, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

PYTHON = """#!/bin/sh
# Stands in for Python: a virtual environment in no time, empty or like another
case "$*" in
    "-m venv "*)
        if [ -n "${LIKE:-}" ]; then cp -a "$LIKE" "$3" && rm -r "$3/share"; fi
        mkdir -p "$3/bin" "$3/lib/python3.11/site-packages/ssondo_stream/bundles/default"
        [ -e "$3/bin/ssondo-monitor" ] || echo '#!/bin/sh' >"$3/bin/ssondo-monitor"
        echo '#!/bin/sh' >"$3/bin/pip"
        chmod +x "$3/bin/pip" "$3/bin/ssondo-monitor"
        ;;
esac
"""


def offline() -> dict[str, str]:
    """Variables by which pip builds and installs without a registry, on the libraries that are here."""
    return {
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # as pip reads it: 0 is without
        "PIP_CONFIG_FILE": os.devnull,
    }


@dataclass
class Machine:
    """A folder that stands for a machine's root."""

    root: Path
    python: str = sys.executable

    def install(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        """Run the installer to its end; sound is no matter unless a test makes it one."""
        return self.run("install.sh", "--no-sound", *arguments, **environ)

    def uninstall(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("uninstall.sh", *arguments)

    def run(self, script: str, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(DEPLOY / script), "--root", str(self.root), *arguments],
            env={**self.environ(), **environ},
            capture_output=True,
            text=True,
            timeout=PATIENCE * 300,
            check=False,
        )

    def environ(self) -> dict[str, str]:
        """What every run gets: ports that are free, and the interpreter to use."""
        ports = {"SSONDO_HTTP__PORT": str(free_port()), "SSONDO_MQTT__EMBEDDED_PORT": str(free_port())}
        return {"PATH": PATH, "HOME": str(self.root), "PYTHON": self.python, **ports}

    @property
    def home(self) -> Path:
        return self.root / "opt/ssondo-monitor"

    @property
    def settings(self) -> Path:
        return self.root / "etc/ssondo-monitor"

    @property
    def current(self) -> str:
        """Name of the release in use; empty where there is none."""
        link = self.home / "current"
        return link.readlink().name if link.is_symlink() else ""

    def files(self) -> set[str]:
        """Every file and link there is."""
        found = (path for path in self.root.rglob("*") if path.is_symlink() or not path.is_dir())
        return {path.relative_to(self.root).as_posix() for path in found}


def quick(folder: Path, root: Path | None = None) -> Machine:
    """A machine whose Python is the stand-in; everything else is real."""
    program = folder / "python-stand-in"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(PYTHON)
    program.chmod(0o755)
    return Machine(root or folder / "root", str(program))


def shadow(folder: Path, names: Mapping[str, str]) -> str:
    """A PATH on which these programs come first: shell scripts, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in names.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{PATH}"
