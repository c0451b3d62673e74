"""Figures of an evaluation as JSON values; what is not a number is null."""

import math
from collections.abc import Mapping
from dataclasses import asdict

from training.estimates import Rate
from training.stream_figures import LabelFigures, StreamFigures, middle
from training.thresholds import OperatingPoint


def stream_values(figures: StreamFigures) -> dict[str, object]:
    """All figures of streams."""
    outcome = figures.outcome
    numbers = {
        "hours": figures.hours,
        "negative_hours": figures.negative_hours,
        "macro_f1": figures.macro_f1,
        "recall": outcome.recall,
        "median_onset_error_s": figures.median_onset_error,
        "median_latency_s": figures.median_latency,
        **figures.scores,
    }
    return {
        **finite(numbers),
        "event_f1": finite(asdict(figures.event_f1)),
        "onset_f1": finite(asdict(figures.onset_f1)),
        "false_alarms": _told_rate(figures.false_alarms),
        "false_starts": _told_rate(figures.false_starts),
        "labels": {of.rule.name: _label(of) for of in figures.labels},
    }


def point_values(point: OperatingPoint) -> dict[str, object]:
    """A label at a threshold."""
    outcome, rate = point.outcome, point.alarms
    numbers = {
        "threshold": point.rule.threshold,
        "recall": outcome.recall,
        "event_precision": outcome.events.precision,
        "event_recall": outcome.events.recall,
        "event_f1": outcome.events.f1,
    }
    return {**finite(numbers), "false_alarms": rate.count, "hours": rate.hours}


def finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers, None for what is none."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _label(of: LabelFigures) -> dict[str, object]:
    outcome = of.outcome
    numbers = {
        "event_f1": outcome.events.f1,
        "onset_f1": outcome.onsets.f1,
        "precision": outcome.events.precision,
        "recall": outcome.recall,
        "median_onset_error_s": middle(outcome.onset_errors),
        "median_latency_s": middle(outcome.latencies),
        **of.scores,
    }
    return {
        "settings": asdict(of.rule),
        "sounds": outcome.events.real,
        "reported": outcome.events.reported,
        **finite(numbers),
        "false_alarms": _told_rate(of.quiet.false_alarms),
        "false_alarms_everywhere": _told_rate(outcome.false_alarms),
        "false_starts": _told_rate(of.quiet.false_starts),
    }


def _told_rate(rate: Rate) -> dict[str, object]:
    return {"count": rate.count, "hours": rate.hours, "per_hour": finite(asdict(rate.per_hour()))}
