"""The command, as it is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.config_loading import load_settings
from ssondo_stream.bundle import Label, StudentSpec, list_bundles, save_bundle
from tests.parts import PATIENCE

COMMANDS = ("run", "replay", "devices", "check", "models", "version")


def command(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `ssondo-monitor` to its end in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from monitor.cli import main; main()", *map(str, arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 60,
        check=False,
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    labels = (Label("Dog bark"), Label("Siren"))
    save_bundle(tmp_path / "bundle", StudentSpec("tiny", labels, embedding_dim=4), b"not a network")
    return tmp_path / "bundle"


def test_help_names_every_command() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    "arguments", [["listen"], ["run", "--fast"], ["replay"], ["check"], ["run", "--config"], ["version", "please"]]
)
def test_bad_usage_exits_with_2_and_says_so_on_stderr(arguments: list[str]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_version_is_that_of_the_package() -> None:
    done = command("version")
    assert done.returncode == 0
    assert done.stdout.strip()[0].isdigit()


def test_valid_configuration_is_summed_up(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "monitor.toml"
    path.write_text(
        """
        [model]
        bundle = "./bundle"
        [[source]]
        kind = "demo"
        name = "yard"
        [mqtt]
        host = "broker.local"
        tls = true
        [detection.labels.siren]
        enabled = false
        """
    )
    done = command("check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        [f"{path}:", "ok"],
        ["sources", "yard (demo)"],
        ["broker", "broker.local port 8883 with TLS"],
        ["model", "tiny"],
        ["labels", "dog_bark"],
        ["http", "127.0.0.1 port 9108"],
    ]


@pytest.mark.parametrize("arguments", [["check"], ["run", "--config"], ["replay", "x.wav", "--config"]])
def test_wrong_configuration_exits_with_2_and_a_line_per_mistake(
    tmp_path: Path, bundle: Path, arguments: list[str]
) -> None:
    path = tmp_path / "monitor.toml"
    path.write_text("[http]\nport = 0\n[mqtt]\nhots = 1\n")
    done = command(*arguments, path, SSONDO_MODEL__BUNDLE=str(bundle))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"ssondo-monitor: {path}: mqtt.hots: unknown key; did you mean 'host'?",
        f"ssondo-monitor: {path}: http.port: got 0, expected at least 1",
    ]


def test_missing_configuration_exits_with_2_and_names_it(tmp_path: Path) -> None:
    done = command("run", "--config", tmp_path / "none.toml")
    assert done.returncode == 2
    assert done.stderr == f"ssondo-monitor: {tmp_path}/none.toml: no such file; expected a TOML configuration\n"


def test_models_lists_every_shipped_bundle_with_its_labels() -> None:
    done = command("models")
    assert (done.returncode, done.stderr) == (0, "")
    for name in list_bundles():
        assert f"{name}  " in done.stdout
        assert "  sha256 " in done.stdout
    assert bool(done.stdout) == bool(list_bundles())


def test_reader_that_leaves_early_causes_no_traceback(tmp_path: Path) -> None:
    program = (
        "import os, sys, typer; from monitor import cli\n"
        "@cli.app.command()\n"
        "def flood() -> None:\n"
        "    for _ in range(100_000): typer.echo('a line of output')\n"
        "cli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "flood"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE * 30) == 1


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        ("errors.ConfigError('one\\ntwo')", 2, "ssondo-monitor: one\nssondo-monitor: two\n"),
        ("errors.SpoolError('the disk is full')", 1, "ssondo-monitor: the disk is full\n"),
        ("BundleError('altered')", 1, "ssondo-monitor: altered\n"),
        ("ExceptionGroup('tasks', [errors.SpoolError('full')])", 1, "ssondo-monitor: full\n"),
        ("ExceptionGroup('tasks', [ExceptionGroup('more', [errors.ConfigError('x')])])", 2, "ssondo-monitor: x\n"),
    ],
)
def test_error_on_purpose_is_a_line_and_an_exit_code(raised: str, code: int, told: str) -> None:
    done = subprocess.run([sys.executable, "-c", failing(raised)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, told)


@pytest.mark.parametrize(
    "raised", ["ZeroDivisionError()", "ExceptionGroup('tasks', [errors.SpoolError('full'), ZeroDivisionError()])"]
)
def test_bug_is_a_traceback(raised: str) -> None:
    done = subprocess.run([sys.executable, "-c", failing(raised)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def failing(raised: str) -> str:
    """A program that is the command line with one more command, which fails."""
    return (
        "import sys; from monitor import cli, errors; from ssondo_stream.errors import BundleError\n"
        "@cli.app.command()\n"
        f"def fail() -> None: raise {raised}\n"
        "sys.argv[1:] = ['fail']; cli.main()"
    )


def test_annotated_configuration_passes_check_where_its_student_is_there(bundle: Path) -> None:
    path = Path(__file__).parents[2] / "deploy" / "monitor.toml"
    assert load_settings(path, {"SSONDO_MODEL__BUNDLE": str(bundle)}).source
    assert command("check", path, SSONDO_MODEL__BUNDLE=str(bundle)).returncode == 0
