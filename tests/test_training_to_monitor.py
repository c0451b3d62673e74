"""From a few recordings to events of the monitor: every command in its turn, as a user calls them."""

import csv
import json
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from monitor.events import Event
from ssondo_stream.bundle import load_spec
from tests.parts import PATIENCE
from tests.parts_shared import shared
from tests.training.parts_train_cli import ssondo_train
from training.embeddings import open_embeddings

LABELS = ("dog_bark", "rain")
LEARNT, CHOSEN, MEASURED = "1,2", "3", "4"  # folds; thresholds are chosen on one that nothing has learnt from
UNHEARD = f"{CHOSEN},{MEASURED}"
CLIPS_EACH = 2  # of a label in a fold
HEARD, SCENE = 2.0, 8.0  # seconds
MEL = ("mel.n_mels=64", "mel.offset=1e-6", "mel.mean=-5.0", "mel.std=5.0")  # that verifiers hear
TINY = (*MEL, "student.options.width_mult=0.1", "student.hidden=16", "epochs=2", "batch=4", "sampling.draws=8")


def train(*arguments: object) -> str:
    """`ssondo-train`; gives what it said."""
    code, said, error = ssondo_train(*arguments)
    assert code == 0, error
    return said


@pytest.fixture
def clips(tmp_path: Path) -> list[object]:
    """Options that name recordings of ESC-10: a few of each label and fold."""
    folder, path = shared("data/esc10"), tmp_path / "clips.csv"
    with (folder / "meta.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["label"], row["fold"], row["file"]) for row in csv.DictReader(file)]
    rows = sorted(row for row in rows if row[0] in LABELS and row[1] in f"{LEARNT},{UNHEARD}".split(","))
    few = [row for _, alike in groupby(rows, lambda row: row[:2]) for row in list(alike)[:CLIPS_EACH]]
    assert len(few) == len(LABELS) * 4 * CLIPS_EACH
    path.write_text("path,labels,fold\n" + "".join(f"{name},{label},{fold}\n" for label, fold, name in few))
    return [path, "--root", folder]


def test_recordings_become_a_student_whose_events_the_monitor_reports(clips: list[object], tmp_path: Path) -> None:
    distilled(clips, tmp_path)
    probed(clips, tmp_path)
    scene = measured(clips, tmp_path)
    bundle = exported_for_every_score(clips, tmp_path)
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(
        told in card for told in ("| dog_bark | 0 |", "accuracy, fold", "event F1", "`CREDITS.csv` lists the sources")
    )
    events = replayed(bundle, scene)
    assert {event["slug"] for event in events} == set(LABELS)
    for label in LABELS:
        reaches_through_the_recording([event for event in events if event["slug"] == label])
    assert {(event["model"], event["model_sha256"]) for event in events} == {("mine", load_spec(bundle).network_sha256)}


def distilled(clips: list[object], work: Path) -> None:
    """A student of a shipped bundle's embeddings."""
    teacher = ["--teacher", "default", "--seconds", HEARD, "--quiet"]
    assert "16 of 16 clips embedded" in train("extract", *clips, "--out", work / "embeddings", *teacher)
    fitted = ["--manifest", *clips[:1], "--folds", LEARNT, "--clusters", 2, "--quiet"]
    assert "of 8 clips" in train("cluster", work / "embeddings", "--out", work / "clusters", *fitted)
    dim = open_embeddings(work / "embeddings").dim
    tiny = [part for value in (*TINY, f"seconds={HEARD}", f"teacher.dim={dim}") for part in ("--set", value)]
    made = ["--embeddings", work / "embeddings", "--clusters", work / "clusters"]
    run = ["--device", "cpu", "--threads", 1, "--quiet"]
    recipe = ["matpac_mobilenetv3", *tiny, "--manifest", *clips, "--folds", LEARNT]
    assert "4 of 4 steps" in train("distill", *recipe, *made, "--out", work / "student", *run)


def probed(clips: list[object], work: Path) -> None:
    """A head over the student's own embeddings, of the folds that the student has learnt from too."""
    assert "0 labels" in train("export", work / "student", "--out", work / "headless")
    teacher = ["--teacher", work / "headless", "--seconds", HEARD, "--quiet"]
    assert "16 of 16 clips embedded" in train("extract", *clips, "--out", work / "own", *teacher)
    fitted = ["--manifest", *clips, "--tested", UNHEARD, "--quiet"]
    assert "over 2 unseen folds, 16 clips" in train("probe", work / "own", "--out", work / "head", *fitted)


def measured(clips: list[object], work: Path) -> Path:
    """Thresholds from scenes of recordings that nothing has learnt from, measured on others; gives one of these."""
    head = ["--probe", work / "head"]
    assert "2 labels" in train("export", work / "student", "--out", work / "untuned", *head)
    learnt, chosen, unheard = (scenes(clips, work, folds) for folds in (LEARNT, CHOSEN, MEASURED))
    fitted = [learnt, "--refuse", learnt, "--bundle", work / "untuned", "--out", work / "verifier", "--quiet"]
    assert "a verifier of 2 labels, of 2 recordings and" in train("verifier", *fitted)
    given = ["--recordings", unheard, "--choose-on", chosen, "--false-alarms", 1e6, "--quiet"]
    given += ["--clips", *clips, "--folds", MEASURED]
    said = train("evaluate", work / "untuned", "--out", work / "report", *given)
    assert "2 recordings and 4 clips measured" in said
    return min(unheard.glob("*.wav"))


def scenes(clips: list[object], work: Path, folds: str) -> Path:
    """Soundscapes of recordings of these folds."""
    out = work / f"scenes-{folds}"
    size = ["--count", 2, "--seconds", SCENE, "--longest", 2, "--events", 1, 2, "--quiet"]
    assert "2 soundscapes with" in train("synthesis", "--clips", *clips, "--folds", folds, "--out", out, *size)
    return out


def exported_for_every_score(clips: list[object], work: Path) -> Path:
    """The final bundle, tuned so that any score is an event: a student of four steps tells nothing apart."""
    chosen = json.loads((work / "report" / "labels.json").read_text(encoding="utf-8"))
    lowest = [{**label, "threshold": 0, "off": 0, "early": 0, "confirm": 1e-9} for label in chosen]
    (work / "labels.json").write_text(json.dumps(lowest), encoding="utf-8")
    head = ["--probe", work / "head", "--labels", work / "labels.json", "--verifier", work / "verifier"]
    told = ["--report", work / "report", "--credits", *clips[:1]]
    assert "2 labels" in train("export", work / "student", "--out", work / "mine", *head, *told)
    return work / "mine"


def replayed(bundle: Path, scene: Path) -> list[dict[str, object]]:
    """Messages that the monitor would send, each as its schema says."""
    config = bundle.parent / "monitor.toml"
    config.write_text(f'[model]\nbundle = "./{bundle.name}"\n', encoding="utf-8")
    command = [sys.executable, "-m", "monitor", "replay", "--json", "--config", str(config), str(scene)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert (done.returncode, done.stderr) == (0, "")
    for line in done.stdout.splitlines():
        assert Event.from_json(line.encode()).source == scene.name
    return [json.loads(line) for line in done.stdout.splitlines()]


def reaches_through_the_recording(messages: list[dict[str, object]]) -> None:
    """A label that every score is enough for starts with the audio and ends with it, so all of it was analysed."""
    started, ended = messages
    assert (started["event_type"], ended["event_type"], ended["confirmed"]) == ("started", "ended", True)
    onset, offset = ended["onset_s"], ended["offset_s"]
    assert isinstance(onset, float) and isinstance(offset, float)
    assert 0 <= onset < offset <= SCENE
    assert (onset, offset) == pytest.approx((0, SCENE), abs=0.6)  # the end of a file rarely fills its last column
