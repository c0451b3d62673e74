"""The commands that train a student: `recipes` and `distill`."""
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
