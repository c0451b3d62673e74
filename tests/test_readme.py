"""What the README says, done."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.config_loading import load_settings
from tests.parts import PATIENCE
from tests.parts_checkpoints import noise, write_checkpoint, write_head

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for line in re.findall(r"^\.venv/bin/ssondo-monitor .*$", README, re.M)
    if "|" not in line
]


def block(language: str, containing: str) -> str:
    """The first code block in a language that contains something."""
    blocks: list[str] = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    return next(text for text in blocks if containing in text)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] in ("devices", "check")], ids=" ".join)
def test_command_that_needs_nothing_else_runs(command: list[str]) -> None:
    subprocess.run(
        [sys.executable, "-m", "monitor", *command], cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE * 60
    )


def test_replay_draws_the_picture_that_was_asked_for(tmp_path: Path) -> None:
    command = next(c for c in COMMANDS if c[0] == "replay" and "--plot" in c)
    sound, picture = command[1], command[3]
    soundfile.write(tmp_path / sound, np.zeros(40_000, np.float32), 32_000)
    run = [sys.executable, "-m", "monitor", *command]
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(run, cwd=tmp_path, env=environ, check=True, capture_output=True, timeout=PATIENCE * 60)
    assert (tmp_path / picture).stat().st_size > 10_000


def test_every_command_is_one_that_exists() -> None:
    offered = subprocess.run(
        [sys.executable, "-m", "monitor", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 60,
    ).stdout
    assert {command[0] for command in COMMANDS} <= set(re.findall(r"^  (\w+)", offered, re.M))


def test_example_configuration_is_valid(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("x")
    text = block("toml", "[mqtt]").replace("/etc/ssondo-monitor/password", str(tmp_path / "password"))
    (tmp_path / "my.toml").write_text(text)
    settings = load_settings(tmp_path / "my.toml", {"SSONDO_MQTT__HOST": "broker.example"})
    assert [source.name for source in settings.source] == ["yard"]


def test_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("python", "StreamingEngine"), {"samples": np.zeros(48_000, np.float32)})
    assert len(capsys.readouterr().out.splitlines()) > 1


def test_example_of_the_published_interface_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "my.ckpt", "mn")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"audio": noise(2, 44_100)}
    exec(block("python", "get_ssondo"), names)
    assert [tuple(names[name].shape) for name in ("logits", "embeddings")] == [(2, 10), (2, 960)]  # type: ignore[attr-defined]


def test_own_checkpoint_is_converted_and_heard_by(tmp_path: Path) -> None:
    command = next(c for c in COMMANDS if c[:3] == ["models", "convert", "my.ckpt"])
    write_checkpoint(tmp_path / "my.ckpt", "mn")
    write_head(tmp_path / "my.pth", 2)
    (tmp_path / "my.csv").write_text("name\nDog\nSiren\n")
    soundfile.write(tmp_path / "yard.flac", np.zeros(40_000, np.float32), 32_000)
    environ = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    (bundle,) = re.findall(r"^SSONDO_MODEL__BUNDLE=(\S+) \.venv/bin/ssondo-monitor replay yard.flac", README, re.M)
    for line, extra in ((command, {}), (["replay", "yard.flac"], {"SSONDO_MODEL__BUNDLE": bundle})):
        run = [sys.executable, "-m", "monitor", *line]
        subprocess.run(run, cwd=tmp_path, env=environ | extra, check=True, capture_output=True, timeout=PATIENCE * 120)


def test_make_offers_what_is_named() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake (\w+)", README)) - {"if"} <= targets | {"them"}


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_ci_runs_the_commands_of_the_readme() -> None:
    ran = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(), re.M)
    assert ran == ["check", "test"]
