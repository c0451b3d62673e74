"""Every step of the Dockerfile, those of apt too, in a Debian of its own; takes minutes and a network."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.parts_compose import open_folder
from tests.deploy.parts_dockerfile import ROOT, Image, Run, offline, stages, succeed
from tests.parts import PATIENCE, free_port, require
from tests.parts_service import Service

pytestmark = pytest.mark.soak

MIRROR = "http://deb.debian.org/debian"
BASE = "python3,python3-pip,python3-venv,ca-certificates"


@pytest.fixture(scope="module")
def built() -> Iterator[tuple[Image, dict[str, float]]]:
    """The final stage in a root of its own, and what each part of it takes in MB."""
    with open_folder() as folder:
        first, last = stages()
        base = debian(folder / "base")
        build = Image(copied(base, folder / "build"), in_root(folder / "build"), variables())
        build.build(first)
        root = copied(base, folder / "image")
        image = Image(root, in_root(root), variables(), others={first.name: build.root})
        before = megabytes(root)
        image.build(last)
        own = megabytes(root / "opt")
        sizes = {"Debian with Python": before, "packages": megabytes(root) - before - own, "the monitor": own}
        sys.stdout.write("".join(f"{name}: {size:.0f} MB\n" for name, size in sizes.items()))
        yield image, sizes


def debian(root: Path) -> Path:
    """What stands for python:3.11-slim-bookworm: the same Debian, with its own Python 3.11."""
    command = [require("debootstrap"), "--variant=minbase", f"--include={BASE}", "bookworm", str(root), MIRROR]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE * 600)
    programs = {"python": "/usr/bin/python3", "pip": "/usr/bin/pip3"}
    for name, program in programs.items():
        (root / "usr/local/bin" / name).symlink_to(program)
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copytree(ROOT / ".venv" / "wheels", root / "mnt" / "wheels")
    return root


def copied(root: Path, target: Path) -> Path:
    subprocess.run(["cp", "-a", root, target], check=True)
    return target


def variables() -> dict[str, str]:
    return {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}


def in_root(root: Path) -> Run:
    def run(command: str, environ: Mapping[str, str], folder: str) -> None:
        variables = {**offline(Path("/mnt/wheels")), "HOME": "/root", **environ}
        succeed(["chroot", str(root), "/bin/sh", "-c", f"cd {folder} && {command}"], variables, seconds=600)

    return run


def megabytes(root: Path) -> float:
    """Of what an image would hold, without apt's downloads and our wheels."""
    left_out = tuple(f"{root}/{name}" for name in ("mnt", "var/cache/apt", "var/lib/apt/lists", "dev", "proc", "sys"))
    files = (path for path in root.rglob("*") if not path.is_symlink() and path.is_file())
    return sum(path.stat().st_size for path in files if not str(path).startswith(left_out)) / 1e6


@contextmanager
def started(image: Image, folder: Path) -> Iterator[Service]:
    """The entry point on a root that nobody can write, with its state's folder alone as an exception."""
    last, root, port = stages()[-1], image.root, free_port()
    user = last.of("USER")[-1]
    state = f"{root}{last.of('VOLUME')[-1]}"
    script = (
        f"mount --bind {root} {root} && mount --bind {state} {state} && mount -o remount,bind,ro {root}"
        f" && exec chroot --userspec={user} {root} {' '.join(json.loads(last.of('ENTRYPOINT')[-1]))} run"
    )
    own = {
        **image.environ,
        "SSONDO_HTTP__PORT": str(port),
        "SSONDO_MQTT__ENABLED": "false",
        "SSONDO_SOURCE": '[{"kind": "demo", "name": "demo"}]',
        "HOME": "/",
    }
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        command = ["unshare", "--mount", "sh", "-c", script]
        process = subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield Service(process, folder, 0, port)
    finally:
        process.kill()
        process.wait()


def test_image_runs_on_a_root_that_is_read_only(built: tuple[Image, dict[str, float]], tmp_path: Path) -> None:
    image, _ = built
    with started(image, tmp_path) as service:
        service.wait(Service.ready, "ready", 60)
        (check,) = [text.partition("CMD ")[2] for text in stages()[-1].of("HEALTHCHECK")]
        command = ["chroot", "--userspec=10001:10001", str(image.root), *json.loads(check)]
        own = {**image.environ, "SSONDO_HTTP__PORT": str(service.http_port)}
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
        assert (done.returncode, done.stdout) == (0, '200 {"ready": true, "reasons": []}\n')
        mounts = Path(f"/proc/{service.process.pid}/mountinfo").read_text()
        assert " / ro," in mounts  # of its own root
        assert Path(f"/proc/{service.process.pid}").stat().st_uid == 10001
        assert service.stop() == 0


def test_what_the_image_adds_to_its_base_is_small(built: tuple[Image, dict[str, float]]) -> None:
    _, sizes = built
    assert sizes["packages"] + sizes["the monitor"] < 300
