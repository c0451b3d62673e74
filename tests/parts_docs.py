"""What the documents say: their blocks, links and headings, and a place in which their commands can be run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.parts import PATIENCE, free_port

ROOT = Path(__file__).parents[1]
FOREVER = re.compile(r"^(make run|\.venv/bin/ssondo-monitor run)\b")
_FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.M | re.S)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, joined where they go on, without comments and empty ones."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks(document: Path, language: str = "sh") -> list[Block]:
    """The fenced blocks of a document in a language."""
    found = _FENCE.findall(document.read_text(encoding="utf-8"))
    return [
        Block(name, re.sub(rf"^{indent}", "", text, flags=re.M)) for indent, name, text in found if name == language
    ]


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def links(document: Path) -> Iterator[tuple[Path, str]]:
    """Where the relative links and pictures of a document lead: a path, and a heading's anchor or nothing."""
    text = re.sub(r"`[^`\n]*`(?!\])", "", prose(document))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    for target in targets:
        if "://" not in target and not target.startswith("mailto:"):
            path, _, anchor = target.partition("#")
            yield (document.parent / path if path else document), anchor


def anchors(document: Path) -> set[str]:
    """What the headings of a document are linked by."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def files() -> list[str]:
    """What a clone would hold, once everything here is committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=PATIENCE * 30).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


class Clone:
    """A clean copy of the repository, set up as `make run` would, with ports of its own; runs documents' commands.

    State is the service that one of the commands has left running, and its line.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "ssondo-monitor"
        self.mqtt_port, self.http_port = free_port(), free_port()
        self.service: subprocess.Popen[bytes] | None = None
        self.line = ""
        for name in files():
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
        self._make_environment()
        self.log = folder / "service.log"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SSONDO_")},
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "PATH": f"{self.folder / '.venv' / 'bin'}:{os.environ['PATH']}",
            "SSONDO_NODE__NAME": "pi1",
            "SSONDO_MQTT__EMBEDDED_PORT": str(self.mqtt_port),
            "SSONDO_HTTP__PORT": str(self.http_port),
            "PULSE_SERVER": "unix:/nowhere",
        }

    def _make_environment(self) -> None:
        """What setup.sh makes, with the packages of the environment that runs the tests instead of the registry's."""
        venv = self.folder / ".venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=PATIENCE * 60)
        (site,) = venv.glob("lib/python*/site-packages")
        packages = [path for path in sys.path if path.endswith("site-packages")]
        (site / "clone.pth").write_text("\n".join([str(self.folder), *packages]) + "\n")
        for name, module in (("ssondo-monitor", "monitor"), ("ssondo-train", "training")):
            script = venv / "bin" / name
            script.write_text(f"#!{venv}/bin/python\nfrom {module}.cli import main\n\nmain()\n")
            script.chmod(0o755)
        wanted = subprocess.run(
            ["cksum", "pyproject.toml", "deploy/setup.sh"], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout
        (venv / ".ready-run").write_text(wanted.rstrip("\n"))

    def mapped(self, text: str) -> str:
        """A text with the ports of this copy."""
        return text.replace("1883", str(self.mqtt_port)).replace("9108", str(self.http_port))

    def run(self, block: Block, environ: Mapping[str, str] | None = None, seconds: float = 120) -> str:
        """Run a block line by line; gives what it printed. What runs for ever is started, and the next such ends it."""
        printed = ""
        text = self.mapped(block.text)
        if FOREVER.match(text):
            self.start(text)
            return printed
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            check=False,
            cwd=self.folder,
            env={**self.environ, **(environ or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}\n{self.said()}"
        return done.stdout + done.stderr

    def ensure(self, text: str) -> None:
        """Start a service by its line unless it runs already."""
        if self.service is None or self.line != text:
            self.start(text)
            self.wait("/ready")

    def start(self, text: str) -> None:
        """Start a service by its line, in a group of its own, and wait until it lives."""
        self.stop()
        with self.log.open("ab") as log:
            self.service = subprocess.Popen(
                ["bash", "-c", text],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.line = text.strip()
        self.wait("/health")

    def wait(self, page: str, seconds: float = 60) -> None:
        """Wait until a page says 200."""
        deadline = time.monotonic() + PATIENCE * seconds
        while time.monotonic() < deadline and self.service and self.service.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{page}", timeout=PATIENCE * 5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise AssertionError(f"{page} not within {seconds:g} s\n{self.said()}")

    def said(self) -> str:
        """What the service has printed and logged."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def stop(self) -> None:
        """End the service and what it has started, as Ctrl-C does."""
        if self.service is not None:
            for number in (signal.SIGINT, signal.SIGKILL):
                with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self.service.pid, number)
                    self.service.wait(PATIENCE * 15)
            self.service = None


@contextmanager
def clone(folder: Path) -> Iterator[Clone]:
    """A clean copy for as long as the block lasts."""
    made = Clone(folder)
    try:
        yield made
    finally:
        made.stop()
