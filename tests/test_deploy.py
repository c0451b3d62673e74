"""What the documents of deploy/ say, done; and a new user's walk, from the README to a picture of events.

Blocks marked `sh` are run: in a clean copy with a service in it (`RUN`), with stand-ins for what would change this
machine (`STAND_INS`), or by the tests of their folder. What needs a terminal or root is marked `console`.
"""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.figure import Figure

from monitor.sources.demo import SAMPLE_RATE, Synthesis
from monitor.sources.devices import has_microphone
from tests.parts import PATIENCE, free_port, require
from tests.parts_docs import ROOT, Block, Clone, blocks, clone

RUN = ["quick-start.md", "troubleshooting.md", "privacy.md", "tuning.md"]


# the commands


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clean copy with a service in it that listens to the demonstration, and recordings beside."""
    if has_microphone() and os.environ.get("CI") != "true":
        pytest.skip("this machine has a microphone, which cannot be hidden from the sound library")
    for program in ("mosquitto_sub", "curl", "jq", "lsof", "strace"):
        require(program)
    with clone(tmp_path_factory.mktemp("walk")) as made:
        record(made.folder)
        yield made


def record(folder: Path) -> None:
    """Half a minute of the demonstration as `yard.flac`, and twice with annotations in folders."""
    synthesis = Synthesis(0)
    sound = np.concatenate([synthesis.push() for _ in range(300)])
    soundfile.write(folder / "yard.flac", sound, SAMPLE_RATE)
    for name in ("recordings", "others"):
        (folder / name).mkdir()
        soundfile.write(folder / name / "monday.wav", sound, SAMPLE_RATE)
        (folder / name / "monday.tsv").write_text("onset\toffset\tlabel\n4.0\t19.5\tsmoke_alarm\n")


def commands(document: str) -> list[Block]:
    return blocks(ROOT / "deploy" / "docs" / document)


def test_documents_have_commands() -> None:
    assert all(commands(document) for document in RUN)


@pytest.mark.parametrize(
    ("document", "number"), [(document, number) for document in RUN for number in range(len(commands(document)))]
)
def test_commands_of_a_document_do_what_they_say(world: Clone, document: str, number: int) -> None:
    if document != "quick-start.md":
        world.ensure("make run")
    printed = world.run(commands(document)[number])
    for needle in EXPECTED.get((document, number), ()):
        assert re.search(needle, printed), f"{needle!r} in {printed!r}"


EXPECTED: dict[tuple[str, int], tuple[str, ...]] = {
    ("quick-start.md", 1): (r'\["started","smoke_alarm",0\.\d+,"2.*Z",null\]',),
    ("quick-start.md", 2): ('"ready": ?true', r'ssondo_events_total{label="smoke_alarm",source="demo"} [1-9]'),
    ("quick-start.md", 3): ("my.toml: ok",),
    ("troubleshooting.md", 0): ('"ready": ?true', "ssondo_source_up", '"demo": '),
    ("privacy.md", 0): (r"/state/ssondo-monitor/spool\.sqlite\n", r"127\.0\.0\.1:9?\d+ \(LISTEN\)"),
    ("privacy.md", 1): (r"attached with \d+ threads",),
    ("privacy.md", 2): (r"^\d{1,5} bytes written in 5 s",),
    ("tuning.md", 1): ("0.3: 0 events\n0.5: 0 events\n0.7: 0 events",),
    ("tuning.md", 2): ("sounds overlapped",),
}


# the commands that need another machine

STAND_INS = {  # document: what is noted and not done, and what is noted or there then
    "prometheus/README.md": (("apt-get", "systemctl"), "systemctl restart prometheus"),
    "grafana/README.md": (("systemctl",), "systemctl restart grafana-server"),
    "container/README.md": (("docker", "mosquitto_sub"), "docker compose -f deploy/container/compose.yaml up"),
    "fleet/README.md": ((), "fleet/sensors/pi1"),
}
MINUTES = "python -m tests."  # measurements that take minutes
ELSEWHERE = {"docs/mqtt.md", "systemd/README.md"}  # run by tests of their own


@pytest.mark.parametrize("document", STAND_INS)
def test_commands_for_another_machine_do_what_they_say(world: Clone, tmp_path: Path, document: str) -> None:
    """Files, checks and programs of ours are real; root's folders are below a folder."""
    for name in ("bin", "etc/prometheus", "etc/grafana/provisioning", "var/lib/grafana"):
        (tmp_path / name).mkdir(parents=True)
    programs, expected = STAND_INS[document]
    for name in programs:
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/noted"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    for block in blocks(ROOT / "deploy" / document):
        if MINUTES in block.text:
            continue
        moved = re.sub(r"(?<=\s)/(etc|var)/", rf"{tmp_path}/\1/", block.text)
        world.run(Block("sh", moved), {"PATH": f"{tmp_path}/bin:{world.environ['PATH']}"})
    noted = tmp_path / "noted"
    assert (world.folder / expected).exists() or expected in noted.read_text()


def test_no_document_has_commands_that_nobody_runs() -> None:
    documents = {
        path.relative_to(ROOT / "deploy").as_posix() for path in (ROOT / "deploy").rglob("*.md") if blocks(path)
    }
    assert documents <= {f"docs/{name}" for name in RUN} | set(STAND_INS) | ELSEWHERE


# the walk

STEP_SECONDS = 2


def test_new_user_comes_from_the_readme_to_a_picture_of_events(world: Clone) -> None:
    """The README's rehearsal, a subscriber, a real Prometheus, and the query of the dashboard of the fleet."""
    (line,) = re.findall(r"^(\.venv/bin/ssondo-monitor run --speed \d+)", (ROOT / "README.md").read_text(), re.M)
    with scraped(world) as prometheus:
        world.start(line)
        subscribe = [require("mosquitto_sub"), "-p", str(world.mqtt_port), "-t", "ssondo/+/+/event", "-C", "16"]
        told = subprocess.run(
            subscribe, check=True, capture_output=True, text=True, timeout=PATIENCE * 90
        ).stdout.splitlines()
        labels = {json.loads(event)["slug"] for event in told}
        assert {"smoke_alarm", "clock_tick"} <= labels
        found = answered(prometheus, shown("fleet", "Events by label"), labels)
    draw(found, ROOT / "build" / "walk" / "events.png")


@contextmanager
def scraped(world: Clone) -> Iterator[str]:
    """A real Prometheus with the configuration that is shipped, but quicker; its address."""
    folder, port = world.folder / "deploy" / "prometheus", free_port()
    for path in (folder / "prometheus.yml", folder / "sensors.yml"):
        path.write_text(
            re.sub(r"(scrape|evaluation)_interval: 15s", r"\1_interval: 1s", world.mapped(path.read_text()))
        )
    options = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={world.folder / 'build' / 'tsdb'}"]
    with (world.folder / "prometheus.log").open("wb") as out:
        command = [require("prometheus"), *options, f"--web.listen-address=127.0.0.1:{port}"]
        server = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def shown(board: str, title: str) -> str:
    """The query of a dashboard's panel, for everything."""
    document = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / f"{board}.json").read_text())
    (panel,) = [panel for panel in document["panels"] if panel["title"] == title]
    query: str = panel["targets"][0]["expr"]
    return query.replace("$__rate_interval", f"{STEP_SECONDS * 2}s").replace("$node", ".*").replace("$label", ".*")


def answered(address: str, query: str, labels: set[str]) -> dict[str, list[tuple[float, float]]]:
    """The points of each label, as soon as every one of these has risen."""
    deadline = time.monotonic() + PATIENCE * 90
    found: dict[str, list[tuple[float, float]]] = {}
    while time.monotonic() < deadline:
        now = time.time()
        span = {"start": now - 60, "end": now, "step": STEP_SECONDS}
        with suppress(urllib.error.URLError, ConnectionError):
            url = f"{address}/api/v1/query_range?{urllib.parse.urlencode({'query': query, **span})}"
            with urllib.request.urlopen(url, timeout=PATIENCE * 5) as answer:
                result = json.load(answer)["data"]["result"]
            found = {one["metric"]["label"]: [(float(at), float(y)) for at, y in one["values"]] for one in result}
            if labels <= {label for label, points in found.items() if max(y for _, y in points) > 0}:
                return found
        time.sleep(0.5)
    raise AssertionError(f"{query} gave {found}, expected {labels}")


def draw(found: dict[str, list[tuple[float, float]]], path: Path) -> None:
    """What the query gave, as the panel would show it: bars upon each other."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    first = min(at for points in found.values() for at, _ in points)
    below: dict[float, float] = {}
    for label, points in sorted(found.items()):
        if max(y for _, y in points) > 0:
            times = [at - first for at, _ in points]
            bottoms = [below.get(at, 0.0) for at, _ in points]
            axes.bar(times, [y for _, y in points], STEP_SECONDS * 0.9, bottom=bottoms, label=label)
            below |= {at: y + bottom for (at, y), bottom in zip(points, bottoms, strict=True)}
    title = "Events by label: what the dashboard's query gave"
    axes.set(title=title, xlabel="seconds", ylabel=f"events in {STEP_SECONDS * 2} s")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    assert path.stat().st_size > 10_000
