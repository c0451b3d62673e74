"""The step `evaluate`: a student's figures on whole clips and on recordings, in a folder that goes on after a kill.

Scores of recordings are kept as they are made. What follows from them takes seconds, and is written anew.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ssondo_stream.bundle import Label
from ssondo_stream.engine import Student
from training.annotations import Annotated
from training.clip_scores import check_clips, clip_figures, score_clips
from training.evaluation import EvaluationError, evaluate, score_recordings
from training.files import locked, make_folder, remember, write_json
from training.manifest import Manifest
from training.recordings import identity
from training.report import Evaluation, write_report
from training.skipping import SKIPPED_FILE, Skipping
from training.stream_metrics import MetricSettings
from training.stream_scores import Recording, StreamSettings
from training.thresholds import (
    CONFIRMS,
    WORTHS,
    Preference,
    check_budget,
    choose_early,
    choose_thresholds,
    operating_points,
)

SETTINGS_FILE = "settings.json"
LABELS_FILE = "labels.json"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a student is measured on.

    Attributes:
        recordings: with annotations; thresholds are measured on them.
        chosen_on: others, on which thresholds are chosen; the bundle's are taken where there are none.
        clips: whole ones, with labels.
    """

    recordings: Sequence[Annotated] = ()
    chosen_on: Sequence[Annotated] = ()
    clips: Manifest | None = None


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """How it is measured.

    Attributes:
        per_hour: false alarms that the chosen thresholds may give, over all labels.
        prefer: what they are chosen for, a name of `WORTHS`.
        stream: how recordings are streamed.
        metrics: what is counted how.
    """

    per_hour: float = 1.0
    prefer: Preference = "f1"
    stream: StreamSettings = field(default_factory=StreamSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)

    def __post_init__(self) -> None:
        check_budget(self.per_hour)
        if self.prefer not in WORTHS:
            raise ValueError(f"need a preference of {', '.join(WORTHS)}, got {self.prefer!r}")


def resolve_measuring(student: Student, of: Measured, settings: MeasureSettings) -> dict[str, object]:
    """What the figures depend on, beside the bundle; refuses what cannot be measured.

    Raises:
        EvaluationError: the student has no labels, or a shorter window than is to be hopped over.
        ManifestError: the clips have no labels, or some that the student does not know.
    """
    spec, stream, metrics = student.spec, settings.stream, settings.metrics
    if not spec.labels:
        raise EvaluationError(f"{spec.name}: has no labels to measure; export the student with a head, --probe")
    if stream.hop_columns > (most := spec.columns_in(spec.window_frames)):
        raise EvaluationError(f"{spec.name}: hops of {stream.hop_columns} columns, its window has {most}")
    if of.clips:
        check_clips(of.clips, [rule.name for rule in spec.labels])
    return {
        "clips_sha256": of.clips.fingerprint if of.clips else None,
        **identity("recordings", of.recordings),
        **identity("chosen_on", of.chosen_on),
        "false_alarms_per_hour": settings.per_hour,
        "prefer": settings.prefer,
        **asdict(stream),
        **{f"event_{name}": value for name, value in asdict(metrics.event).items()},
        "bridge_seconds": metrics.bridge_seconds,
    }


def measure_student(
    student: Student,
    of: Measured,
    out: Path,
    *,
    settings: MeasureSettings,
    resolved: dict[str, object],
    skipping: Skipping,
    progress: bool = True,
) -> None:
    """Write `settings.json`, `skipped.csv`, the report, and `labels.json` where thresholds are chosen.

    Args:
        student: loaded.
        of: what it is measured on.
        out: folder, in which scores of recordings are kept too.
        settings: how.
        resolved: what the output depends on.
        skipping: what was left out already, and how much may be.
        progress: whether bars are shown.

    Raises:
        SettingsError: `out` was begun with something else.
        ManifestError: too many clips cannot be read.
        BudgetError: no thresholds keep within the budget.
        StorageError: the disk is full, or another run is at work in `out`; scores that are kept stay usable.
    """
    make_folder(out)
    with locked(out):
        remember(out / SETTINGS_FILE, resolved)
        rules = _chosen(student, of, out, settings, progress=progress)
        labels = [rule.name for rule in rules]
        clips = clip_figures(score_clips(student, of.clips, skipping, progress=progress), labels) if of.clips else {}
        found = Evaluation(student.spec.name, clips, facts=_facts(of, settings, skipping))
        if of.recordings:
            scored = score_recordings(student, of.recordings, out / "scores", settings.stream, progress=progress)
            found = evaluate(found.title, scored, rules, settings.metrics, clips=clips, facts=found.facts)
        skipping.write()
        write_report(out, found)


def _chosen(
    student: Student, of: Measured, out: Path, settings: MeasureSettings, *, progress: bool
) -> tuple[Label, ...]:
    """The student's labels, with thresholds that keep within the budget where there is something to choose them on."""
    if not of.chosen_on:
        return student.spec.labels
    scored = score_recordings(student, of.chosen_on, out / "chosen_on", settings.stream, progress=progress)
    rules = _within_budget(student, scored, settings)
    write_json(out / LABELS_FILE, [asdict(rule) for rule in rules])
    return tuple(rules)


def _within_budget(student: Student, scored: Sequence[Recording], settings: MeasureSettings) -> list[Label]:
    confirms = CONFIRMS if student.spec.verifies else None
    curves = [
        operating_points(scored, number, rule, settings=settings.metrics, confirms=confirms)
        for number, rule in enumerate(student.spec.labels)
    ]
    rules = choose_thresholds(curves, settings.per_hour, WORTHS[settings.prefer])
    if all(recording.heard for recording in scored):
        return rules
    return choose_early(scored, rules, settings.per_hour, settings.metrics)


def _facts(of: Measured, settings: MeasureSettings, skipping: Skipping) -> dict[str, str]:
    """What readers of a report must know beside its figures."""
    facts = {}
    if of.chosen_on:
        facts["thresholds"] = (
            f"chosen on {len(of.chosen_on)} recordings for {settings.prefer}, "
            f"at most {settings.per_hour:g} false alarms an hour"
        )
    if skipping.found:
        facts["skipped"] = f"{len(skipping.found)}, as {SKIPPED_FILE} says"
    return facts
