"""The commands that make what a student learns from: `extract` and `cluster`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from training.cli_parts import Audio, DryRun, Folds, Out, Quiet, Root, digest, made, numbers, opened, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from training.embeddings import Embeddings
    from training.points import Index

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
    with _terminated_as_interrupted():
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
        Path | None, typer.Option("--manifest", metavar="CSV", help="Only its clips, or those of some of its folds.")
    ] = None,
    root: Root = None,
    folds: Folds = "",
    evaluation_folds: Annotated[
        str, typer.Option("--evaluation-folds", metavar="5", help="Assigned to clusters, and never looked at before.")
    ] = "",
    clusters: Annotated[int, typer.Option("--clusters", help="How many.")] = 50,
    levels: Annotated[str, typer.Option("--levels", metavar="2000,500", help="Finer levels below, falling.")] = "",
    rounds: Annotated[int, typer.Option("--rounds", help="With levels: fits to as many rows of each cluster.")] = 3,
    per_cluster: Annotated[int, typer.Option("--per-cluster", help="Rows of each cluster in such a fit.")] = 10,
    normalise: Annotated[bool, typer.Option("--normalise", help="Bring embeddings to length 1 first.")] = False,
    components: Annotated[int, typer.Option("--components", help="Of a principal component analysis; 0 for none.")] = 0,
    passes: Annotated[int, typer.Option("--passes", help="Over embeddings that are more than a chunk.")] = 10,
    chunk_rows: Annotated[int, typer.Option("--chunk-rows", help="Embeddings in memory at a time.")] = 10_000,
    inits: Annotated[int, typer.Option("--inits", help="Starts, of which the best is kept.")] = 3,
    seed: Annotated[int, typer.Option("--seed")] = 42,
    engine: Annotated[Engine, typer.Option("--engine", help="What finds centres.")] = "sklearn",
    sample: Annotated[int, typer.Option("--sample", help="Rows for the silhouette and other figures.")] = 2000,
    threads: Annotated[int, typer.Option("--threads", help="0 for all cores; the same to the bit with 1.")] = 1,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Cluster embeddings of a training set."""
    from training import cluster as step
    from training.embeddings import open_embeddings
    from training.hierarchy import Resampling
    from training.kmeans import FitSettings

    settings = made(
        step.ClusterSettings,
        clusters=clusters,
        levels=numbers("--levels", levels),
        resampling=made(Resampling, rounds=rounds, per_cluster=per_cluster),
        normalise=normalise,
        components=components,
        fit=made(FitSettings, passes=passes, chunk_rows=chunk_rows, inits=inits, seed=seed, engine=engine),
        sample=sample,
        threads=threads,
        progress=not quiet,
    )
    stored = open_embeddings(embeddings)
    train, evaluation = _rows(stored, manifest, root, folds, evaluation_folds)
    if dry_run:
        return tell(step.plan_clustering(stored, train, out, settings, evaluation))
    report = step.cluster(stored, train, out, settings, evaluation)
    typer.echo(
        f"{out}: {len(report.sizes)} clusters of {min(report.sizes)} to {max(report.sizes)} of {len(train)} clips"
    )
    return None


def _rows(
    stored: "Embeddings", manifest: Path | None, root: Path | None, folds: str, evaluation_folds: str
) -> tuple["Index", "Index"]:
    """Rows that clusters are fitted to, and rows that are only assigned to them."""
    import numpy as np

    from training.cluster import fold_rows, manifest_rows

    none = np.empty(0, np.int64)
    if manifest is None and (root or folds or evaluation_folds):
        raise RecipeError("folds need --manifest, and so does --root")
    if evaluation_folds and not folds:
        raise RecipeError("--evaluation-folds need --folds, which clusters are fitted to")
    if manifest is None:
        return np.arange(len(stored)), none
    clips = opened(manifest, root)
    train = fold_rows(stored, clips, numbers("--folds", folds)) if folds else manifest_rows(stored, clips)
    wanted = numbers("--evaluation-folds", evaluation_folds)
    return train, fold_rows(stored, clips, wanted) if wanted else none


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a step as Ctrl-C does, which keeps what the teacher gave."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _identity(teacher: str, checkpoint: Path | None) -> str:
    """What tells a teacher from others: its name, and checksums of its files where it has some."""
    files = [path for member in teacher.split(",") for path in _files(member)]
    if checkpoint:
        files.append(checkpoint)
    return " ".join((teacher, *map(digest, files)))


def _files(member: str) -> list[Path]:
    """What decides on a teacher; a bundle's spec holds the checksums of all its files."""
    from ssondo_stream.bundle import SPEC_FILE, find_bundle, list_bundles
    from training.learner import STUDENT_FILE
    from training.teachers.textures import TEXTURES_FILE

    bundle = find_bundle(member) if member in list_bundles() else Path(member)
    paths = (bundle / SPEC_FILE, Path(member) / STUDENT_FILE, Path(member) / TEXTURES_FILE)
    return [path for path in paths if path.is_file()]
