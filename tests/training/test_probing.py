import json
from pathlib import Path

import pytest

from tests.parts_forked import run_python
from tests.training.parts_embeddings import assert_killed, content
from tests.training.parts_probe import clips
from training.errors import SettingsError, StorageError
from training.files import locked
from training.manifest import Skipped
from training.probe import ProbeResult, ProbeSettings
from training.probe_fit import Recipe
from training.probe_head import HEAD_FILE, load_probe
from training.probing import SETTINGS_FILE, probe_into, resolve_probing
from training.report import TABLE_FILE
from training.skipping import SKIPPED_FILE, Skipping

SETTINGS = ProbeSettings(grid=(Recipe(strength=0.1), Recipe(strength=1.0)), tested=(3,), resamples=20)

KILLED = """
import sys
from pathlib import Path
from tests.parts_killed import die_after
from tests.training.test_probing import probed

die_after(int(sys.argv[2]))
probed(Path(sys.argv[1]))
"""

FULL = """
import resource, sys
from pathlib import Path
from tests.training.test_probing import probed

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
probed(Path(sys.argv[1]))
"""


def probed(folder: Path, settings: ProbeSettings = SETTINGS, *skipped: Skipped) -> ProbeResult:
    """The step as the command runs it."""
    skipping = Skipping(0.5, folder / SKIPPED_FILE)
    skipping.add("clips", 90, *skipped)
    resolved = {"step": "probe", **resolve_probing(settings)}
    return probe_into(folder, clips(), settings, resolved, skipping, progress=False)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a run leaves."""
    folder = tmp_path_factory.mktemp("whole")
    probed(folder)
    return content(folder, "*")


@pytest.mark.parametrize("writes", [1, 3, 5])
def test_run_that_was_killed_leaves_the_same_files_when_it_is_run_again(
    tmp_path: Path, uninterrupted: dict[str, str], writes: int
) -> None:
    assert_killed(run_python(KILLED, tmp_path, writes))
    probed(tmp_path)
    assert content(tmp_path, "*") == uninterrupted


@pytest.mark.parametrize("most", [50, 300])
def test_full_disk_is_told_and_a_later_run_ends(tmp_path: Path, uninterrupted: dict[str, str], most: int) -> None:
    """Without room for the settings, and for the head."""
    done = run_python(FULL, tmp_path, most)
    assert "StorageError" in done.stderr
    assert "no room left" in done.stderr
    assert (tmp_path / SETTINGS_FILE).exists() == (most == 300)
    assert not (tmp_path / HEAD_FILE).exists()
    probed(tmp_path)
    assert content(tmp_path, "*") == uninterrupted


def test_head_is_kept_with_its_settings_and_what_was_left_out(tmp_path: Path) -> None:
    result = probed(tmp_path, SETTINGS, Skipped("a.wav", "has no embedding"))
    assert load_probe(tmp_path).labels == result.probe.labels
    kept = json.loads((tmp_path / SETTINGS_FILE).read_text())
    assert (kept["strengths"], kept["tested"], kept["hidden_sizes"]) == ([0.1, 1.0], [3], [])
    assert (tmp_path / SKIPPED_FILE).read_text().splitlines()[1] == "a.wav,has no embedding"
    assert "- skipped: 1, as skipped.csv says" in (tmp_path / TABLE_FILE).read_text()


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    probed(tmp_path)
    with pytest.raises(SettingsError, match=r"strengths: it has \[0\.1, 1\.0\], asked is \[0\.1\]; name another"):
        probed(tmp_path, ProbeSettings(grid=SETTINGS.grid[:1], tested=(3,), resamples=20))


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StorageError, match="another run"):
        probed(tmp_path)
