"""Changing the bundle that a sensor hears by, and going back: on the shelf, by the command, in a running service."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.bundles import Shelf
from monitor.errors import ShelfError
from ssondo_stream.bundle import BUNDLES, load_spec
from ssondo_stream.errors import BundleError
from tests.parts import PATIENCE
from tests.parts_service import Service, running


def bundle(folder: Path, name: str) -> Path:
    """The shipped student under another name."""
    copy = folder / name
    shutil.copytree(BUNDLES / "default", copy)
    document = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps({**document, "name": name}))
    return copy


def heard_by(shelf: Path) -> str:
    return load_spec(shelf / "current").name


def anything_goes(_: Path) -> None:
    """A check that is content."""


def refuse(_: Path) -> None:
    raise BundleError("no good")


def models(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "monitor", "models", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 120,
        check=False,
    )


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A shelf on which `one` is in use; the bundle that it was made of is gone."""
    one = bundle(tmp_path, "one")
    Shelf(tmp_path / "shelf").use(one, anything_goes)
    shutil.rmtree(one)
    return tmp_path / "shelf"


def test_a_bundle_is_used_and_the_one_before_can_come_back(shelf: Path, tmp_path: Path) -> None:
    Shelf(shelf).use(bundle(tmp_path, "two"), anything_goes)
    assert heard_by(shelf) == "two"
    assert Shelf(shelf).roll_back(anything_goes).name == "one"
    assert heard_by(shelf) == "one"


def test_only_the_bundle_before_is_kept(shelf: Path, tmp_path: Path) -> None:
    for name in ("two", "three"):
        Shelf(shelf).use(bundle(tmp_path, name), anything_goes)
    assert sorted(path.name.partition("-")[0] for path in shelf.iterdir() if not path.is_symlink()) == ["three", "two"]


def test_the_installed_default_can_come_back(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "current").symlink_to(bundle(tmp_path, "shipped"))
    Shelf(shelf).use(bundle(tmp_path, "mine"), anything_goes)
    Shelf(shelf).roll_back(anything_goes)
    assert heard_by(shelf) == "shipped"


def test_one_bundle_twice_is_one_bundle(shelf: Path, tmp_path: Path) -> None:
    two = bundle(tmp_path, "two")
    for _ in range(2):
        Shelf(shelf).use(two, anything_goes)
    assert Shelf(shelf).roll_back(anything_goes).name == "one"


def test_other_users_can_read_what_is_used(tmp_path: Path) -> None:
    two = bundle(tmp_path, "two")
    for path in two.iterdir():
        path.chmod(0o600)
    Shelf(tmp_path / "shelf").use(two, anything_goes)
    folder = (tmp_path / "shelf/current").resolve()
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())} == {"0o755", "0o644"}


def test_what_is_altered_or_refused_changes_nothing(shelf: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in shelf.iterdir())
    altered = bundle(tmp_path, "altered")
    (altered / "student.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="was altered or is incomplete"):
        Shelf(shelf).use(altered, anything_goes)
    with pytest.raises(BundleError, match="no good"):
        Shelf(shelf).use(bundle(tmp_path, "refused"), refuse)
    assert sorted(path.name for path in shelf.iterdir()) == before
    assert heard_by(shelf) == "one"


def test_there_may_be_nothing_to_go_back_to(shelf: Path) -> None:
    with pytest.raises(ShelfError, match="no bundle before the one in use"):
        Shelf(shelf).roll_back(anything_goes)


def test_shelf_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "shelf").touch()
    with pytest.raises(ShelfError, match=r"shelf: .*; what was in use still is"):
        Shelf(tmp_path / "shelf").use(bundle(tmp_path, "two"), anything_goes)


def test_power_cut_at_any_step_leaves_a_whole_bundle_in_use(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the kernel is asked for last: an end there is an error that nothing handles."""
    two = bundle(tmp_path, "two")
    step = 0
    while True:
        step += 1
        trial = tmp_path / f"trial{step}"
        shutil.copytree(shelf, trial, symlinks=True)
        calls = _until(step)
        with monkeypatch.context() as patch:
            for name in ("fsync", "rename", "replace", "symlink", "mkdir", "chmod"):
                patch.setattr(os, name, calls(getattr(os, name)))
            try:
                Shelf(trial).use(two, anything_goes)
            except PowerCut:
                pass
            else:
                break
        assert heard_by(trial) in ("one", "two"), f"step {step}"
        Shelf(trial).use(two, anything_goes)
        assert heard_by(trial) == "two"
        assert [path.name for path in trial.iterdir() if path.name.startswith(".")] == []
    assert step > 10


class PowerCut(BaseException):
    """Nothing goes on."""


def _until(step: int):
    left = [step]

    def counted(function):
        def call(*arguments, **keywords):
            left[0] -= 1
            if left[0] <= 0:
                raise PowerCut
            return function(*arguments, **keywords)

        return call

    return counted


def test_command_says_what_is_used_and_what_to_do(shelf: Path, tmp_path: Path) -> None:
    done = models("use", bundle(tmp_path, "two"), "--shelf", shelf)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{shelf}/current: two, 12 labels; sha256 ")
    assert done.stdout.endswith("systemctl restart ssondo-monitor\n")
    assert models("rollback", "--shelf", shelf).stdout.startswith(f"{shelf}/current: one, ")


def test_command_refuses_a_bundle_that_the_configuration_does_not_fit(shelf: Path, tmp_path: Path) -> None:
    config = tmp_path / "monitor.toml"
    config.write_text("[detection.labels.smoke_alarm]\nthreshold = 0.7\n")
    other = bundle(tmp_path, "other")
    document = json.loads((other / "bundle.json").read_text())
    document["labels"] = [{**label, "name": f"New {label['name']}"} for label in document["labels"]]
    (other / "bundle.json").write_text(json.dumps(document))
    done = models("use", other, "--shelf", shelf, "--config", config)
    assert done.returncode == 2
    assert "detection.labels.smoke_alarm: bundle 'other' has no such label" in done.stderr
    assert heard_by(shelf) == "one"


def test_service_hears_by_the_new_bundle_after_a_restart_and_by_the_old_one_until_then(
    shelf: Path, tmp_path: Path
) -> None:
    config = f'[model]\nbundle = "{shelf}/current"\n[mqtt]\nenabled = false\n'

    def hears_by(service: Service) -> set[str]:
        names = [line for line in service.get("/metrics")[1].splitlines() if line.startswith("ssondo_build_info{")]
        return {name for name in ("one", "two") for line in names if f'model="{name}"' in line}

    with running(tmp_path / "first", config) as service:
        service.wait(Service.ready, "ready")
        Shelf(shelf).use(bundle(tmp_path, "two"), anything_goes)
        assert hears_by(service) == {"one"}
        assert service.ready()
        assert service.stop() == 0
    with running(tmp_path / "second", config) as service:
        service.wait(Service.ready, "ready")
        assert hears_by(service) == {"two"}
        Shelf(shelf).roll_back(anything_goes)
        assert service.stop() == 0
    with running(tmp_path / "third", config) as service:
        service.wait(Service.ready, "ready")
        assert hears_by(service) == {"one"}
        assert service.stop() == 0
