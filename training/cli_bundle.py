"""The command that makes a second opinion for a student: `verifier`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import Annotated

import typer

from training.cli_parts import DryRun, Out, Quiet, tell


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
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Fit a verifier, which hears a sound's whole extent once scores have found it."""
    from ssondo_stream.bundle import find_bundle, load_spec
    from ssondo_stream.loading import load_student
    from training.annotations import annotated_recordings, named
    from training.evaluation import score_recordings
    from training.mistakes import mistakes
    from training.verifier import fit_verifier

    rules = load_spec(find_bundle(bundle)).labels
    labels = tuple(rule.name for rule in rules)
    heard = named(annotated_recordings(recordings), labels)
    further = named(annotated_recordings(refuse, demanded=False), labels) if refuse else []
    if dry_run:
        sounds = sum(len(one.heard) for one in heard)
        return tell({"recordings": len(heard), "sounds": sounds, "labels": len(labels), "refused in": len(further)})
    mistaken = []
    if further:
        student = load_student(bundle, scores_only=True)
        scored = score_recordings(student, further, out / "scores", verified=False, progress=not quiet)
        mistaken = mistakes(further, scored, rules)
    fit_verifier(heard, labels, out, mistaken=mistaken, seed=seed, progress=not quiet)
    refused = sum(len(one.heard) for one in mistaken)
    typer.echo(f"{out}: a verifier of {len(labels)} labels, of {len(heard)} recordings and {refused} mistakes")
    return None
