"""The commands that measure a student: `probe` and `evaluate`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from training.cli_parts import DryRun, Folds, Out, Quiet, Root, made, numbers, opened, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssondo_stream.bundle import Label
    from ssondo_stream.engine import Student
    from training.annotations import Annotated as Recording

Task = Literal["single", "multi"]
SETTINGS_FILE = "settings.json"
LABELS_FILE = "labels.json"


def probe(
    embeddings: Annotated[Path, typer.Argument(metavar="EMBEDDINGS", help="The student's, as `extract` writes them.")],
    *,
    out: Out,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="CSV", help="With labels and folds.")],
    root: Root = None,
    folds: Folds = "",
    tested: Annotated[
        str, typer.Option("--tested", metavar="5", help="Folds to test and never fit on; each in turn if not given.")
    ] = "",
    task: Annotated[Task, typer.Option("--task", help="One label a clip, or any number.")] = "single",
    hidden: Annotated[str, typer.Option("--hidden", metavar="256", help="Hidden layers; none for a linear head.")] = "",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    dry_run: DryRun = False,
) -> None:
    """Fit a head on frozen embeddings, and test it on folds that it has not seen."""
    from training.embeddings import open_embeddings
    from training.files import make_folder, remember
    from training.probe import GRID, ProbeSettings
    from training.probe import probe as fit
    from training.probe_data import probe_data
    from training.probe_fit import Recipe
    from training.probe_head import save_probe
    from training.report import Evaluation, write_report

    layers = numbers("--hidden", hidden)
    grid = tuple(made(Recipe, layers, strength=one.strength) for one in GRID)
    settings = made(ProbeSettings, task, grid, numbers("--tested", tested) or None, seed)
    stored, clips = open_embeddings(embeddings), opened(manifest, root, folds)
    data = probe_data(stored, clips, skip_missing=True)
    resolved = {"embeddings_sha256": stored.fingerprint, "manifest_sha256": clips.fingerprint, **asdict(settings)}
    if dry_run:
        return tell({"clips": len(data), "labels": len(data.labels), **resolved})
    make_folder(out)
    remember(out / SETTINGS_FILE, {"step": "probe", **resolved})
    result = fit(data, settings)
    save_probe(out, result.probe)
    facts = {
        "clips": str(len(data)),
        "mean over folds": f"{result.mean:.4f}",
        "spread over folds": f"{result.spread:.4f}",
    }
    write_report(out, Evaluation(f"Probe of {embeddings.name}", result.figures, facts=facts))
    typer.echo(f"{out}: {result.mean:.4f} on average over {len(result.folds)} unseen folds, {len(data)} clips")
    return None


def evaluate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder of a student, or name of a shipped one.")],
    *,
    out: Out,
    recordings: Annotated[
        Path | None, typer.Option("--recordings", metavar="DIR", help="With annotations beside.")
    ] = None,
    clips: Annotated[Path | None, typer.Option("--clips", metavar="CSV", help="Whole clips with labels.")] = None,
    root: Root = None,
    folds: Folds = "",
    choose_on: Annotated[
        Path | None, typer.Option("--choose-on", metavar="DIR", help="Other recordings, to choose thresholds on.")
    ] = None,
    per_hour: Annotated[float, typer.Option("--false-alarms", help="An hour, over all labels, to choose for.")] = 1.0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle on whole clips, and on recordings as the monitor would hear them."""
    from ssondo_stream.loading import load_student
    from training import evaluation as step
    from training.annotations import annotated_recordings, named
    from training.clip_scores import clip_figures, score_clips
    from training.report import Evaluation, write_report

    if not recordings and not clips:
        raise RecipeError("nothing to measure on: name --recordings, or --clips")
    student = load_student(bundle, scores_only=True)
    rules = student.spec.labels
    labels = [rule.name for rule in rules]
    heard = named(annotated_recordings(recordings), labels) if recordings else []
    others = named(annotated_recordings(choose_on), labels) if choose_on else []
    whole = opened(clips, root, folds) if clips else None
    if dry_run:
        return tell({"recordings": len(heard), "clips": len(whole) if whole else 0, "labels": len(rules)})
    if others:
        rules = _chosen(student, others, out, per_hour, not quiet)
    figures = clip_figures(score_clips(student, whole, progress=not quiet), labels) if whole else {}
    measured = Evaluation(student.spec.name, figures)
    if heard:
        scored = step.score_recordings(student, heard, out / "scores", progress=not quiet)
        measured = step.evaluate(student.spec.name, scored, rules, clips=figures)
    write_report(out, measured)
    typer.echo(f"{out}: {len(heard)} recordings and {len(whole) if whole else 0} clips measured")
    return None


def _chosen(
    student: "Student", recordings: "Sequence[Recording]", out: Path, per_hour: float, progress: bool
) -> "tuple[Label, ...]":
    """Labels with thresholds that keep within a budget of false alarms, written down."""
    from training.evaluation import score_recordings
    from training.files import write_json
    from training.thresholds import CONFIRMS, choose_early, choose_thresholds, operating_points

    scored = score_recordings(student, recordings, out / "chosen_on", progress=progress)
    confirms = CONFIRMS if student.spec.verifies else None
    labels = student.spec.labels
    curves = [operating_points(scored, number, rule, confirms=confirms) for number, rule in enumerate(labels)]
    rules = choose_thresholds(curves, per_hour)
    if any(not recording.heard for recording in scored):
        rules = choose_early(scored, rules, per_hour)
    write_json(out / LABELS_FILE, [asdict(rule) for rule in rules])
    return tuple(rules)
