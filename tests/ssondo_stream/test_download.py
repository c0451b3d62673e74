"""Downloads by the real client from a real server, in processes of their own: the client reads its settings once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssondo_stream.download import Fetched, fetch, locate
from ssondo_stream.errors import CheckpointError
from ssondo_stream.published import MODELS
from tests.parts import PATIENCE
from tests.parts_hub_server import REPOSITORY, Hub, serve, sha256

FIRST, SECOND = "a" * 40, "b" * 40
STUDENT, HEAD, NEWER = b"student" * 1000, b"head" * 100, b"newer" * 1000
FILES = {"matpac_mobilenetv3.ckpt": STUDENT, "heads/esc50.pth": HEAD}
CLIENT = """
import json, sys
from ssondo_stream.download import fetch
from ssondo_stream.errors import StreamError
answers = []
for name, revision in json.loads(sys.argv[1]):
    try:
        found = fetch(name, revision)
        answers.append([found.path.read_bytes().decode(), found.sha256, found.repository, found.revision])
    except StreamError as error:
        answers.append([type(error).__name__, str(error)])
print(json.dumps(answers))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve(Hub({FIRST: FILES})) as running:
        yield running


def ask(home: Path, endpoint: str, *names: tuple[str, str | None], **environ: str) -> list[list[str]]:
    """Fetch the names one after the other in a fresh process whose cache is `home`."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLIENT, json.dumps(names)],
        env={**clean, **settings, **environ},
        capture_output=True,
        text=True,
        timeout=PATIENCE * 60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[str]] = json.loads(done.stdout)
    return answers


def test_file_arrives_with_its_checksum_and_commit(tmp_path: Path, hub: Hub) -> None:
    answers = ask(tmp_path, hub.endpoint, ("matpac-mobilenetv3", None), ("esc50", None))
    assert answers == [
        [STUDENT.decode(), sha256(STUDENT), REPOSITORY, FIRST],
        [HEAD.decode(), sha256(HEAD), REPOSITORY, FIRST],
    ]


def test_second_time_asks_nobody(tmp_path: Path, hub: Hub) -> None:
    first = ask(tmp_path, hub.endpoint, ("matpac-mobilenetv3", None))
    hub.asked.clear()
    assert ask(tmp_path, hub.endpoint, ("matpac-mobilenetv3", None)) == first
    assert ask(tmp_path, hub.endpoint, ("matpac-mobilenetv3", None), HF_HUB_OFFLINE="1") == first
    assert hub.asked == []


def test_commit_of_the_first_download_stays_though_the_branch_moves(tmp_path: Path, hub: Hub) -> None:
    ask(tmp_path, hub.endpoint, ("matpac-mobilenetv3", None))
    hub.commits[SECOND] = {**FILES, "matpac_mobilenetv3.ckpt": NEWER, "heads/esc50.pth": NEWER}
    again, head, named = ask(
        tmp_path, hub.endpoint, ("matpac-mobilenetv3", None), ("esc50", None), ("matpac-mobilenetv3", "main")
    )
    assert (again[0], again[3]) == (STUDENT.decode(), FIRST)
    assert (head[0], head[3]) == (HEAD.decode(), FIRST)
    assert (named[0], named[3]) == (NEWER.decode(), SECOND)
    assert ask(tmp_path, hub.endpoint, ("esc50", None))[0][3] == FIRST


def test_file_that_is_not_uploaded_is_told_and_found_at_a_newer_revision(tmp_path: Path, hub: Hub) -> None:
    absent, _ = ask(tmp_path, hub.endpoint, ("m2d-dymn", None), ("esc50", None))
    assert absent[0] == "DownloadError"
    assert f"there is no m2d_dymn.ckpt in {REPOSITORY} at revision main" in absent[1]
    assert "known to be there: matpac-mobilenetv3" in absent[1]
    hub.commits[SECOND] = {**FILES, "m2d_dymn.ckpt": NEWER}
    pinned, newer = ask(tmp_path, hub.endpoint, ("m2d-dymn", None), ("m2d-dymn", "main"))
    assert f"at revision {FIRST}" in pinned[1]
    assert newer[0] == NEWER.decode()


@pytest.mark.parametrize("name", ["matpac-mobilenetv3", "m2d-dymn"])
def test_offline_without_a_copy_says_what_to_do(tmp_path: Path, hub: Hub, name: str) -> None:
    (kind, message), *_ = ask(tmp_path, hub.endpoint, (name, None), HF_HUB_OFFLINE="1")
    assert kind == "DownloadError"
    assert message.startswith(f"{name}: {MODELS[name].file} in {REPOSITORY}")
    assert "connect, unset HF_HUB_OFFLINE, or fetch the file elsewhere and name its path" in message
    assert ("may not have uploaded it" in message) == (not MODELS[name].uploaded)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("revision", "expected"), [("no-such", "does not give"), ("../main", "does not give"), (SECOND, "does not give")]
)
def test_revision_that_is_not_there_is_told(tmp_path: Path, hub: Hub, revision: str, expected: str) -> None:
    (kind, message), *_ = ask(tmp_path, hub.endpoint, ("esc50", revision))
    assert kind == "DownloadError"
    assert expected in message
    assert revision in message


def test_file_with_other_bytes_than_the_hub_says_is_refused(tmp_path: Path, hub: Hub) -> None:
    hub.damage = True
    (kind, message), *_ = ask(tmp_path, hub.endpoint, ("esc50", None))
    assert kind == "DownloadError"
    assert f"but the hub says {sha256(HEAD)}" in message


def test_missing_client_is_told_with_what_to_install() -> None:
    program = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from ssondo_stream.download import fetch\nfetch('matpac-mobilenetv3')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=PATIENCE * 60
    )
    assert "pip install 'ssondo-monitor[hub]', or name a local file" in done.stderr.splitlines()[-1]


def test_unknown_name_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="no published model or head 'passt': expected one of matpac-mobilenetv3"):
        fetch("passt")


def test_local_file_is_found_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "student.ckpt"
    path.write_bytes(STUDENT)
    found = locate(path, MODELS, "checkpoint")
    assert found == Fetched(path, sha256(STUDENT))
    assert found.provenance == {"file": "student.ckpt", "sha256": sha256(STUDENT)}
    with pytest.raises(CheckpointError, match=r"no checkpoint 'none\.ckpt': expected a file, or one of matpac-"):
        locate("none.ckpt", MODELS, "checkpoint")
