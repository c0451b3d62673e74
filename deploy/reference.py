"""The reference of every setting, made of the settings classes: `python -m deploy.reference` writes it.

A test compares the page with what this makes, so that neither can say what the other does not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from monitor.config import LabelSettings, Settings, SourceBase, SourceSettings

PAGE = Path(__file__).parent / "docs" / "configuration.md"

_HEAD = """# Configuration reference

Made of the settings classes by `python -m deploy.reference`; [`monitor.toml`](../monitor.toml) is the same as a file to
copy. Defaults give way to the file, the file to the environment. `ssondo-monitor check my.toml` names every mistake at
once.

- In the variables below, `0` is the first source. An empty value counts as unset. A whole table or array is JSON:
  `SSONDO_SOURCE='[{"kind": "demo", "name": "demo"}]'`.
- Relative paths are relative to the file's folder; those in variables, to the working directory.
- Secrets belong in files or the environment, and are never printed.
- Unknown keys and impossible values are errors, as are settings that do not fit each other.
"""
_COLUMNS = ("key", "type", "default", "unit", "meaning", "variable")
_UNITS = {  # by a key's end
    "_seconds": "s",
    "_db": "dB",
    "_dbfs": "dBFS",
    "sample_rate": "Hz",
    "_columns": "columns",
    "_windows": "windows",
    "itude": "°",
}
_TYPES = {"boolean": "true or false", "integer": "whole number", "number": "number", "object": "tables"}
_FORMATS = {"path": "path", "password": "text, secret"}


def page() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        if name == "source":
            yield from _sources()
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield _section(f"[{name}]", field.annotation, f"SSONDO_{name.upper()}__")
        if name == "detection":
            yield _section("[detection.labels.dog_bark]", LabelSettings, "SSONDO_DETECTION__LABELS__DOG_BARK__")


def _sources() -> Iterator[str]:
    variables = "SSONDO_SOURCE__0__"
    yield _section("[[source]]", SourceBase, variables)
    kinds: Sequence[type[BaseModel]] = get_args(get_args(SourceSettings)[0])
    for kind in kinds:
        names = " or ".join(f'"{name}"' for name in get_args(kind.model_fields["kind"].annotation))
        yield _section(f"[[source]] kind = {names}", kind, variables, without=["kind", *SourceBase.model_fields])


def _section(title: str, model: type[BaseModel], variables: str, without: Sequence[str] = ()) -> str:
    fields = {key: field for key, field in model.model_fields.items() if key not in without}
    rows = [
        (f"`{key}`", _type(field), _default(field), _unit(key), field.description or "", f"`{variables}{key.upper()}`")
        for key, field in fields.items()
    ]
    lines = [_COLUMNS, ("---",) * len(_COLUMNS), *rows]
    return "\n".join([f"## `{title}`\n", f"{model.__doc__}\n", *map(_line, lines), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _unit(key: str) -> str:
    return next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory is not None or field.default is None:
        return ""
    value = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(field: FieldInfo) -> str:
    schema: Mapping[str, object] = TypeAdapter(field.rebuild_annotation()).json_schema()
    choices = schema.get("anyOf", [schema])
    words = [_words(choice) for choice in choices] if isinstance(choices, list) else []
    return " or ".join(dict.fromkeys(word for word in words if word))


def _words(schema: Mapping[str, object]) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if isinstance(values, list):
        return ", ".join(f"`{value}`" for value in values)
    if schema["type"] == "string":
        return _FORMATS.get(str(schema.get("format")), "text")
    return _TYPES.get(str(schema["type"]), "") + _limits(schema)


def _limits(schema: Mapping[str, object]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if least is not None:
        return f", {_number(least)} to {_number(most)}"
    return f", above {_number(above)} up to {_number(most)}" if above is not None else ""


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
