"""A Dockerfile's own steps, done without an engine: in a folder that stands for the image's root, or in a real root.

No step is written down a second time: stages, copies, variables and commands are those of the file.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "container" / "Dockerfile"

Run = Callable[[str, Mapping[str, str], str], None]
"""Runs a shell command with variables in a folder of the image."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a Dockerfile, continued lines joined."""

    word: str
    text: str


@dataclass
class Stage:
    """What lies between two FROMs."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        """The texts of all instructions of a kind."""
        return [instruction.text for instruction in self.instructions if instruction.word == word]


def stages(file: Path = FILE) -> list[Stage]:
    """A Dockerfile, read."""
    text = re.sub(r"^\s*#.*\n", "", file.read_text(), flags=re.M)
    found: list[Stage] = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif word:
            found[-1].instructions.append(Instruction(word, rest.strip()))
    return found


@dataclass
class Image:
    """What the steps of a stage leave behind. State is its variables, its folder, and what to do without.

    Attributes:
        root: folder that stands for the image's `/`.
        skip: tells commands that are not run.
        skipped: those commands.
    """

    root: Path
    run: Run
    environ: dict[str, str]
    skip: Callable[[str], bool] = lambda _: False
    others: Mapping[str, Path] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    folder: str = "/"

    def build(self, stage: Stage) -> None:
        """Do every step of a stage, in its order."""
        steps = {"ARG": self._set, "ENV": self._set, "WORKDIR": self._enter, "COPY": self._copy, "RUN": self._run}
        for instruction in stage.instructions:
            steps.get(instruction.word, lambda _: None)(instruction.text)

    def _set(self, text: str) -> None:
        for pair in shlex.split(text):
            name, _, value = pair.partition("=")
            self.environ[name] = re.sub(r"\$(\w+)", lambda match: self.environ[match[1]], value)

    def _enter(self, text: str) -> None:
        self.folder = text
        self.inside(text).mkdir(parents=True, exist_ok=True)

    def _copy(self, text: str) -> None:
        words = shlex.split(text)
        options, (*sources, target) = [w for w in words if w[:2] == "--"], [w for w in words if w[:2] != "--"]
        origin = self.others[options[0].removeprefix("--from=")] if options else ROOT
        for source in sources:
            place = self.inside(target)
            place = place / Path(source).name if target.endswith("/") else place
            copy(origin / source.lstrip("/"), place)

    def inside(self, path: str) -> Path:
        """Where a path of the image lies here."""
        return self.root / os.path.normpath(Path(self.folder) / path).lstrip("/")

    def _run(self, command: str) -> None:
        if self.skip(command):
            self.skipped.append(command)
        else:
            self.run(command, self.environ, self.folder)


def copy(source: Path, target: Path) -> None:
    """As COPY does, less what .dockerignore leaves out; what was built is linked, which is quicker."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ours = source.is_relative_to(ROOT)
        keep_out = shutil.ignore_patterns("__pycache__") if ours else None
        put = shutil.copy2 if ours else os.link
        shutil.copytree(source, target, symlinks=True, ignore=keep_out, copy_function=put, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def in_folder(root: Path) -> Run:
    """Runs commands on this machine, with the image's folders mapped into the folder that stands for `/`."""

    def run(command: str, environ: Mapping[str, str], folder: str) -> None:
        own = {name: here(value, root) for name, value in environ.items()}
        variables = {**offline(ROOT / ".venv" / "wheels"), "HOME": str(root), **own}
        succeed(["/bin/sh", "-c", here(command, root)], variables, seconds=300, folder=root / folder.lstrip("/"))

    return run


def succeed(words: Sequence[str], environ: Mapping[str, str], *, seconds: float, folder: Path | None = None) -> None:
    """A command that must end well; what it printed is told where it does not."""
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{words[-1]}\n{done.stdout}\n{done.stderr}"


def here(text: str, root: Path) -> str:
    """The image's own folders, as folders of ours."""
    return re.sub(r"(?<![\w/.])/(?=(opt|src|tmp|usr/local|var/lib)\b)", f"{root}/", text)


def base_image(root: Path) -> dict[str, str]:
    """Put what stands for the base image's programs under `root`; returns the variables that it sets.

    Its python is one that every user can run, as the one of a developer's home may not be.
    """
    programs = root / "usr" / "local" / "bin"
    programs.mkdir(parents=True)
    commands = {"python": str(python()), "pip": f"{sys.executable} -m pip"}
    for name, command in commands.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / name).chmod(0o755)
    return {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def python() -> Path:
    """A python of our version that users without privileges can run."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for found in (Path(sys.executable).resolve(), Path("/usr/local/bin", version), Path("/usr/bin", version)):
        if os.geteuid() != 0 or (found.exists() and all(folder.stat().st_mode & 1 for folder in found.parents)):
            return found
    raise AssertionError(f"needs a {version} outside of root's home, such as Debian's python3")


def offline(wheels: Path) -> dict[str, str]:
    """Variables that let pip install from a folder alone."""
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull}


def build_here(folder: Path, skip: Callable[[str], bool]) -> Image:
    """The image as a folder, `folder/image`, both stages built one after the other at that same place."""
    root, built = folder / "image", folder / "build"
    first, last = stages()
    Image(root, in_folder(root), base_image(root)).build(first)
    root.rename(built)
    image = Image(root, in_folder(root), base_image(root), skip=skip, others={first.name: built})
    (root / "tmp").mkdir()
    image.build(last)
    return image
