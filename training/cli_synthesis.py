"""The command that makes annotated soundscapes: `synthesis`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from training.cli_parts import DryRun, Folds, Out, Quiet, Root, made, opened, tell


def synthesis(
    *,
    out: Out,
    clips: Annotated[
        Path | None, typer.Option("--clips", metavar="MANIFEST", help="One label each; none for negatives.")
    ] = None,
    backgrounds: Annotated[Path | None, typer.Option("--backgrounds", metavar="MANIFEST", help="Else made up.")] = None,
    distractors: Annotated[
        Path | None, typer.Option("--distractors", metavar="MANIFEST", help="Not to be found.")
    ] = None,
    root: Root = None,
    folds: Folds = "",
    count: Annotated[int, typer.Option("--count", help="Soundscapes.")] = 60,
    seconds: Annotated[float, typer.Option("--seconds", help="Of each.")] = 60.0,
    events: Annotated[tuple[int, int], typer.Option("--events", help="At least and at most.")] = (5, 5),
    others: Annotated[tuple[int, int], typer.Option("--others", help="Distractors, at least and at most.")] = (0, 0),
    snr_db: Annotated[tuple[float, float], typer.Option("--snr-db", help="From and to.")] = (8.0, 22.0),
    longest: Annotated[float, typer.Option("--longest", help="Seconds of a sound.")] = 5.0,
    speed: Annotated[tuple[float, float], typer.Option("--speed", help="From and to, as 0.9 1.1.")] = (1.0, 1.0),
    peak_dbfs: Annotated[tuple[float, float], typer.Option("--peak-dbfs", help="From and to.")] = (-18.0, -1.0),
    polyphony: Annotated[int, typer.Option("--polyphony", help="Sounds at once.")] = 2,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Make annotated soundscapes of clips and backgrounds."""
    from training.soundscapes import Materials, SoundscapeSettings, write_soundscapes

    settings = made(
        SoundscapeSettings,
        count=count,
        seconds=seconds,
        events=events,
        distractors=others,
        snr_db=snr_db,
        longest_seconds=longest,
        speed=speed,
        peak_dbfs=peak_dbfs,
        polyphony=polyphony,
        seed=seed,
    )
    labelled, noises, unlabelled = (
        opened(path, root, folds) if path else None for path in (clips, backgrounds, distractors)
    )
    if dry_run:
        found = {"clips": labelled, "backgrounds": noises, "distractors": unlabelled}
        return tell({**{name: len(one) if one else 0 for name, one in found.items()}, **asdict(settings)})
    written = write_soundscapes(out, Materials(labelled, noises, unlabelled), settings, progress=not quiet)
    typer.echo(f"{out}: {len(written)} soundscapes with {sum(len(one.heard) for one in written)} sounds")
    return None
