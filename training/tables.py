"""TOML tables as settings, and settings as TOML.

A mistyped key that is silently ignored costs a training; so every key and every type is checked, and what was resolved
can be written down and read again.
"""

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from training.errors import TrainingError

_T = TypeVar("_T")


class RecipeError(TrainingError):
    """A recipe cannot be read, has a key that there is none of, or a value that makes no sense."""


def read_table(path: Path) -> dict[str, object]:
    """A TOML file.

    Raises:
        RecipeError: it is missing, or no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; expected a recipe in TOML") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not TOML in UTF-8 ({error})") from error


def need(expected: str, value: object, *, fits: bool) -> None:
    """Refuse a value of a settings dataclass by its name: `need epochs >= 1, got 0`.

    Raises:
        ValueError: it does not fit.
    """
    if not fits:
        raise ValueError(f"need {expected}, got {value!r}")


def parse_value(text: str) -> object:
    """A value as it would stand in TOML, or a bare word as text: `3`, `1e-4`, `true`, `[1, 2]`, `cosine`."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def with_value(table: Mapping[str, object], key: str, value: object) -> dict[str, object]:
    """The table with one value set, by dotted key: `sampling.draws`.

    Raises:
        RecipeError: a part of the key is a value and no table.
    """
    first, _, rest = key.partition(".")
    if not rest:
        return {**table, first: value}
    inner = table.get(first, {})
    if not isinstance(inner, Mapping):
        raise RecipeError(f"{first} is {inner!r} and no table")
    return {**table, first: with_value(inner, rest, value)}


def from_table(kind: type[_T], table: Mapping[str, object], where: str) -> _T:
    """A settings dataclass of a table, with the tables in it.

    Args:
        kind: the dataclass; its fields may be numbers, text, booleans, literals, tuples, mappings, other dataclasses,
            and any of these or none.
        table: by the names of its fields.
        where: begins the messages.

    Raises:
        RecipeError: a key is unknown or missing, or a value is of another type or refused by the dataclass.
    """
    known, hints = {item.name: item for item in fields(kind)}, get_type_hints(kind)  # type: ignore[arg-type]  # it is one
    if unknown := sorted(set(table) - set(known)):
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}: expected {', '.join(known)}")
    needed = [key for key, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if missing := [key for key in needed if key not in table]:
        raise RecipeError(f"{where}: needs {', '.join(missing)}")
    values = {key: _read(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{where}: {error}") from error


def from_overridden(kind: type[_T], table: Mapping[str, object], overrides: Sequence[str], where: str) -> _T:
    """`from_table` of a table with some values instead of its own, as `sampling.draws=1000`.

    Raises:
        RecipeError: as `from_table`; the message begins with the override at fault, if it is none of the table itself.
    """
    changed = _overridden(table, overrides)
    try:
        return from_table(kind, changed, where)
    except RecipeError:
        return from_table(kind, changed, _to_blame(kind, table, overrides) or where)


def as_table(settings: object) -> dict[str, object]:
    """A settings dataclass as a table: tuples as lists, what is none left out."""
    if not is_dataclass(settings):
        raise TypeError(f"expected a settings dataclass, got {type(settings).__name__}")
    hints, values = (
        get_type_hints(type(settings)),
        {item.name: getattr(settings, item.name) for item in fields(settings)},
    )
    return {
        key: float(value) if hints[key] is float else _plain(value)  # a default of 8 is the 8.0 that is read again
        for key, value in values.items()
        if value is not None
    }


def to_toml(table: Mapping[str, object], prefix: str = "") -> str:
    """TOML of a table as `as_table` gives it: values first, then the tables in it."""
    lines = [f"{key} = {_toml(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in table.items():
        if isinstance(value, Mapping):
            text += f"\n[{prefix}{key}]\n" + to_toml(value, f"{prefix}{key}.")
    return text


def _overridden(table: Mapping[str, object], overrides: Sequence[str]) -> dict[str, object]:
    changed = dict(table)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set: expected key=value, found {override!r}")
        try:
            changed = with_value(changed, key.strip(), parse_value(value.strip()))
        except RecipeError as error:
            raise RecipeError(f"--set {override}: {error}") from error
    return changed


def _to_blame(kind: type[_T], table: Mapping[str, object], overrides: Sequence[str]) -> str:
    """The first override without which nothing is wrong, or all if only together they are; none if the table is."""
    for given in overrides:
        if _fits(kind, table, [other for other in overrides if other is not given]):
            return f"--set {given}"
    return " ".join(f"--set {given}" for given in overrides) if _fits(kind, table, ()) else ""


def _fits(kind: type[_T], table: Mapping[str, object], overrides: Sequence[str]) -> bool:
    try:
        from_table(kind, _overridden(table, overrides), "")
    except RecipeError:
        return False
    return True


def _plain(value: object) -> object:
    if is_dataclass(value):
        return as_table(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _toml(value: object) -> str:
    """Numbers, booleans, text and lists are written in TOML as in JSON, but for infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _read(hint: object, value: object, where: str) -> object:
    """The value as this type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _read(next(kind for kind in inner if kind is not NoneType), value, where)
    if origin is Literal:
        return _checked(value in inner, value, where, " or ".join(map(repr, inner)))
    if origin is tuple and isinstance(value, list):
        kinds = (inner[0],) * len(value) if inner[-1] is Ellipsis else inner
        _checked(len(kinds) == len(value), value, where, f"{len(kinds)} values")
        return tuple(_read(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if isinstance(hint, type) and is_dataclass(hint) and isinstance(value, Mapping):
        return from_table(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = origin if isinstance(origin, type) else hint
    fits = isinstance(plain, type) and isinstance(value, plain) and not (isinstance(value, bool) and plain is not bool)
    return _checked(fits, value, where, _NAMES.get(plain, "a table"))


def _checked(fits: bool, value: object, where: str, expected: str) -> object:
    if not fits:
        raise RecipeError(f"{where}: expected {expected}, found {value!r}")
    return value


_NAMES: Mapping[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    bool: "true or false",
    tuple: "a list",
}
