"""From a file and the environment to `Settings`: defaults < TOML file < `SSONDO_MQTT__HOST=…`.

Every mistake is found in one pass and told in one line, so that a configuration is corrected once.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from monitor.config import Settings
from monitor.config_checks import check
from monitor.config_wording import Key, Mistake, dotted, explain
from monitor.errors import ConfigError

PREFIX = "SSONDO_"
_LARGEST = 1_000_000  # bytes; a configuration is a page or two
_M = TypeVar("_M", bound=BaseModel)
_Tree = dict[str, object]


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, if any, lay the environment over it, and check the whole.

    Relative paths in the file are relative to its folder, those in the environment to the working directory.

    Args:
        path: a TOML file, or none for defaults and environment alone.
        environ: `SSONDO_SECTION__KEY=value`; tables and arrays as JSON; empty values count as unset.

    Raises:
        ConfigError: one line per mistake: file or variable, key, what was given and what is expected.
    """
    tree = {} if path is None else _read(path)
    origins = _Origins(path)
    lines = _overlay(tree, environ, origins)
    mistakes: list[Mistake] = []
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        mistakes += explain(error, tree)
        settings = _salvage(tree, error)
    settings = _anchored(settings, (), origins)
    mistakes += check(settings)
    lines += [origins.line(mistake) for mistake in mistakes]
    if lines:
        raise ConfigError("\n".join(lines))
    return settings


@dataclass(frozen=True, slots=True)
class _Origins:
    """Where each setting was given: in a variable, else in the file."""

    file: Path | None
    variables: dict[Key, str] = field(default_factory=dict)

    def variable(self, key: Key) -> str | None:
        """The variable that gave the key, a table around it, or something inside it."""
        prefixes = (key[:length] for length in range(len(key), 0, -1))
        around = (self.variables[prefix] for prefix in prefixes if prefix in self.variables)
        inside = (name for given, name in self.variables.items() if given[: len(key)] == key)
        return next(around, None) or next(inside, None)

    def folder(self, key: Key) -> Path:
        return Path.cwd() if self.file is None or self.variable(key) else self.file.absolute().parent

    def line(self, mistake: Mistake) -> str:
        place = self.variable(mistake.key) or self.file
        return ": ".join(str(part) for part in (place, dotted(mistake.key), mistake.text) if part)


def _read(path: Path) -> _Tree:
    try:
        with path.open("rb") as file:
            return tomllib.loads(file.read(_LARGEST).decode())
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; expected a TOML configuration") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8; expected a TOML text file") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _overlay(tree: _Tree, environ: Mapping[str, str], origins: _Origins) -> list[str]:
    """Put the variables into the tree; returns a line for each that fits nowhere."""
    lines = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or not environ[name]:
            continue
        try:
            key = _key_of(_text(name))
            _put(tree, key, _parsed(key, _text(environ[name])))
            origins.variables[key] = name
        except ValueError as error:
            lines.append(f"{name.encode(errors='backslashreplace').decode()}: {error}")
    return lines


def _key_of(variable: str) -> Key:
    parts = variable.removeprefix(PREFIX).lower().split("__")
    return tuple(int(part) if part.isdecimal() and parts[0] == "source" else part for part in parts)


def _parsed(key: Key, text: str) -> object:
    match key:
        case (_,) | ("source", _) | ("detection", "labels") | ("detection", "labels", _):
            try:
                return json.loads(_text(json.dumps(json.loads(text), ensure_ascii=False)))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"not valid JSON: {error}; a table or array in a variable is JSON") from error
        case _:
            return text


def _text(text: str) -> str:
    """The text itself, if it is one: what was no UTF-8 in the environment has become lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not UTF-8 text") from None  # the cause shows the value
    return text


def _put(tree: _Tree, key: Key, value: object) -> None:
    node: object = tree
    for part, inner in pairwise(key):
        _hang(node, part, [] if isinstance(inner, int) else {}, keep=True)
        node = node[part]  # type: ignore[index]  # _hang has refused what cannot be indexed
    _hang(node, key[-1], value, keep=False)


def _hang(node: object, part: str | int, value: object, *, keep: bool) -> None:
    """Set `node[part]`, or with `keep` only where nothing is there yet."""
    if isinstance(node, dict) and isinstance(part, str):
        node[part] = node.get(part, value) if keep else value
    elif isinstance(node, list) and isinstance(part, int) and part < len(node):
        node[part] = node[part] if keep else value
    elif isinstance(node, list) and part == len(node):
        node.append(value)
    else:
        raise ValueError("names no setting; sources are numbered from 0 without holes")


def _salvage(tree: _Tree, error: ValidationError) -> Settings:
    """The settings without their wrong parts, so that the rest can be checked too. Consumes the tree."""
    while True:
        for mistake in explain(error, tree):
            _cut(tree, mistake.key)
        try:
            return Settings.model_validate(tree)
        except ValidationError as again:
            error = again


def _cut(tree: _Tree, key: Key) -> None:
    """Remove a value, or the table around it where the value is one that is missing; the sources keep their places."""
    node: object = tree
    for part in key[:-1]:
        node = node[part]  # type: ignore[index]  # the key was read off this tree
    if isinstance(node, list):
        node[int(key[-1])] = {"kind": "demo", "name": f"unreadable-{key[-1]}"}
    elif isinstance(node, dict) and key[-1] in node:
        del node[key[-1]]
    else:
        _cut(tree, key[:-1])


def _anchored(section: _M, key: Key, origins: _Origins) -> _M:
    """A copy in which every path is absolute."""
    changes: dict[str, object] = {}
    for name, value in section:
        inner = (*key, name)
        if isinstance(value, Path):
            changes[name] = _absolute(value, origins.folder(inner))
        elif isinstance(value, BaseModel):
            changes[name] = _anchored(value, inner, origins)
        elif isinstance(value, tuple):
            changes[name] = tuple(_anchored(item, (*inner, index), origins) for index, item in enumerate(value))
        elif inner == ("model", "bundle") and "/" in value:
            changes[name] = str(_absolute(Path(value), origins.folder(inner)))
    return section.model_copy(update=changes)


def _absolute(path: Path, folder: Path) -> Path:
    return path.expanduser() if path.parts[:1] == ("~",) else folder / path
