"""Data is never run: nothing on the service's path reads pickles, and what the sensor reads was checked before."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile

from ssondo_stream import BundleError, load_student
from tests.parts import PATIENCE
from tests.parts_onnx import tiny_bundle, tiny_network
from tests.test_architecture import ROOT, sources

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "code"}
CALLS = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen", "subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_output"}
SAFE_LOADS = {"torch.load": "weights_only", "np.load": None, "numpy.load": None}


def dangers(source: str) -> Iterator[str]:
    """What in a module could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in CALLS | SHELLS or given.get("shell") == "True":
                yield name
            if name in SAFE_LOADS and given.get(str(SAFE_LOADS[name])) != "True":
                yield name
            if given.get("allow_pickle", "False") != "False":
                yield f"{name} with allow_pickle"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_guard_sees_what_could_run_data(source: str) -> None:
    assert list(dangers(source))


@pytest.mark.parametrize("package", ["monitor", "ssondo_stream"])
def test_no_module_runs_what_it_reads(package: str) -> None:
    found = {path.relative_to(ROOT).as_posix(): list(dangers(path.read_text())) for path in sources(package)}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_module_of_the_service_knows_how_to_read_checkpoints() -> None:
    program = "import monitor.service, monitor.replay, sys; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE * 120
    )
    readers = {"ssondo_stream.checkpoint", "ssondo_stream.convert", "ssondo_stream.download", "torch"}
    assert not readers & set(done.stdout.split())


GUARDED = """
import os, sys
def refuse(event, arguments):
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"):
        os.write(2, f"guard: {event} {arguments}".encode())
        os._exit(99)
sys.addaudithook(refuse)
if sys.argv[1:] == ["probe"]:
    import pickle
    pickle.loads(pickle.dumps(refuse))
from monitor.cli import main
main()
"""


def guarded(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process that ends itself when a pickle names code, or another program is started."""
    command = [sys.executable, "-c", GUARDED, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 120)


def test_guard_ends_a_process_that_reads_a_pickle() -> None:
    done = guarded("probe")
    assert (done.returncode, "guard: pickle.find_class" in done.stderr) == (99, True)


def test_service_and_replay_read_no_pickle_and_start_no_program(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000), 16_000)
    config = tmp_path / "monitor.toml"
    config.write_text(
        f'[node]\nstate_dir = "{tmp_path}/state"\n[mqtt]\nenabled = false\n[http]\nenabled = false\n'
        f'[[source]]\nkind = "file"\nname = "file"\npath = "{sound}"\nrealtime = false\n'
    )
    for arguments in [("replay", str(sound)), ("run", "--config", str(config)), ("check", str(config))]:
        done = guarded(*arguments)
        assert done.returncode == 0, done.stderr


def test_weights_without_a_checksum_are_refused(tmp_path: Path) -> None:
    (tiny_bundle(tmp_path) / "weights.safetensors").write_bytes(b"anything")
    with pytest.raises(BundleError, match=r"weights\.safetensors: bundle\.json lists no sha256 for it"):
        load_student(tmp_path, engine="torch")


def test_network_that_keeps_weights_in_another_file_is_refused(tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_network())
    onnx.save_model(model, str(tmp_path / "n.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    folder = tiny_bundle(tmp_path / "bundle", (tmp_path / "n.onnx").read_bytes())
    (folder / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes())
    with pytest.raises(BundleError, match=r"student\.onnx: keeps weights in another file, which has no checksum"):
        load_student(folder)
