"""The commands that make what a student learns from: `extract` and `cluster`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

from pathlib import Path
from typing import Annotated, Literal

import typer

from training.cli_parts import Audio, DryRun, Folds, Out, Quiet, Root, digest, made, numbers, opened, tell
from training.tables import RecipeError

Precision = Literal["float16", "float32"]
Engine = Literal["sklearn", "faiss"]


def extract(
    manifest: Audio,
    *,
    out: Out,
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            metavar="NAME",
            help="matpac, matpac++, m2d, a bundle, a training, module:factory; several with commas.",
        ),
    ],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="The teacher's weights.")
    ] = None,
    root: Root = None,
    folds: Folds = "",
    seconds: Annotated[float, typer.Option("--seconds", help="Heard of each clip.")] = 10.0,
    columns: Annotated[bool, typer.Option("--columns", help="Of each stretch, for recipes with columns=true.")] = False,
    dtype: Annotated[Precision, typer.Option("--dtype", help="Of what is stored.")] = "float16",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    batch: Annotated[int, typer.Option("--batch", help="Clips that the teacher gets at a time.")] = 16,
    readers: Annotated[int, typer.Option("--readers", help="Threads that read audio.")] = 2,
    max_skipped: Annotated[float, typer.Option("--max-skipped", help="Share of clips that may be unreadable.")] = 0.01,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Embed audio by a teacher."""
    from training import extract as step
    from training.teachers import load_teacher

    clips = opened(manifest, root, folds)
    settings = made(
        step.ExtractSettings,
        teacher=_identity(teacher, checkpoint),
        seconds=seconds,
        columns=columns,
        dtype=dtype,
        device=device,
        batch=batch,
        readers=readers,
        max_skipped_share=max_skipped,
        progress=not quiet,
    )
    loaded = load_teacher(teacher, checkpoint, device)
    if dry_run:
        return tell(step.plan_extraction(clips, loaded, out, settings))
    report = step.extract(clips, loaded, out, settings)
    typer.echo(
        f"{out}: {report.stored} of {report.clips} clips embedded, {len(report.skipped)} skipped, "
        f"{report.teacher_share:.0%} of the time in the teacher"
    )
    return None


def cluster(
    embeddings: Annotated[Path, typer.Argument(metavar="EMBEDDINGS", help="Folder that `extract` wrote, or of .npz.")],
    *,
    out: Out,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", metavar="CSV", help="Says which clip is of which fold.")
    ] = None,
    folds: Folds = "",
    evaluation_folds: Annotated[
        str, typer.Option("--evaluation-folds", metavar="5", help="Assigned to clusters, and never looked at before.")
    ] = "",
    clusters: Annotated[int, typer.Option("--clusters", help="How many.")] = 50,
    levels: Annotated[str, typer.Option("--levels", metavar="2000,500", help="Finer levels below, falling.")] = "",
    normalise: Annotated[bool, typer.Option("--normalise", help="Bring embeddings to length 1 first.")] = False,
    components: Annotated[int, typer.Option("--components", help="Of a principal component analysis; 0 for none.")] = 0,
    passes: Annotated[int, typer.Option("--passes", help="Over embeddings that are more than a chunk.")] = 10,
    chunk_rows: Annotated[int, typer.Option("--chunk-rows", help="Embeddings in memory at a time.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed")] = 42,
    engine: Annotated[Engine, typer.Option("--engine", help="What finds centres.")] = "sklearn",
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Cluster embeddings of a training set."""
    import numpy as np

    from training import cluster as step
    from training.embeddings import open_embeddings
    from training.kmeans import FitSettings

    fit = made(FitSettings, passes=passes, chunk_rows=chunk_rows, seed=seed, engine=engine)
    settings = made(
        step.ClusterSettings,
        clusters=clusters,
        levels=numbers("--levels", levels),
        normalise=normalise,
        components=components,
        fit=fit,
        progress=not quiet,
    )
    stored = open_embeddings(embeddings)
    train, evaluation = np.arange(len(stored)), np.empty(0, np.int64)
    if folds or evaluation_folds:
        if manifest is None or not folds:
            raise RecipeError("folds need --manifest, and --folds to fit to where there are --evaluation-folds")
        clips = opened(manifest)
        train = step.fold_rows(stored, clips, numbers("--folds", folds))
        if evaluation_folds:
            evaluation = step.fold_rows(stored, clips, numbers("--evaluation-folds", evaluation_folds))
    if dry_run:
        return tell(step.plan_clustering(stored, train, settings, evaluation))
    report = step.cluster(stored, train, out, settings, evaluation)
    typer.echo(
        f"{out}: {len(report.sizes)} clusters of {min(report.sizes)} to {max(report.sizes)} of {len(train)} clips"
    )
    return None


def _identity(teacher: str, checkpoint: Path | None) -> str:
    """What tells a teacher from others: its name, and the checksum of its weights where they are in a file."""
    from training.learner import STUDENT_FILE
    from training.teachers.textures import TEXTURES_FILE

    files = (STUDENT_FILE, TEXTURES_FILE)
    parts = [Path(member) / name for member in teacher.split(",") for name in files]
    if trained := [digest(part) for part in parts if part.is_file()]:
        return f"{teacher} {' '.join(trained)}"
    return f"{teacher} {digest(checkpoint)}" if checkpoint else teacher
