"""The commands that make a student and what the monitor runs of it: `recipes`, `distill` and `export`."""
# ruff: noqa: PLC0415  # libraries are imported by the commands that need them

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli_parts import DryRun, Folds, Out, Quiet, Root, made, opened, tell
from training.tables import RecipeError

if TYPE_CHECKING:
    from training.corpus import Sources
    from training.manifest import Manifest
    from training.recipe import Recipe


def recipes(name: Annotated[str, typer.Argument(metavar="[RECIPE]", help="Print it with every value.")] = "") -> None:
    """List the shipped recipes, or print one."""
    from training.recipe import list_recipes, load_recipe

    typer.echo(load_recipe(name).to_toml() if name else "\n".join(list_recipes()))


def distill(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a shipped one, or a TOML file.")],
    *,
    out: Out,
    manifest: Annotated[Path, typer.Option("--manifest", metavar="MANIFEST", help="CSV or folder of the clips.")],
    embeddings: Annotated[Path | None, typer.Option("--embeddings", metavar="DIR", help="The teacher's.")] = None,
    clusters: Annotated[Path | None, typer.Option("--clusters", metavar="DIR", help="What `cluster` made.")] = None,
    backgrounds: Annotated[
        Path | None, typer.Option("--backgrounds", metavar="MANIFEST", help="Audio to mix in.")
    ] = None,
    initial: Annotated[
        Path | None, typer.Option("--initial", metavar="FILE", help="Weights that the student begins with.")
    ] = None,
    root: Root = None,
    folds: Folds = "",
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Instead of the recipe's, as batch=32.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int, typer.Option("--threads", help="Of the arithmetic; 0 for all cores.")] = 0,
    readers: Annotated[int, typer.Option("--readers", help="Threads that read audio.")] = 2,
    cache_gib: Annotated[float, typer.Option("--cache-gib", help="Of read audio kept on disk meanwhile.")] = 4.0,
    save_every: Annotated[int, typer.Option("--save-every", help="Steps between checkpoints.")] = 500,
    log_every: Annotated[int, typer.Option("--log-every", help="Steps between figures.")] = 50,
    stop_after: Annotated[int, typer.Option("--stop-after", help="Steps; 0 for all of the recipe's.")] = 0,
    max_skipped: Annotated[float, typer.Option("--max-skipped", help="Share of clips that may be unusable.")] = 0.01,
    tensorboard: Annotated[bool, typer.Option(help="Write what TensorBoard reads.")] = True,
    dry_run: DryRun = False,
    quiet: Quiet = False,
) -> None:
    """Train a student on embeddings, or on labels; on several GPUs with `torchrun -m training.cli distill`."""
    from training import distill as step
    from training.distill_plan import plan_distillation
    from training.processes import connected
    from training.recipe import RunSettings, load_recipe

    chosen = load_recipe(recipe, override or ())
    run = made(
        RunSettings,
        device=device,
        threads=threads,
        readers=readers,
        cache_gib=cache_gib,
        save_every=save_every,
        log_every=log_every,
        stop_after=stop_after,
        max_skipped_share=max_skipped,
        tensorboard=tensorboard,
        progress=not quiet,
    )
    sources = _sources(
        chosen,
        opened(manifest, root, folds),
        embeddings=embeddings,
        clusters=clusters,
        backgrounds=backgrounds,
        initial=initial,
    )
    if dry_run:
        return tell(plan_distillation(chosen, sources, out, run))
    with connected(device) as processes:
        report = step.distill(chosen, sources, out, run, processes)
        if processes.first:
            typer.echo(f"{out}: {report.done} of {report.steps} steps, loss {report.loss:.4f}, {report.clips} clips")
    return None


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


def _sources(
    recipe: "Recipe",
    manifest: "Manifest",
    *,
    embeddings: Path | None,
    clusters: Path | None,
    backgrounds: Path | None,
    initial: Path | None,
) -> "Sources":
    from training.cluster import read_clusters
    from training.corpus import Sources
    from training.embeddings import open_embeddings

    if initial and not initial.is_file():
        raise RecipeError(f"{initial}: there is no such file")
    if embeddings:
        _refuse_other_seconds(embeddings / "settings.json", recipe.seconds)
    return Sources(
        manifest,
        open_embeddings(embeddings) if embeddings else None,
        read_clusters(clusters) if clusters else None,
        opened(backgrounds) if backgrounds else None,
        initial,
    )


def _refuse_other_seconds(settings: Path, seconds: float) -> None:
    """Teacher and student must hear the same; embeddings of other origin do not say what was heard."""
    if not settings.is_file():
        return
    try:
        heard = json.loads(settings.read_text(encoding="utf-8")).get("seconds", seconds)
    except (OSError, ValueError, AttributeError) as error:
        raise RecipeError(f"{settings}: cannot be read as settings of `extract` ({error})") from error
    if heard != seconds:
        raise RecipeError(f"{settings}: the teacher heard {heard} s of each clip, the recipe's student {seconds} s")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
