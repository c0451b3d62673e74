"""Draw a dashboard as a picture, from what a Prometheus answers to its queries: for people who have no Grafana at hand.

Positions, queries, names, units, colours and columns are those of the dashboard; the strokes are matplotlib's.
"""

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from deploy.grafana.drawing import DRAWERS
from deploy.grafana.frame import Answer, Frame

FOLDER = Path(__file__).parent / "dashboards"
_CELL = (0.66, 0.34)  # inches of a cell of the grid
_HEAD, _GAP = 0.55, 0.06  # inches above the grid, and around a panel


@dataclass(frozen=True, slots=True)
class Span:
    """The dashboard's range: from, to (Unix seconds), and seconds between points."""

    begin: float
    end: float
    step: int

    @property
    def variables(self) -> dict[str, str]:
        """What Grafana puts into queries by itself."""
        return {
            "__range": f"{round(self.end - self.begin)}s",
            "__interval": f"{self.step}s",
            "__rate_interval": f"{self.step + 1}s",
        }


def draw(address: str, name: str, choice: Mapping[str, str], minutes: float, path: Path) -> None:
    """Draw a dashboard for the last minutes.

    Args:
        address: of Prometheus, as in `http://127.0.0.1:9090`.
        name: of a file in `dashboards/`.
        choice: values of the dashboard's variables; those that are not named are all there are.
        minutes: up to now.
        path: of the picture, a PNG.

    Raises:
        OSError: Prometheus does not answer.
    """
    board = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    end = time.time()
    span = Span(end - 60 * minutes, end, max(1, round(minutes / 2)))
    ask = _Asking(address, {"label": ".*", "source": ".*", "node": ".*", **choice}, span)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = Figure(figsize=(24 * _CELL[0], rows * _CELL[1] + _HEAD), facecolor="#f4f5f5", dpi=70)
    marks = [mark for query in board["annotations"].get("list", []) for mark in ask.marks(query)]
    _head(figure, board["title"], choice.get("node", ".*"), "; dotted: events" if marks else "")
    for panel in board["panels"]:
        frame = _frame(figure, panel["gridPos"])
        frame.title(panel["title"])
        DRAWERS[panel["type"]](frame, panel, ask.answers(panel), (span.begin, span.end), marks)
    figure.savefig(path, pil_kwargs={"optimize": True})


def filled(expression: str, variables: Mapping[str, str]) -> str:
    """A query with its variables replaced, as `$node`; of a name that is not there KeyError is raised."""
    return re.sub(r"\$(\w+)", lambda match: variables[match[1]], expression)


def _head(figure: Figure, title: str, node: str, note: str) -> None:
    y = 1 - 0.3 / figure.get_figheight()
    name = title if node == ".*" else f"{title} · {node}"
    figure.text(0.008, y, name, fontsize=15, weight="bold", va="center")
    figure.text(
        0.992, y, f"preview drawn from a real Prometheus{note}", fontsize=11, color="#666", ha="right", va="center"
    )


def _frame(figure: Figure, place: Mapping[str, int]) -> Frame:
    left, top = place["x"] * _CELL[0] + _GAP, figure.get_figheight() - _HEAD - place["y"] * _CELL[1] - _GAP
    return Frame(figure, left, top, place["w"] * _CELL[0] - 2 * _GAP, place["h"] * _CELL[1] - 2 * _GAP)


class _Asking:
    """Puts a dashboard's queries to a Prometheus."""

    def __init__(self, address: str, choice: Mapping[str, str], span: Span) -> None:
        self._address = address
        self._variables = {**choice, **span.variables}
        self._span = span

    def answers(self, panel: Mapping[str, Any]) -> list[Answer]:
        """The series of all of a panel's queries, in order."""
        return [answer for target in panel["targets"] for answer in self._answer(target)]

    def marks(self, query: Mapping[str, Any]) -> list[float]:
        """When something happened."""
        series = self._get("query_range", query["expr"], 60)
        return sorted({float(moment) for one in series for moment, _ in one["values"]})

    def _answer(self, target: Mapping[str, Any]) -> list[Answer]:
        instant = bool(target.get("instant"))
        series = self._get("query" if instant else "query_range", target["expr"], self._span.step)
        return [
            Answer(
                target["refId"],
                _legend(target.get("legendFormat", ""), one["metric"]),
                one["metric"],
                [(float(t), float(v)) for t, v in ([one["value"]] if instant else one["values"])],
            )
            for one in series
        ]

    def _get(self, kind: str, expression: str, step: int) -> list[dict[str, Any]]:
        times = {"start": self._span.begin, "end": self._span.end, "step": step}
        asked = {
            "query": filled(expression, self._variables),
            **({"time": self._span.end} if kind == "query" else times),
        }
        url = f"{self._address}/api/v1/{kind}?{urllib.parse.urlencode(asked)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  # the address is the caller's own
            return list(json.load(answer)["data"]["result"])


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), pattern)
