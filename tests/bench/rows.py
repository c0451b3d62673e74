"""A measured row and its bar, and the table that they make."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement.

    Attributes:
        value, unit: what was measured.
        bar: what it must reach, if anything; `at_least` tells from which side.
        note: how it was measured.
    """

    what: str
    value: float
    unit: str
    bar: float | None
    at_least: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the bar is reached; without a bar it is."""
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        shown = f"{self.value:.3g} {self.unit}".strip()
        if self.bar is None:
            return self.what, shown, "", "", self.note
        sign = "≥" if self.at_least else "≤"
        return self.what, shown, f"{sign} {self.bar:g} {self.unit}".strip(), "yes" if self.met else "NO", self.note


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    cells = [("what", "measured", "bar", "met", "how"), *(row.cells() for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = ["| " + " | ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
