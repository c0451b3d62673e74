"""Progress bars of the steps, on stderr.

They are in one place so that every step shows its progress alike, and can be silent alike.
"""

from typing import Protocol

from tqdm import tqdm


class Bar(Protocol):
    """What a step tells its progress to."""

    def update(self, n: float | None = 1) -> object:
        """Add to what is done."""

    def close(self) -> None:
        """Leave the bar as it stands."""


def bar(what: str, total: int, *, unit: str, shown: bool, done: int = 0) -> Bar:
    """A progress bar, or one that shows nothing.

    Args:
        what: a word or two before the bar.
        total: how much there is.
        unit: of what.
        shown: whether it is drawn.
        done: what earlier runs did.
    """
    drawn: Bar = tqdm(total=total, initial=done, desc=what, unit=unit, disable=not shown, dynamic_ncols=True)
    return drawn
