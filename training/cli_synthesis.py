"""The command that makes annotated soundscapes: `synthesis`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_parts import DryRun, Out, Quiet, made, numbers, opened, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from training.manifest import Manifest


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
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="What paths are relative to in the CSV of --clips.")
    ] = None,
    folds: Annotated[str, typer.Option("--folds", metavar="1,2,3", help="Only of these folds, or of none.")] = "",
    whole: Annotated[
        str, typer.Option("--whole", metavar="LABEL,LABEL", help="Whose pauses belong to them, as an alarm's.")
    ] = "",
    steady: Annotated[
        str, typer.Option("--steady", metavar="LABEL,LABEL", help="Heard all along, as rain is: cut and repeated.")
    ] = "",
    count: Annotated[int, typer.Option("--count", help="Soundscapes.")] = 60,
    seconds: Annotated[float, typer.Option("--seconds", help="Of each.")] = 60.0,
    events: Annotated[tuple[int, int], typer.Option("--events", help="At least and at most.")] = (5, 5),
    others: Annotated[tuple[int, int], typer.Option("--others", help="Distractors, at least and at most.")] = (0, 0),
    snr_db: Annotated[tuple[float, float], typer.Option("--snr-db", help="From and to.")] = (8.0, 22.0),
    longest: Annotated[float, typer.Option("--longest", help="Seconds of a sound.")] = 5.0,
    speed: Annotated[tuple[float, float], typer.Option("--speed", help="From and to, as 0.9 1.1.")] = (1.0, 1.0),
    rooms: Annotated[float, typer.Option("--rooms", help="Share of sounds in a room of their own.")] = 0.65,
    peak_dbfs: Annotated[tuple[float, float], typer.Option("--peak-dbfs", help="From and to.")] = (-18.0, -1.0),
    polyphony: Annotated[int, typer.Option("--polyphony", help="Sounds at once.")] = 2,
    bridge: Annotated[float, typer.Option("--bridge-seconds", help="A label twice within these is one event.")] = 1.0,
    margin: Annotated[float, typer.Option("--margin-seconds", help="Sounds may go on so far beyond the edges.")] = 0.0,
    max_skipped: Annotated[float, typer.Option("--max-skipped", help="Share of clips that may be unreadable.")] = 0.05,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Make annotated soundscapes of clips and backgrounds."""
    from training.soundscapes import Maker, Materials, SoundscapeSettings, plan_soundscapes, write_made

    settings = made(
        SoundscapeSettings,
        count=count,
        seconds=seconds,
        events=events,
        distractors=others,
        snr_db=snr_db,
        longest_seconds=longest,
        polyphony=polyphony,
        speed=speed,
        in_rooms=rooms,
        bridge_seconds=bridge,
        peak_dbfs=peak_dbfs,
        margin_seconds=margin,
        seed=seed,
    )
    materials = made(
        Materials,
        _labelled(clips, root, folds),
        _not_of_others(backgrounds, folds),
        _not_of_others(distractors, folds),
        whole=_names(whole),
        steady=_names(steady),
        most_skipped=max_skipped,
    )
    maker = made(Maker, materials, settings)
    if dry_run:
        return tell(plan_soundscapes(out, maker))
    written = write_made(out, maker, progress=not quiet)
    lost = f"; {maker.no_room} more found no room" if maker.no_room else ""
    typer.echo(f"{out}: {len(written)} soundscapes with {sum(len(one.heard) for one in written)} sounds{lost}")
    return None


def _labelled(clips: Path | None, root: Path | None, folds: str) -> "Manifest | None":
    if clips:
        return opened(clips, root, folds)
    if root or folds:
        raise RecipeError("--root and --folds are of --clips: name a manifest of them")
    return None


def _not_of_others(path: Path | None, folds: str) -> "Manifest | None":
    """All of a manifest but what it says is of other folds, so that nothing of theirs leaks in."""
    found, wanted = opened(path) if path else None, numbers("--folds", folds)
    if not found or not wanted:
        return found
    return replace(found, entries=tuple(entry for entry in found.entries if entry.fold in (None, *wanted)))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
