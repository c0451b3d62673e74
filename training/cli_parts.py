"""What the commands of `ssondo-train` have in common: options, and how they become settings."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec, TypeVar

import typer

from training.tables import RecipeError

if TYPE_CHECKING:
    from training.manifest import Manifest

_P = ParamSpec("_P")
_T = TypeVar("_T")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="What is made; a run that was stopped goes on there.")]
Audio = Annotated[Path, typer.Argument(metavar="MANIFEST", help="CSV with path, labels, fold; or a folder of audio.")]
Root = Annotated[Path | None, typer.Option("--root", metavar="DIR", help="What the CSV's paths are relative to.")]
Folds = Annotated[str, typer.Option("--folds", metavar="1,2,3", help="Only the clips of these folds.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Draw no progress bar.")]


def opened(path: Path, root: Path | None = None, folds: str = "") -> "Manifest":
    """A manifest, or of it the clips of these folds.

    Raises:
        ManifestError: it cannot be used, or no clip is of these folds.
    """
    from training.manifest import open_manifest  # noqa: PLC0415  # only where it is needed

    found = open_manifest(path, root)
    return found.in_folds(numbers("--folds", folds)) if folds else found


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between; none of an empty text.

    Raises:
        RecipeError: it is something else.
    """
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise RecipeError(f"{option}: expected whole numbers as 1,2,3, found {text!r}") from error


def made(settings: Callable[_P, _T], *args: _P.args, **values: _P.kwargs) -> _T:
    """Settings of these values.

    Raises:
        RecipeError: they refuse a value.
    """
    try:
        return settings(*args, **values)
    except ValueError as error:
        raise RecipeError(str(error)) from error


def digest(path: Path) -> str:
    """Checksum of a file.

    Raises:
        RecipeError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error


def tell(plan: object) -> None:
    """Print a plan, a dataclass or values by name, one a line."""
    values = plan if isinstance(plan, Mapping) else {item.name: getattr(plan, item.name) for item in fields(plan)}  # type: ignore[arg-type]
    for name, value in values.items():
        for key, shown in value.items() if isinstance(value, Mapping) else [(name, value)]:
            typer.echo(f"{key:<24} {shown}")
