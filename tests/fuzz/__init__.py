"""Hostile input, a target a file: what must hold whatever arrives.

Each target has `seeds`, valid inputs that mutations begin with, and `opened`, which gives the function that takes one
input and raises where the service misbehaves. `test_targets` runs it with hypothesis, `python -m tests.fuzz` with
atheris.
"""

from collections.abc import Callable, Iterable

Case = Callable[[bytes], None]

TARGETS = ("config", "pcm", "sound_file", "bundle", "mqtt", "http")

PIECES = (
    b"\xff" * 4,
    b"\0" * 8,
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b'"',
    b"{" * 9,
    b"\r\n",
    b"\x80",
)
"""What parsers stumble over."""


def damaged(seed: bytes, edits: Iterable[tuple[float, int, bytes]]) -> bytes:
    """The seed with pieces put in place of so many bytes at a share of its length."""
    for where, length, piece in edits:
        at = int(where * len(seed))
        seed = seed[:at] + piece + seed[at + length :]
    return seed
