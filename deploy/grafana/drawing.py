"""How each type of panel is drawn in a preview."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.patches import Rectangle

from deploy.grafana import reading
from deploy.grafana.frame import Answer, Frame
from deploy.grafana.reading import COLOURS, Panel

_PALETTE = (
    "#3274d9",
    "#56a64b",
    "#ff780a",
    "#8f3bb8",
    "#e02f44",
    "#f2cc0c",
    "#37872d",
    "#1250b0",
    "#b877d9",
    "#fa6400",
)


Range = tuple[float, float]


def curves(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """Lines or stacked bars over time."""
    custom, unit = panel["fieldConfig"]["defaults"].get("custom", {}), reading.unit(panel)
    right = reading.right(panel)
    axes = frame.axes(bottom=0.52, right=0.6 if right else 0.15)
    second = axes.twinx() if right else axes
    if custom.get("drawStyle") == "bars":
        _stack(axes, answers, (span[1] - span[0]) / 120)
    else:
        for index, answer in enumerate(answers):
            points = "." if custom.get("showPoints") == "always" else ""
            on = second if answer.name in right else axes
            on.plot(*_curve(answer), lw=1.1, marker=points, color=_PALETTE[index % 10], label=answer.name)
    for moment in marks:
        axes.axvline(_when(moment), color="#8f3bb8", lw=0.6, ls=":", alpha=0.6, zorder=0)
    _over_time(axes, span)
    axes.yaxis.set_major_formatter(lambda value, _: reading.shown(value, unit))
    _limits(axes, panel, min((value for answer in answers for _, value in answer.points), default=0.0))
    if right:
        second.tick_params(labelsize=8, colors="#555555", length=0)
        second.set_frame_on(False)
        second.yaxis.set_major_formatter(lambda value, _: reading.shown(value, "s"))
    handles, names = axes.get_legend_handles_labels()
    if second is not axes:
        more, others = second.get_legend_handles_labels()
        handles, names = handles + more, names + others
    frame.legend(axes, handles, names)


def phases(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """A band for each series, coloured by its value."""
    axes = frame.axes(left=0.85, bottom=0.52)
    names, colours = reading.mapped(panel)
    for row, answer in enumerate(reversed(answers)):
        step = min(b - a for (a, _), (b, _) in zip(answer.points, answer.points[1:], strict=False))
        for value, group in groupby(answer.points, key=lambda point: point[1]):
            times = [moment for moment, _ in group]
            begin, end = _when(times[0]), _when(times[-1] + step)
            axes.barh(row, end - begin, left=begin, height=0.7, color=colours[value])
    axes.set_yticks(range(len(answers)), [answer.name for answer in reversed(answers)])
    _over_time(axes, span, grid=False)
    handles = [Rectangle((0, 0), 1, 1, color=colours[value]) for value in names]
    frame.legend(axes, handles, list(names.values()))


def numbers(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """A large number, or name, for each series."""
    axes = frame.axes(left=0.1, right=0.1, bottom=0.05)
    axes.set_axis_off()
    names, _ = reading.mapped(panel)
    by_name = panel["options"].get("textMode") == "name"
    for index, answer in enumerate(answers):
        value = names.get(answer.last) or reading.shown(
            answer.last, reading.unit(panel), panel["fieldConfig"]["defaults"].get("decimals")
        )
        text = answer.name if by_name else value
        middle = (index + 0.5) / len(answers)
        colour = reading.fixed(panel, answer.name) or reading.step(panel, answer.last)
        size = 24 if len(text) < 9 else 15
        axes.text(middle, 0.55, text, fontsize=size, color=colour, ha="center", va="center")
        if len(answers) > 1:
            axes.text(middle, 0.1, answer.name, fontsize=10, color="#555555", ha="center")


def sites(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """Sensors by longitude and latitude; the map behind them is the network's, so only degrees are drawn."""
    rows = reading.rows(panel, answers)
    names, colours = reading.mapped(panel)
    axes = frame.axes(left=0.7, bottom=0.5)
    axes.set_facecolor("#eaf0f2")
    for row in rows:
        x, y, state = (float(row[key]) for key in ("longitude", "latitude", "state"))
        axes.scatter(x, y, s=170, color=colours[state], edgecolor="white", zorder=3)
        axes.annotate(
            f"{row['node']}: {names[state]}", (x, y), (0, -17), textcoords="offset points", ha="center", fontsize=9
        )
    latitude = float(np.mean([float(row["latitude"]) for row in rows]))
    axes.margins(0.35)
    axes.set_aspect(1 / np.cos(np.radians(latitude)), adjustable="datalim")
    axes.grid(color="white")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.2f}° E")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.2f}° N")


def heat(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """A row for each series, dark where its values are high."""
    axes = frame.axes(left=0.5, bottom=0.35, right=0.9)
    step = min(b - a for answer in answers for (a, _), (b, _) in zip(answer.points, answer.points[1:], strict=False))
    times = np.arange(span[0], span[1] + step, step)
    table = np.full((24, len(times)), np.nan)
    for answer in answers:
        for moment, value in answer.points:
            table[int(answer.name), min(round((moment - span[0]) / step), len(times) - 1)] = value
    image = axes.pcolormesh([_when(t) for t in times], np.arange(24), table, cmap="Oranges", vmin=0, shading="nearest")
    axes.set_yticks(range(0, 24, 3), [f"{hour:02d}" for hour in range(0, 24, 3)])
    axes.set_ylim(-0.5, 23.5)
    _over_time(axes, span)
    bar = frame.figure.colorbar(image, ax=axes, pad=0.02, fraction=0.04)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    bar.set_label("events an hour", fontsize=8, color="#555555")


def listing(frame: Frame, panel: Panel, answers: Sequence[Answer], span: Range, marks: Sequence[float]) -> None:
    """A table, its worst rows first where it is sorted."""
    rows = reading.rows(panel, answers)
    organize = reading.organized(panel)
    columns = [
        organize["renameByName"][key]
        for key in sorted(organize["indexByName"], key=organize["indexByName"].__getitem__)
    ]
    for order in panel["options"].get("sortBy", []):
        rows.sort(key=lambda row: float(row.get(order["displayName"], 0)), reverse=order["desc"])
    axes = frame.axes(left=0.15, bottom=0.1)
    axes.set_axis_off()
    room = int((frame.height - 0.6) / 0.24)
    axes.set(xlim=(0, len(columns)), ylim=(room, -0.2))
    for column, name in enumerate(columns):
        axes.text(column, 0, name, fontsize=9, weight="bold", color="#555555", va="center")
        for line, row in enumerate(rows[: room - 1], 1):
            _cell(axes, (column, line), row.get(name, ""), share=name == "doubtful")


Drawer = Callable[[Frame, Panel, Sequence[Answer], Range, Sequence[float]], None]
DRAWERS: dict[str, Drawer] = {
    "geomap": sites,
    "heatmap": heat,
    "stat": numbers,
    "state-timeline": phases,
    "table": listing,
    "timeseries": curves,
}


def _stack(axes: Axes, answers: Sequence[Answer], width: float) -> None:
    below: dict[float, float] = defaultdict(float)
    for index, answer in enumerate(answers):
        points = [(moment, value) for moment, value in answer.points if value > 0]
        bottoms = [below[moment] for moment, _ in points]
        days, values = [_when(moment) for moment, _ in points], [value for _, value in points]
        axes.bar(days, values, width / 86_400, bottoms, color=_PALETTE[index % 10])
        axes.add_patch(Rectangle((0, 0), 0, 0, color=_PALETTE[index % 10], label=answer.name))
        for moment, value in points:
            below[moment] += value


def _curve(answer: Answer) -> tuple[list[float], list[float]]:
    """Moments and values, with a hole where samples are missing."""
    times, values = (list(column) for column in zip(*answer.points, strict=True))
    step = min(np.diff(times), default=1.0)
    for index in reversed([i for i, gap in enumerate(np.diff(times)) if gap > 1.5 * step]):
        times.insert(index + 1, times[index] + step)
        values.insert(index + 1, np.nan)
    return [_when(moment) for moment in times], values


def _cell(axes: Axes, at: tuple[int, int], value: str, *, share: bool) -> None:
    column, line = at
    if share:
        axes.add_patch(Rectangle((column + 0.35, line - 0.3), 0.55, 0.6, color="#eeeeee"))
        axes.add_patch(Rectangle((column + 0.35, line - 0.3), 0.55 * float(value), 0.6, color=COLOURS["orange"]))
    text = f"{float(value):.0%}" if share else f"{float(value):.0f}" if value[:1].isdigit() else value
    axes.text(column, line, text, fontsize=9, color="#333333", va="center")


def _over_time(axes: Axes, span: Range, *, grid: bool = True) -> None:
    axes.set_xlim(_when(span[0]), _when(span[1]))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
    if grid:
        axes.grid(color="#eeeeee", zorder=0)
    axes.set_axisbelow(True)


def _limits(axes: Axes, panel: Panel, lowest: float) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if "max" in defaults:
        axes.set_ylim(min(lowest, 0.9 * defaults["max"]), defaults["max"] * 1.005)
    elif lowest >= 0:
        axes.set_ylim(0, max(axes.get_ylim()[1], 1e-6) * 1.05)


def _when(moment: float) -> float:
    """Unix seconds as matplotlib's days."""
    return (datetime.fromtimestamp(moment, UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() / 86_400
