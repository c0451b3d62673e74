"""The rule of each label: what the configuration says of it, else of all labels, else what its bundle was tuned to."""

from collections.abc import Iterable

from monitor.config import DetectionSettings, LabelSettings
from monitor.detection import Rule
from ssondo_stream.bundle import Label


def make_rules(labels: Iterable[Label], settings: DetectionSettings) -> tuple[Rule, ...]:
    """One rule for each label, in the order of the student's scores.

    Raises:
        ValueError: configured thresholds are out of order; the message names label and values.
    """
    return tuple(_rule(label, settings, settings.labels.get(label.slug, LabelSettings())) for label in labels)


def watched(labels: Iterable[Label], settings: DetectionSettings) -> list[Label]:
    """The labels that are not disabled."""
    return [label for label in labels if settings.labels.get(label.slug, LabelSettings()).enabled]


def thresholds(label: Label, shared: DetectionSettings) -> dict[str, float]:
    """`off`, `threshold`, `early` of a label; the bundle's own `off` and `early` give way to a configured threshold."""
    own = shared.labels.get(label.slug, LabelSettings())
    threshold = _first(own.threshold, shared.threshold, label.threshold)
    return {
        "off": _first(own.off, shared.off, min(label.off, threshold)),
        "threshold": threshold,
        "early": _first(own.early, shared.early, max(label.early, threshold)),
    }


def _rule(label: Label, shared: DetectionSettings, own: LabelSettings) -> Rule:
    return Rule(
        label=label.name,
        slug=label.slug,
        enabled=own.enabled,
        **thresholds(label, shared),
        confirm=_first(own.confirm, shared.confirm, label.confirm),
        min_duration_seconds=_first(own.min_duration_seconds, shared.min_duration_seconds, label.min_duration_seconds),
        hold_seconds=_first(own.hold_seconds, shared.hold_seconds, label.hold_seconds),
        cool_down_seconds=_first(own.cool_down_seconds, shared.cool_down_seconds, 0.0),
        smooth_columns=own.smooth_columns or shared.smooth_columns,
        gate_dbfs=shared.gate_dbfs if own.gate_dbfs is None else own.gate_dbfs,
    )


def _first(own: float | None, shared: float | None, tuned: float) -> float:
    if own is not None:
        return own
    return tuned if shared is None else shared
