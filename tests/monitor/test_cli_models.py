"""`ssondo-monitor models`, as it is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssondo_stream.bundle import find_bundle, list_bundles, load_spec
from ssondo_stream.published import HEADS, MODELS
from tests.parts import PATIENCE
from tests.parts_checkpoints import small, write_checkpoint, write_head

HIDE = "import sys; sys.modules['torch'] = None; "


def models(*arguments: str | Path, before: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `ssondo-monitor models` to its end in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", f"{before}from monitor.cli import main; main()", "models", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 120,
        check=False,
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "student.ckpt", small("mn"))


def test_listing_names_bundles_with_their_labels_and_needs_no_torch() -> None:
    done = models(before=HIDE)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for name in list_bundles():
        spec = load_spec(find_bundle(name))
        assert any(line.startswith(f"{name}  ") and line.endswith(f"sha256 {spec.network_sha256}") for line in lines)
        assert all(f"  {label.slug:<24} {label.name}" in lines for label in spec.labels)


def test_listing_names_published_models_and_heads_and_what_is_missing_of_them() -> None:
    lines = models().stdout.splitlines()
    for name, item in {**MODELS, **HEADS}.items():
        assert f"  {name:<24} {item.description}" in lines
    assert sum("not uploaded" in line for line in lines) == 5
    assert sum("order of its classes is not published" in line for line in lines) == 4


def test_conversion_makes_a_bundle(tmp_path: Path, checkpoint: Path) -> None:
    head, labels = write_head(tmp_path / "head.pth", 2, 96), tmp_path / "labels.csv"
    labels.write_text("name\nDog\nSiren\n")
    done = models("convert", checkpoint, tmp_path / "out", "--head", head, "--labels", labels)
    spec = load_spec(tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/out: 2 labels; sha256 {spec.network_sha256}\n"
    assert [label.slug for label in spec.labels] == ["dog", "siren"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument"),
        (["{ckpt}"], "Missing argument"),
        (["matpac-mobilenetv9", "{out}"], "'matpac-mobilenetv9' is no file and no published name: matpac-mobilenetv3"),
        (["{ckpt}", "{out}", "--head", "esc51"], "'esc51' is no file and no published name: gtzan"),
        (["{ckpt}", "{out}", "--labels", "{ckpt}"], "needs --head"),
        (["{ckpt}", "{out}", "--head", "esc50", "--labels", "none.csv"], "'none.csv' does not exist"),
    ],
)
def test_bad_usage_exits_with_2(tmp_path: Path, checkpoint: Path, arguments: list[str], told: str) -> None:
    filled = [argument.format(ckpt=checkpoint, out=tmp_path / "out") for argument in arguments]
    done = models("convert", *filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_checkpoint_that_is_none_exits_with_1_and_a_line(tmp_path: Path) -> None:
    (tmp_path / "student.ckpt").write_bytes(b"not one")
    done = models("convert", tmp_path / "student.ckpt", tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ssondo-monitor: {tmp_path}/student.ckpt: is truncated")
    assert done.stderr.count("\n") == 1


def test_published_name_out_of_reach_exits_with_1_and_a_line(tmp_path: Path) -> None:
    done = models("convert", "m2d-dymn", tmp_path / "out", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ssondo-monitor: m2d-dymn: m2d_dymn.ckpt in mohammedali2501/ssondo")
    assert done.stderr.count("\n") == 1


def test_conversion_without_torch_tells_what_to_install(tmp_path: Path, checkpoint: Path) -> None:
    done = models("convert", checkpoint, tmp_path / "out", before=HIDE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ssondo-monitor: converting needs torch: pip install 'ssondo-monitor[torch]'\n"
