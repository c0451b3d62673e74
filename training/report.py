"""An evaluation as people and programs read it: one table, one JSON, one picture.

Every figure stands with what it was measured on, and those that hang on few events with their intervals.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from training.estimates import Estimate, Rate
from training.files import make_folder, write_json, write_text
from training.matching import Collar
from training.report_plot import Curves, draw
from training.report_values import finite, point_values, stream_values
from training.stream_figures import StreamFigures, middle

TABLE_FILE, JSON_FILE, PLOT_FILE = "evaluation.md", "evaluation.json", "evaluation.png"
_HEADER = (
    "label",
    "threshold",
    "event F1",
    "onset F1",
    "recall",
    "sounds",
    "onset error, s",
    "latency, s",
    "false alarms/h",
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that is known of a student.

    Attributes:
        title: which student, on what.
        clips: figures of whole clips by name, such as "accuracy, fold 4".
        streams: figures on annotated recordings.
        curves: of labels by name, their operating points.
        facts: whatever else belongs to it, such as folds, seeds and sizes.
    """

    title: str
    clips: Mapping[str, Estimate] = field(default_factory=dict)
    streams: StreamFigures | None = None
    curves: Curves = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def write_report(folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.md`, `evaluation.json`, and where there are streams `evaluation.png`.

    Raises:
        StorageError: the folder cannot be written.
    """
    make_folder(folder)
    write_text(folder / TABLE_FILE, markdown(evaluation))
    write_json(folder / JSON_FILE, as_json(evaluation))
    if evaluation.streams:
        draw(folder / PLOT_FILE, evaluation.streams, evaluation.curves)


def markdown(evaluation: Evaluation) -> str:
    """The evaluation as a table for model cards."""
    parts = [[f"# {evaluation.title}"], [f"- {name}: {told}" for name, told in evaluation.facts.items()]]
    if evaluation.clips:
        rows = [(name, _between(estimate)) for name, estimate in evaluation.clips.items()]
        parts.append(_table(("clips", "value, 95 % interval"), rows))
    if evaluation.streams:
        parts += [_overall(evaluation.streams), _by_label(evaluation.streams)]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """The evaluation as JSON values; what is not a number is null."""
    streams = evaluation.streams
    return {
        "title": evaluation.title,
        "facts": dict(evaluation.facts),
        "clips": {name: finite(asdict(estimate)) for name, estimate in evaluation.clips.items()},
        "streams": stream_values(streams) if streams else None,
        "curves": {name: [point_values(point) for point in points] for name, points in evaluation.curves.items()},
    }


def _overall(figures: StreamFigures) -> list[str]:
    outcome = figures.outcome
    rows = [
        (f"event F1, {_within(figures.collar)}", _between(figures.event_f1)),
        ("the same, mean over labels", _number(figures.macro_f1)),
        ("event F1, onset alone", _between(figures.onset_f1)),
        ("sounds overlapped", f"{_number(outcome.recall)} of {outcome.events.real}"),
        ("median onset error", f"{_number(figures.median_onset_error)} s"),
        ("median detection latency", f"{_number(figures.median_latency)} s"),
        *((name.upper(), _number(score)) for name, score in figures.scores.items()),
        ("false alarms per hour, all labels", _rate(figures.false_alarms)),
        ("withdrawn starts per hour, all labels", _rate(figures.false_starts)),
    ]
    return _table(("streams", f"{figures.hours:.2f} h, {figures.negative_hours:.2f} h of it negatives"), rows)


def _within(collar: Collar) -> str:
    return f"onset {collar.onset:g} s and offset {100 * collar.share:g} %"


def _by_label(figures: StreamFigures) -> list[str]:
    scenarios = tuple(figures.scores)
    rows = []
    for of in figures.labels:
        outcome = of.outcome
        numbers = (
            of.rule.threshold,
            outcome.events.f1,
            outcome.onsets.f1,
            outcome.recall,
        )
        rows.append(
            (
                of.rule.name,
                *map(_number, numbers),
                str(outcome.events.real),
                _number(middle(outcome.onset_errors)),
                _number(middle(outcome.latencies)),
                _rate(of.quiet.false_alarms),
                *(_number(of.scores[name]) for name in scenarios),
            )
        )
    return _table((*_HEADER, *map(str.upper, scenarios)), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in cells]


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _between(estimate: Estimate) -> str:
    return f"{_number(estimate.value)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _rate(rate: Rate) -> str:
    found = rate.per_hour()
    if not math.isfinite(found.value):
        return "–"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}), {rate.count} in {rate.hours:.2f} h"
