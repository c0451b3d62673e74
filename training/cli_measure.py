"""The commands that measure a student: `probe` and `evaluate`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from training.cli_parts import DryRun, Folds, Out, Quiet, Root, digest, made, numbers, opened, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssondo_stream.bundle import Label
    from training.annotations import Annotated as Recording
    from training.skipping import Skipping

Task = Literal["single", "multi"]
Preference = Literal["f1", "f1+recall"]
MaxSkipped = Annotated[
    float, typer.Option("--max-skipped", help="Share of recordings, and of clips, that may be unusable.")
]


def probe(
    embeddings: Annotated[Path, typer.Argument(metavar="EMBEDDINGS", help="The student's, as `extract` writes them.")],
    *,
    out: Out,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="CSV", help="With labels and folds.")],
    root: Root = None,
    folds: Folds = "",
    tested: Annotated[
        str,
        typer.Option(
            "--tested",
            metavar="5",
            help="Folds to test; the head that is kept has not seen them. Each in turn if not given, and all are seen.",
        ),
    ] = "",
    task: Annotated[Task, typer.Option("--task", help="One label a clip, or any number.")] = "single",
    hidden: Annotated[str, typer.Option("--hidden", metavar="256", help="Hidden layers; none for a linear head.")] = "",
    strengths: Annotated[
        str, typer.Option("--strengths", metavar="0.01,0.1", help="Of regularisation, to choose from by inner folds.")
    ] = "0.001,0.01,0.1,1",
    epochs: Annotated[int, typer.Option("--epochs", help="With hidden layers.")] = 60,
    learning_rate: Annotated[float, typer.Option("--learning-rate", help="With hidden layers.")] = 1e-3,
    dropout: Annotated[float, typer.Option("--dropout", help="Of embeddings, with hidden layers.")] = 0.2,
    max_skipped: MaxSkipped = 0.01,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a head on frozen embeddings, and test it on folds that it has not seen."""
    from training.embeddings import open_embeddings
    from training.probe import ProbeSettings, check_probe
    from training.probe_data import probe_data, without_embedding
    from training.probe_fit import Recipe
    from training.probing import probe_into, resolve_probing
    from training.skipping import SKIPPED_FILE, Skipping, told

    one = made(Recipe, numbers("--hidden", hidden), epochs=epochs, learning_rate=learning_rate, dropout=dropout)
    grid = tuple(made(replace, one, strength=strength) for strength in _decimals("--strengths", strengths))
    settings = made(ProbeSettings, task, grid, numbers("--tested", tested) or None, seed)
    skipping = made(Skipping, max_skipped, None if dry_run else out / SKIPPED_FILE)
    stored, clips = open_embeddings(embeddings), opened(manifest, root, folds)
    skipping.add("clips", len(clips), *without_embedding(stored, clips))
    data = probe_data(stored, clips, skip_missing=True)
    check_probe(data, settings)
    sources = {"embeddings_sha256": stored.fingerprint, "manifest_sha256": clips.fingerprint}
    resolved = {"step": "probe", **sources, **resolve_probing(settings)}
    if dry_run:
        return tell({"clips": len(data), "skipped": len(skipping.found), "labels": len(data.labels), **resolved})
    title = f"Probe of {embeddings.name}"
    result = probe_into(out, data, settings, resolved, skipping, title=title, progress=not quiet)
    unseen = f"{len(result.folds)} unseen fold{'s' if len(result.folds) > 1 else ''}"
    left_out = told(skipping.found)
    typer.echo(f"{out}: {result.mean:.4f} on average over {unseen}, {len(data)} clips{left_out}")
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
    prefer: Annotated[
        Preference, typer.Option("--prefer", help="What to choose for: event F1, or its mean with the sounds found.")
    ] = "f1",
    hop: Annotated[int, typer.Option("--hop", help="Columns between inferences, as the monitor's hop_columns.")] = 1,
    early_windows: Annotated[int, typer.Option("--early-windows", help="As the monitor's.")] = 1,
    settle: Annotated[float, typer.Option("--settle", help="Seconds, as the monitor's settle_seconds.")] = 10.0,
    onset_collar: Annotated[float, typer.Option("--onset-collar", help="Seconds that an onset may be off.")] = 0.5,
    offset_collar: Annotated[float, typer.Option("--offset-collar", help="Seconds that an offset may.")] = 0.5,
    offset_share: Annotated[
        float, typer.Option("--offset-share", help="Of a sound's length that its offset may, where that is more.")
    ] = 0.5,
    bridge: Annotated[float, typer.Option("--bridge", help="Seconds of pause within one annotated sound.")] = 0.0,
    max_skipped: MaxSkipped = 0.01,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Measure a bundle on whole clips, and on recordings as the monitor would hear them."""
    from ssondo_stream.bundle import SPEC_FILE, find_bundle
    from ssondo_stream.loading import load_student
    from training import measuring as step
    from training.matching import Collar
    from training.skipping import SKIPPED_FILE, Skipping, told
    from training.stream_metrics import MetricSettings
    from training.stream_scores import StreamSettings

    if not recordings and not clips:
        raise RecipeError("nothing to measure on: name --recordings, or --clips")
    event = made(Collar, onset_collar, offset_collar, offset_share)
    onset = replace(event, offset=None)
    metrics = made(MetricSettings, event, onset, bridge_seconds=bridge, early_windows=early_windows)
    settings = made(step.MeasureSettings, per_hour, prefer, made(StreamSettings, hop, early_windows, settle), metrics)
    skipping = made(Skipping, max_skipped, None if dry_run else out / SKIPPED_FILE)
    student = load_student(bundle, scores_only=True)
    heard = _heard(recordings, student.spec.labels, skipping, "recordings")
    others = _heard(choose_on, student.spec.labels, skipping, "recordings to choose on")
    whole = opened(clips, root, folds) if clips else None
    measured = step.Measured(heard, others, whole)
    resolved = {
        "step": "evaluate",
        "bundle": student.spec.name,
        "bundle_sha256": digest(find_bundle(bundle) / SPEC_FILE),
        **step.resolve_measuring(student, measured, settings),
    }
    clip_count = len(whole) if whole else 0
    if dry_run:
        return tell(
            {"clips": clip_count, "skipped": len(skipping.found), "labels": len(student.spec.labels), **resolved}
        )
    step.measure_student(
        student, measured, out, settings=settings, resolved=resolved, skipping=skipping, progress=not quiet
    )
    clip_count -= skipping.count("clips")
    typer.echo(f"{out}: {len(heard)} recordings and {clip_count} clips measured{told(skipping.found)}")
    return None


def _heard(folder: Path | None, labels: "Sequence[Label]", skipping: "Skipping", kind: str) -> "list[Recording]":
    """Annotated recordings that can be read, under the student's names of what is heard."""
    from training.annotations import annotated_recordings, named
    from training.recordings import readable

    if folder is None:
        return []
    return readable(named(annotated_recordings(folder), [label.name for label in labels]), skipping, kind)


def _decimals(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise RecipeError(f"{option}: expected numbers as 0.01,0.1, found {text!r}") from error
