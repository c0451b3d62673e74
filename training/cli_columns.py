"""The command that fits a head for streams: `columns`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import Annotated

import typer

from training.cli_parts import DryRun, Out, Quiet, made, tell


def columns(
    recordings: Annotated[Path, typer.Argument(metavar="RECORDINGS", help="Folder, with annotations beside.")],
    *,
    out: Out,
    student: Annotated[Path, typer.Option("--student", metavar="DIR", help="Folder that `distill` wrote.")],
    window: Annotated[
        float, typer.Option("--window", metavar="SECONDS", help="That the monitor will show the student.")
    ] = 10.0,
    strength: Annotated[
        float | None, typer.Option("--strength", help="Of the regularisation; else chosen on every fifth recording.")
    ] = None,
    max_skipped: Annotated[
        float, typer.Option("--max-skipped", help="Share of the recordings that may be unreadable.")
    ] = 0.01,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a linear head to when sounds are heard in annotated recordings, for `export --probe`."""
    from training.column_probe import STRENGTHS
    from training.column_step import ColumnSettings, make_head, open_practice
    from training.skipping import told

    strengths = STRENGTHS if strength is None else (strength,)
    settings = made(ColumnSettings, strengths, window, max_skipped, not quiet)
    practice = open_practice(student, recordings, settings)
    if dry_run:
        return tell({"skipped": len(practice.skipped), **practice.resolved})
    fitted = make_head(practice, out, settings)
    of = f"{fitted.columns} columns of {len(practice.recordings)} recordings, strength {fitted.strength:g}"
    typer.echo(f"{out}: a head of {len(practice.labels)} labels, of {of}{told(practice.skipped)}")
    return None
