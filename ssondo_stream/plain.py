"""Plain values that came as JSON: whether they are of the types that a dataclass promises, and of a sane size.

JSON's `1` may stand for a float; what it calls a number may also be too large for any use, or no number at all.
"""

from dataclasses import Field, fields
from numbers import Integral, Real
from typing import Any

LARGEST = 1e9
LONGEST = 1000  # characters of a name


def check_plain(owner: Any) -> None:
    """Refuse a dataclass whose fields of type str, int or float hold something else.

    Raises:
        TypeError: a value has another type.
        ValueError: a number is not finite or beyond a billion, or a text too long.
    """
    for item in fields(owner):
        _check(type(owner).__name__, item, getattr(owner, item.name))


def _check(owner: str, item: "Field[object]", value: object) -> None:
    name = f"{owner}.{item.name}"
    if item.type is str:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be text, got {value!r:.60}")
        if len(value) > LONGEST:
            raise ValueError(f"{name} must have at most {LONGEST} characters, got {len(value)}")
    elif item.type in (int, float):
        check_number(name, value, whole=item.type is int)


def check_number(name: str, value: object, *, whole: bool) -> None:
    """Refuse what is no number, or none of a sane size.

    Raises:
        TypeError, ValueError: as for `check_plain`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise TypeError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r:.60}")
    if not abs(_as_float(value)) <= LARGEST:
        raise ValueError(f"{name} must be a number between -1e9 and 1e9, got {value!r:.60}")


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond all floats
        return float("inf")
