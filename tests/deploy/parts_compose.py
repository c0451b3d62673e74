"""The containers of compose.yaml without an engine: their files laid out under a folder, their commands run from there.

Each container's `/` is a folder of ours. What is mounted is linked into it; configuration files are copied, with paths,
ports and names of neighbours replaced. Processes run as the user that compose.yaml names.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.parts import PATIENCE

ROOT = Path(__file__).parents[2]
OURS = 10001
_CONFIGURATION = {".conf", ".toml", ".yml", ".yaml"}


def as_user() -> dict[str, Any]:
    """For `Popen`: the user of the containers where we may become another, else ourselves."""
    return {"user": OURS, "group": OURS, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def compose(file: Path) -> dict[str, Any]:
    """compose.yaml, read, with anchors and merges resolved."""
    return dict(yaml.safe_load(file.read_text()))


def checkout(folder: Path) -> Path:
    """A copy of `deploy`, in which secrets were made as the documents say; returns compose.yaml in it."""
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("__pycache__", "site", ".env"))
    container = folder / "deploy" / "container"
    subprocess.run([container / "secrets.sh"], check=True, capture_output=True, timeout=PATIENCE * 120, cwd="/")
    return container / "compose.yaml"


@dataclass
class Container:
    """One service of compose.yaml, laid out under `root`.

    Attributes:
        file: compose.yaml.
        name: of the service.
        root: folder that stands for the container's `/`.
        replaced: addresses and the like in its configuration, and what stands for them here.
    """

    file: Path
    name: str
    root: Path
    replaced: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = compose(self.file)
        self.service: dict[str, Any] = whole["services"][self.name]
        mounts = [volume.split(":")[:2] for volume in self.service.get("volumes", ())]
        mounts += [[whole["secrets"][name]["file"], f"/run/secrets/{name}"] for name in self.service.get("secrets", ())]
        self._tops = {target.split("/")[1] for _, target in mounts}
        for source, target in sorted(mounts, key=lambda mount: mount[1]):
            self._mount((self.file.parent / source).resolve(), self.root / target.lstrip("/"))

    def _mount(self, source: Path, target: Path) -> None:
        assert source.exists(), f"{self.name} mounts {source}, which is not there"
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file() and source.suffix in _CONFIGURATION:
            target.write_text(self.here(source.read_text()))
        elif source.is_dir() and not source.is_relative_to(self.file.parent / "site"):
            for inner in source.iterdir():
                self._mount(inner, target / inner.name)
        else:
            target.symlink_to(source)

    def here(self, text: str) -> str:
        """A text of the container with paths and addresses of ours."""
        for there, ours in self.replaced.items():
            text = text.replace(there, ours)
        return re.sub(rf"(?<![\w/.])/(?=({'|'.join(sorted(self._tops))})\b)", f"{self.root}/", text)

    @property
    def environ(self) -> dict[str, str]:
        """Its variables."""
        return {name: self.here(str(value)) for name, value in self.service.get("environment", {}).items()}

    @property
    def command(self) -> list[str]:
        """Its command."""
        return [self.here(word) for word in self.service.get("command", ())]

    @contextmanager
    def running(self, program: Sequence[str], environ: Mapping[str, str] | None = None) -> Iterator[Path]:
        """Run a program as this container would; yields the file that holds what it says."""
        log = self.root / "log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [*program, *self.command],
                cwd=self.root,
                env={"PATH": os.environ["PATH"], **self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **as_user(),
            )
        try:
            yield log
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE * 10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
