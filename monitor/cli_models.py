"""The command `ssondo-monitor models`: what is there to listen with, and how to bring in more.

Listing reads tables and small files only; torch is imported by `convert` alone.
"""
# ruff: noqa: PLC0415  # for that reason

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from ssondo_stream.errors import EngineError

app = typer.Typer(help="List the students, or convert a published one.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context) -> None:
    """List the shipped students, and the published ones with their heads."""
    if context.invoked_subcommand is None:
        _list_bundles()
        _list_published()


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A published name, or a .ckpt file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the bundle; must not hold anything yet.")],
    head: Annotated[
        str | None, typer.Option("--head", metavar="HEAD", help="A published head, or the file of one.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="CSV with the names of its classes, in order: name,ontology_id.",
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option("--revision", metavar="REVISION", help="To download; else the one of the first download."),
    ] = None,
) -> None:
    """Make a bundle of a published checkpoint, and check that it says what torch says."""
    from ssondo_stream.published import HEADS, MODELS

    _refuse_unknown(source, MODELS, "SOURCE")
    if head is not None:
        _refuse_unknown(head, HEADS, "--head")
    elif labels is not None:
        raise typer.BadParameter("names the classes of a head, so it needs --head", param_hint="--labels")
    try:
        from ssondo_stream.convert import convert as convert_checkpoint
    except ModuleNotFoundError as error:
        raise EngineError(f"converting needs {error.name}: pip install 'ssondo-monitor[torch]'") from error
    spec = convert_checkpoint(source, out, head=head, labels=labels, revision=revision)
    said = f"{len(spec.labels)} labels" if spec.labels else "embeddings only, no labels"
    typer.echo(f"{out}: {said}; sha256 {spec.network_sha256}")


def _refuse_unknown(given: str, names: Collection[str], parameter: str) -> None:
    if given not in names and not Path(given).is_file():
        raise typer.BadParameter(
            f"{given!r} is no file and no published name: {', '.join(names)}", param_hint=parameter
        )


def _list_bundles() -> None:
    from ssondo_stream.bundle import NETWORK_FILE, find_bundle, list_bundles, load_spec

    for name in list_bundles():
        folder = find_bundle(name)
        spec = load_spec(folder)
        size = (folder / NETWORK_FILE).stat().st_size
        typer.echo(f"{name}  {size / 1e6:.1f} MB  sha256 {spec.network_sha256}")
        for label in spec.labels:
            typer.echo(f"  {label.slug:<24} {label.name}")


def _list_published() -> None:
    from ssondo_stream.published import HEADS_FIT, REPOSITORY, list_heads, list_models

    typer.echo(f"\npublished at huggingface.co/{REPOSITORY}, to be converted with `models convert`")
    for name, description in list_models().items():
        typer.echo(f"  {name:<24} {description}")
    typer.echo(f"\npublished heads, for {HEADS_FIT}")
    for name, description in list_heads().items():
        typer.echo(f"  {name:<24} {description}")
