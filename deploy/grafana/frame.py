"""A panel's place in the picture of a dashboard, and the series that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

_GREY, _TEXT = "#d8d9da", "#333333"


@dataclass(frozen=True, slots=True)
class Answer:
    """One series: the query's letter, its name in the legend, its labels, and moments (Unix seconds) with values."""

    query: str
    name: str
    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


@dataclass(frozen=True, slots=True)
class Frame:
    """A panel's place in a figure, in inches from the figure's lower left corner to the panel's upper left one."""

    figure: Figure
    left: float
    top: float
    width: float
    height: float

    def title(self, text: str) -> None:
        """Draw the panel's background and its name."""
        corner, size = self._share(0, 0, self.width, self.height)
        self.figure.patches.append(
            Rectangle(corner, *size, transform=self.figure.transFigure, facecolor="white", edgecolor=_GREY, zorder=-1)
        )
        x, y = self._share(0.12, self.height - 0.2, 0, 0)[0]
        self.figure.text(x, y, text, fontsize=10.5, weight="bold", color=_TEXT, va="center")

    def axes(self, left: float = 0.6, bottom: float = 0.3, right: float = 0.15, top: float = 0.42) -> Axes:
        """Axes with margins in inches."""
        corner, size = self._share(left, bottom, self.width - left - right, self.height - top - bottom)
        axes = self.figure.add_axes((*corner, *size))
        axes.tick_params(labelsize=8, colors="#555555", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def legend(self, axes: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
        """Name what the axes show, at the panel's lower edge."""
        if names:
            below = 0.24 / (axes.get_position().height * self.figure.get_size_inches()[1])
            place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.02, -below), "borderaxespad": 0.0}
            axes.legend(handles, names, fontsize=8, frameon=False, ncol=6, columnspacing=1.2, handlelength=1.2, **place)

    def _share(
        self, x: float, y: float, width: float, height: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        whole_width, whole_height = self.figure.get_size_inches()
        corner = ((self.left + x) / whole_width, (self.top - self.height + y) / whole_height)
        return corner, (width / whole_width, height / whole_height)
