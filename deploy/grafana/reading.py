"""What the JSON of a panel says of its values: names, colours, units, columns."""

from collections.abc import Mapping, Sequence
from typing import Any

from deploy.grafana.frame import Answer

COLOURS = {"green": "#56a64b", "yellow": "#f2cc0c", "orange": "#ff780a", "red": "#e02f44"}

Panel = Mapping[str, Any]


def rows(panel: Panel, answers: Sequence[Answer]) -> list[dict[str, str]]:
    """The rows of all queries side by side, as the panel's transformations say."""
    organize = organized(panel)
    found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for answer in answers:
        row = found.setdefault(tuple(sorted(answer.labels.items())), dict(answer.labels))
        row[f"Value #{answer.query}" if len(panel["targets"]) > 1 else "Value"] = str(answer.last)
    hidden, names = organize["excludeByName"], organize["renameByName"]
    return [{names.get(key, key): value for key, value in row.items() if key not in hidden} for row in found.values()]


def organized(panel: Panel) -> dict[str, dict[str, str]]:
    """How the columns of a table are named, ordered and hidden."""
    return dict(next(x["options"] for x in panel["transformations"] if x["id"] == "organize"))


def mapped(panel: Panel) -> tuple[dict[float, str], dict[float, str]]:
    """Names and colours of values."""
    given = [m["options"] for m in panel["fieldConfig"]["defaults"].get("mappings", [])]
    results = {float(value): result for options in given for value, result in options.items()}
    return {v: r["text"] for v, r in results.items()}, {v: COLOURS[r["color"]] for v, r in results.items()}


def step(panel: Panel, value: float) -> str:
    """The colour of a value, by the panel's thresholds."""
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return COLOURS[reached[-1]] if reached else "#3274d9"


def fixed(panel: Panel, name: str) -> str | None:
    """The colour that a series was given by name."""
    for override in panel["fieldConfig"].get("overrides", []):
        for setting in override["properties"]:
            if override["matcher"]["options"] == name and setting["id"] == "color":
                return COLOURS[setting["value"]["fixedColor"]]
    return None


def right(panel: Panel) -> set[str]:
    """Series with an axis of their own, on the right."""
    overrides = panel["fieldConfig"].get("overrides", [])
    placed = {"id": "custom.axisPlacement", "value": "right"}
    return {override["matcher"]["options"] for override in overrides if placed in override["properties"]}


def unit(panel: Panel) -> str:
    """Of the panel's values."""
    return str(panel["fieldConfig"]["defaults"].get("unit", "short"))


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A value with its unit."""
    if unit == "percentunit":
        return f"{100 * value:.{1 if decimals is None else decimals}f} %"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    digits = f"{value:.{decimals}f}" if decimals is not None else f"{value:.4g}"
    return digits + {"s": " s", "dB": " dB"}.get(unit, "")
