"""What a wrong setting is told: which key, what was given and what is expected, in plain words.

pydantic speaks to programmers; a configuration is written by people who never saw its code.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from monitor.config import NAME_PATTERN, TOPIC_PATTERN, LabelSettings, Settings, SourceSettings

Key = tuple[str | int, ...]
"""Where a setting is: `("source", 1, "gain_db")`."""

_CONTAINERS = ((dict, "a table"), (list, "an array"))
_STRUCTURES = {"dict_type", "model_type", "model_attributes_type", "tuple_type"}
_PATTERNS = {
    NAME_PATTERN: "1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit",
    TOPIC_PATTERN: "topic levels joined by '/', without spaces, '#' and '+'",
}
_REQUIRED = {
    "name": "a name for the source, such as 'yard'",
    "path": "the path of a sound file",
    "sample_rate": "the samples per second of the raw audio, such as 48000",
    "url": "the address of the stream, such as 'rtsp://camera.local/audio'",
}
_EXPECTED: dict[str, Callable[[Mapping[str, object]], str]] = {
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "dict_type": lambda _: "a table",
    "finite_number": lambda _: "a finite number",
    "float_parsing": lambda _: "a number",
    "float_type": lambda _: "a number",
    "greater_than": lambda limits: f"more than {limits['gt']}",
    "greater_than_equal": lambda limits: f"at least {limits['ge']}",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a smaller number",
    "int_type": lambda _: "a whole number",
    "less_than_equal": lambda limits: f"at most {limits['le']}",
    "literal_error": lambda limits: f"{limits['expected']}",
    "model_attributes_type": lambda _: "a table",
    "model_type": lambda _: "a table",
    "path_type": lambda _: "a path in quotes",
    "string_pattern_mismatch": lambda limits: _PATTERNS.get(str(limits["pattern"]), "other characters"),
    "string_type": lambda _: "text in quotes",
    "tuple_type": lambda _: "tables headed [[source]]",
    "union_tag_invalid": lambda limits: f"one of {limits['expected_tags']}",
    "value_error": lambda limits: str(limits["error"]),
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: the key, and the rest of the sentence."""

    key: Key
    text: str


def dotted(key: Key) -> str:
    """`("source", 1, "gain_db")` -> `source[1].gain_db`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def suggest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown word: the nearest known one, else all of them."""
    candidates = list(known)
    near = difflib.get_close_matches(word, candidates, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(candidates) or 'none'}"


def explain(error: ValidationError, tree: Mapping[str, object]) -> list[Mistake]:
    """Every mistake that pydantic found in `tree`, one per key."""
    by_key: dict[Key, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_key.setdefault(_key(details, tree), []).append(details)
    return [Mistake(key, _say(key, group, tree)) for key, group in by_key.items()]


def _key(details: ErrorDetails, tree: object) -> Key:
    """Where in the file the error is: pydantic's location without the names of union members."""
    location = details["loc"]
    if location[:1] == ("source",):
        location = location[:2] + location[3:]
    key: Key = ()
    for part in location:
        if _contains(tree, part):
            key, tree = (*key, part), _child(tree, part)
    match details["type"]:
        case "missing":
            return (*key, location[-1])
        case "union_tag_invalid" | "union_tag_not_found":
            return (*key, "kind")
        case _:
            return key


def _contains(tree: object, part: str | int) -> bool:
    if isinstance(tree, list):
        return isinstance(part, int) and part < len(tree)
    return isinstance(tree, Mapping) and part in tree


def _child(tree: object, part: str | int) -> object | None:
    if isinstance(tree, Mapping):
        return tree.get(part)
    if isinstance(tree, list) and _contains(tree, part):
        inside: object = tree[part]  # type: ignore[index]  # a number, then
        return inside
    return None


def _say(key: Key, group: Sequence[ErrorDetails], tree: Mapping[str, object]) -> str:
    last = str(key[-1]) if key else ""
    match group[0]["type"]:
        case "missing":
            return f"missing; expected {_REQUIRED.get(last, 'a value')}"
        case "union_tag_not_found":
            return f"missing; expected one of {', '.join(map(repr, _kinds()))}"
        case "extra_forbidden":
            return f"unknown key; {suggest(last, _known_keys(key[:-1], tree))}"
        case "union_tag_invalid":
            return f"got {_shown(last, group[0]['ctx']['tag'])}, expected one of {', '.join(map(repr, _kinds()))}"
        case _:
            expected = dict.fromkeys(_expected(details) for details in group)
            value = group[0]["input"]
            inside = group[0]["type"] in _STRUCTURES and isinstance(value, str)  # of which anything may be a secret
            return f"got {'text' if inside else _shown(last, value)}, expected {' or '.join(expected)}"


def _expected(details: ErrorDetails) -> str:
    words = _EXPECTED.get(details["type"])
    return words(details.get("ctx", {})) if words else details["msg"]


def _shown(last: str, value: object) -> str:
    """The given value, short, and never a secret."""
    if last in _secrets():
        return "a value that is not shown"
    for kind, words in _CONTAINERS:
        if isinstance(value, kind):
            return words
    if isinstance(value, bool):
        return "true" if value else "false"
    if "://" in (text := repr(value)):
        return "an address that is not shown"  # it may hold a password, a key, or either in its path
    return text if len(text) <= 60 else f"{text[:60]}…"


def _secrets() -> set[str]:
    """Names of the keys whose values are secrets, in any section."""
    fields = [item for section in _sections() for item in section.model_fields.items()]
    return {name for name, field in fields if field.annotation in (SecretStr, SecretStr | None)}


def _kinds() -> dict[str, type[BaseModel]]:
    models: Sequence[type[BaseModel]] = get_args(get_args(SourceSettings)[0])
    return {kind: model for model in models for kind in get_args(model.model_fields["kind"].annotation)}


def _sections() -> list[type[BaseModel]]:
    plain = [field.annotation for field in Settings.model_fields.values()]
    found = [section for section in plain if isinstance(section, type) and issubclass(section, BaseModel)]
    return [*found, LabelSettings, *_kinds().values()]


def _known_keys(section: Key, tree: Mapping[str, object]) -> list[str]:
    model: object
    match section:
        case ():
            model = Settings
        case ("source", int(index)):
            source = _child(tree.get("source"), index)
            model = _kinds().get(str(_child(source, "kind")))
        case ("detection", "labels", _):
            model = LabelSettings
        case _:
            model = Settings.model_fields[str(section[0])].annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
