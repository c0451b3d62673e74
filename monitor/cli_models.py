"""The command `ssondo-monitor models`: what is there to listen with, and how to bring in more.

Listing reads tables and small files only; torch is imported by `convert` alone.
"""
# ruff: noqa: PLC0415  # for that reason

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from monitor.bundles import SHELF, Shelf
from ssondo_stream.bundle import StudentSpec
from ssondo_stream.errors import EngineError

app = typer.Typer(help="List the students, convert a published one, or change the one in use.", rich_markup_mode=None)

CONFIG = Path("/etc/ssondo-monitor/monitor.toml")
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help=f"That it must fit; {CONFIG} by default, if there."),
]
ShelfFolder = Annotated[Path, typer.Option("--shelf", metavar="DIR", help="Where the bundle in use lies.")]


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


@app.command()
def use(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.")],
    config: ConfigFile = None,
    shelf: ShelfFolder = SHELF,
) -> None:
    """Check a bundle, and let the installed service hear by a copy of it from its next start on."""
    _tell(shelf, Shelf(shelf).use(bundle, lambda folder: _try_out(folder, config)))


@app.command()
def rollback(config: ConfigFile = None, shelf: ShelfFolder = SHELF) -> None:
    """Let the installed service hear by the bundle before, from its next start on."""
    _tell(shelf, Shelf(shelf).roll_back(lambda folder: _try_out(folder, config)))


def _try_out(folder: Path, config: Path | None) -> None:
    """Hear ten seconds of silence by a bundle, under the settings that the service has."""
    import numpy as np

    from monitor.config_loading import load_settings
    from monitor.model import open_student
    from ssondo_stream import AudioBlock, StreamingEngine

    config = config or (CONFIG if CONFIG.exists() else None)
    settings = load_settings(config, {**os.environ, "SSONDO_MODEL__BUNDLE": str(folder.absolute())})
    student = open_student(settings.model)
    rate = student.spec.mel.sample_rate
    StreamingEngine(student, rate).push(AudioBlock(0, np.zeros(10 * rate, np.float32)))


def _tell(shelf: Path, spec: StudentSpec) -> None:
    typer.echo(f"{shelf / 'current'}: {spec.name}, {len(spec.labels)} labels; sha256 {spec.network_sha256}")
    typer.echo("The service hears by it after: systemctl restart ssondo-monitor")


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
