"""The command that makes a second opinion for a student: `verifier`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import Annotated

import typer

from training.cli_parts import DryRun, Out, Quiet, made, tell


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
    from training.skipping import told as skipped
    from training.verifier_step import VerifierSettings, make_verifier, open_lessons

    settings = made(VerifierSettings, seed, max_skipped, not quiet)
    lessons = open_lessons(bundle, recordings, refuse, settings)
    if dry_run:
        return tell({**lessons.figures, **lessons.resolved})
    refused = make_verifier(lessons, out, settings)
    if refused is None:
        typer.echo(f"{out}: this verifier is finished already, and left as it is")
    else:
        of = f"{len(lessons.rules)} labels, of {len(lessons.heard)} recordings and {refused} mistakes"
        typer.echo(f"{out}: a verifier of {of}{skipped(lessons.skipped)}")
    return None
