"""Whatever happens while a bundle is written, there is a whole one."""

import fcntl
import os
from pathlib import Path

import pytest

from ssondo_stream.bundle import SPEC_FILE, WEIGHTS_FILE, Label, StudentSpec, load_spec, save_bundle
from ssondo_stream.bundle_folder import trial_folder
from ssondo_stream.errors import BundleError
from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content

SPEC = StudentSpec("tiny", (Label("Dog bark"),), embedding_dim=4)
OLD, NEW = {WEIGHTS_FILE: b"old", "MODEL_CARD.md": b"old"}, {"MODEL_CARD.md": b"new", "CREDITS.csv": b"new"}

SAVE = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.ssondo_stream.test_bundle_folder import NEW, SPEC, save_bundle

die_after(int(sys.argv[2]), syncs=True)
save_bundle(Path(sys.argv[1]), SPEC, b"new", NEW)
"""

FILL_DISK = """
import resource, sys
from pathlib import Path
from tests.ssondo_stream.test_bundle_folder import SPEC, save_bundle

resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
save_bundle(Path(sys.argv[1]), SPEC, bytes(40_000))
"""


def old_bundle(folder: Path) -> dict[str, str]:
    save_bundle(folder, SPEC, b"old", OLD)
    return content(folder, "*")


@pytest.mark.parametrize("point", range(8))
def test_killed_writer_leaves_a_whole_bundle_and_the_next_one_writes_the_new(tmp_path: Path, point: int) -> None:
    folder, old = tmp_path / "bundle", old_bundle(tmp_path / "bundle")
    save_bundle(tmp_path / "whole", SPEC, b"new", NEW)
    new = content(tmp_path / "whole", "*")
    assert_killed(run_python(SAVE, folder, point))
    aside = folder if folder.exists() else tmp_path / ".bundle.writing" / "old"
    assert load_spec(aside).labels == SPEC.labels
    assert content(aside, "*") == (old if point < 7 else new)
    assert (aside == folder) == (point != 6)
    assert run_python(SAVE, folder, 1000).returncode == 0
    assert content(folder, "*") == new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "whole"]


def test_bundle_that_a_killed_writer_left_aside_is_put_back_even_if_the_next_one_fails(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "bundle")
    assert_killed(run_python(SAVE, tmp_path / "bundle", 6))
    assert not (tmp_path / "bundle").exists()
    assert "no room left" in run_python(FILL_DISK, tmp_path / "bundle").stderr
    assert content(tmp_path / "bundle", "*") == old


def test_full_disk_is_told_and_the_bundle_before_stays(tmp_path: Path) -> None:
    old = old_bundle(tmp_path / "bundle")
    told = run_python(FILL_DISK, tmp_path / "bundle").stderr.splitlines()[-1]
    assert "BundleError" in told
    assert "no room left to write the bundle (File too large); what was there before stays usable" in told
    assert content(tmp_path / "bundle", "*") == old
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_new_bundle_has_no_file_of_the_one_before(tmp_path: Path) -> None:
    old_bundle(tmp_path)
    (tmp_path / "local_7.onnx").write_bytes(b"of a bundle whose writer was killed, once")
    save_bundle(tmp_path, SPEC, b"new", NEW)
    assert {path.name for path in tmp_path.iterdir()} == {SPEC_FILE, "student.onnx", *NEW}
    assert load_spec(tmp_path).labels == SPEC.labels


def test_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    old_bundle(tmp_path / "bundle")
    save_bundle(tmp_path / "link", SPEC, b"new", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "bundle" / "CREDITS.csv").read_bytes() == b"new"


@pytest.mark.parametrize("bundle", [False, True])
@pytest.mark.parametrize("stranger", ["student.safetensors", "notes"])
def test_folder_with_anything_else_is_refused(tmp_path: Path, bundle: bool, stranger: str) -> None:
    if bundle:
        old_bundle(tmp_path)
    (tmp_path / stranger).write_text("a training's")
    before = content(tmp_path, "*")
    with pytest.raises(BundleError, match=f"holds '{stranger}', which is no part of a bundle and would be lost"):
        save_bundle(tmp_path, SPEC, b"new")
    assert content(tmp_path, "*") == before


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text("a file")
    with pytest.raises(BundleError, match="cannot become a bundle"):
        save_bundle(tmp_path / "bundle", SPEC, b"new")
    with pytest.raises(BundleError, match="could not be written"):
        save_bundle(tmp_path / "bundle" / "below", SPEC, b"new")


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    old, work = old_bundle(tmp_path / "bundle"), tmp_path / ".bundle.writing"
    work.mkdir()
    handle = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="another run is writing here"):
            save_bundle(tmp_path / "bundle", SPEC, b"new")
    finally:
        os.close(handle)
    assert content(tmp_path / "bundle", "*") == old
    save_bundle(tmp_path / "bundle", SPEC, b"new")


def test_further_file_cannot_take_the_place_of_the_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"other names than \['student.onnx'\]"):
        save_bundle(tmp_path, SPEC, b"new", {"student.onnx": b"another"})


def test_no_place_to_try_a_bundle_in_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(BundleError, match="name a place as TMPDIR"), trial_folder({"student.onnx": b"tried"}):
        pass
