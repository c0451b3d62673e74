"""The commands that make what the monitor runs of a student: `verifier` and `export`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import Annotated

import typer

from training.cli_parts import DryRun, Out, Quiet, made, tell
from training.tables import RecipeError


def verifier(
    recordings: Annotated[Path, typer.Argument(metavar="RECORDINGS", help="Folder, with annotations beside.")],
    *,
    out: Out,
    bundle: Annotated[str, typer.Option("--bundle", metavar="BUNDLE", help="Of a student with the same labels.")],
    refuse: Annotated[
        Path | None,
        typer.Option(
            "--refuse",
            metavar="DIR",
            help="Recordings, annotated or without any of the sounds: what that student mistakes in them it refuses.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    max_skipped: Annotated[
        float, typer.Option("--max-skipped", help="Share of a folder's recordings that may be unreadable.")
    ] = 0.01,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a verifier, which hears a sound's whole extent once scores have found it; a finished one is left alone."""
    from training.verifier_step import VerifierSettings, make_verifier, open_lessons

    settings = made(VerifierSettings, seed, max_skipped, not quiet)
    lessons = open_lessons(bundle, recordings, refuse, settings)
    if dry_run:
        return tell({**lessons.figures, **lessons.resolved})
    refused = make_verifier(lessons, out, settings)
    if refused is None:
        typer.echo(f"{out}: this verifier is finished already, and left as it is")
    else:
        told = lessons.figures
        of = f"{len(lessons.rules)} labels, of {told['recordings']} recordings and {refused} mistakes"
        typer.echo(f"{out}: a verifier of {of}, {told['skipped']} recordings skipped")
    return None


def export(
    student: Annotated[Path, typer.Argument(metavar="STUDENT", help="Folder that `distill` wrote, or a bundle.")],
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the bundle.")],
    textures: Annotated[
        Path | None, typer.Option("--textures", metavar="DIR", help="Statistics to put beside a finished bundle.")
    ] = None,
    probe: Annotated[Path | None, typer.Option("--probe", metavar="DIR", help="What `probe` wrote, its head.")] = None,
    verifier: Annotated[
        Path | None, typer.Option("--verifier", metavar="DIR", help="What `verifier` wrote, with --probe.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE", help="Their settings for streams, as `evaluate` chooses them."),
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="SECONDS", help="That the monitor shows it; else as trained.")
    ] = None,
    extra: Annotated[
        list[Path] | None, typer.Option("--extra", metavar="FILE", help="Goes with it, such as the model card.")
    ] = None,
    weights: Annotated[bool, typer.Option(help="For the engine torch, and to train on: half of the bundle.")] = True,
) -> None:
    """Write a bundle that the monitor runs, once ONNX Runtime says what torch says."""
    from training.learner import load_learner
    from training.probe_head import load_probe
    from training.student_bundle import read_label_settings, write_student_bundle
    from training.verifier import load_verifier

    if (labels or verifier) and not probe:
        raise RecipeError("--labels and --verifier are of a head: name --probe too")
    files = {path.name: _content(path) for path in extra or ()}
    if textures:
        if probe or window:
            raise RecipeError("--textures go beside a finished bundle, which has its head and its window")
        return _put_beside(student, textures, out, files)
    trained, head = load_learner(student), load_probe(probe) if probe else None
    settings = read_label_settings(labels) if labels else None
    difference = write_student_bundle(
        trained,
        out,
        probe=head,
        verifier=load_verifier(verifier) if verifier else None,
        labels=settings,
        window_seconds=window,
        weights=weights,
        files=files,
    )
    told = len(head.labels) if head else 0
    typer.echo(f"{out}: {told} labels, ONNX Runtime and torch differ by {difference:.1e}")
    return None


def _put_beside(bundle: Path, textures: Path, out: Path, files: dict[str, bytes]) -> None:
    from ssondo_stream.bundle import load_spec
    from ssondo_stream.students.export import put_beside
    from training.teachers.textures import MEL, load_textures

    standard = load_textures(textures)
    if (heard := load_spec(bundle).mel) != MEL:
        raise RecipeError(f"{bundle}: the statistics are of frames as {MEL}, this student hears {heard}")
    difference = put_beside(bundle, standard, standard.textures.count, out, files)
    typer.echo(f"{out}: {standard.textures.count} statistics added, ONNX Runtime and torch differ by {difference:.1e}")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
