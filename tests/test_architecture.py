"""Who may import what: read off the sources, and seen in fresh interpreters."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts import PATIENCE

ROOT = Path(__file__).parents[1]
PACKAGES = ("monitor", "ssondo_stream", "training")
FORBIDDEN = {
    "monitor": {"training", "torch"},
    "training": {"monitor"},
    "ssondo_stream": {"monitor", "training", "asyncio", "threading", "pydantic", "sounddevice"},
}
HOMES = {  # one third-party library, one place, in what runs on the sensor
    "aiohttp": {"monitor/web.py"},
    "aiomqtt": {"monitor/mqtt_client.py", "monitor/mqtt_link.py"},
    "amqtt": {"monitor/broker.py"},
    "av": {"monitor/sources/network.py"},
    "huggingface_hub": {"ssondo_stream/download.py"},
    "matplotlib": {"monitor/plot.py"},
    "onnx": {"ssondo_stream/students/terse_onnx.py"},
    "openvino": {"ssondo_stream/openvino_student.py"},
    "onnxruntime": {"ssondo_stream/onnx_student.py"},
    "prometheus_client": {"monitor/metrics.py"},
    "pydantic": {"monitor/config"},
    "pydantic_core": {"monitor/config_wording.py"},
    "safetensors": {"ssondo_stream/students/", "ssondo_stream/torch_student.py"},
    "sounddevice": {"monitor/sources/devices.py"},
    "soundfile": {"monitor/sources/file.py"},
    "soxr": {"ssondo_stream/resample.py"},
    "torch": {
        "ssondo_stream/checkpoint.py",
        "ssondo_stream/hub.py",
        "ssondo_stream/published_head.py",
        "ssondo_stream/students/",
        "ssondo_stream/torch_student.py",
    },
    "typer": {"monitor/cli.py", "monitor/cli_models.py"},
}
ANYWHERE = {"numpy", "scipy", *PACKAGES, *sys.stdlib_module_names}


def sources(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: line {node.lineno}: imports are absolute"
            names.add(str(node.module).split(".")[0])
    return names


def loaded_by(module: str) -> set[str]:
    """Names in `sys.modules` after importing one module in a fresh interpreter; the import must print nothing."""
    program = f"import sys, {module}; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE * 120
    )
    assert done.stderr == ""
    return set(done.stdout.split(" "))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_imports_nothing_that_it_may_not(package: str) -> None:
    wrong = {str(path): found for path in sources(package) if (found := imported(path) & FORBIDDEN[package])}
    assert not wrong


@pytest.mark.parametrize("package", ["monitor", "ssondo_stream"])
def test_each_library_is_imported_in_its_place_alone(package: str) -> None:
    for path in sources(package):
        name = path.relative_to(ROOT).as_posix()
        for library in imported(path) - ANYWHERE:
            assert library in HOMES, f"{name} imports {library}, which has no place yet"
            assert any(name.startswith(home) for home in HOMES[library]), f"{name} imports {library}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ssondo_stream", {"torch", "asyncio", "pydantic", "sounddevice", "monitor", "training"}),
        ("monitor.cli", {"torch", "pydantic", "aiohttp", "aiomqtt", "prometheus_client", "onnxruntime", "training"}),
        ("monitor.service", {"torch", "av", "amqtt", "matplotlib", "typer", "training", "scipy.signal"}),
        ("monitor.replay", {"torch", "av", "amqtt", "matplotlib", "sounddevice", "training", "scipy.signal"}),
    ],
)
def test_import_leaves_out(module: str, absent: set[str]) -> None:
    assert not loaded_by(module) & absent


def test_imports_have_no_effect() -> None:
    """No module of the running service starts a thread, prints, or configures logging when imported."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("monitor", "ssondo_stream")
        for path in sources(package)
        if "torch" not in imported(path) and path.stem != "__main__"
    ]
    program = (
        "import importlib, json, logging, sys, threading\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert not logging.getLogger().handlers\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(names)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
