"""Pictures of an evaluation: what each threshold would find at how many false alarms, and where onsets are put."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.files import write_file
from training.stream_figures import StreamFigures
from training.thresholds import OperatingPoint

Curves = Mapping[str, Sequence[OperatingPoint]]
_MOST_LABELS = 20  # those that are heard most


def draw(path: Path, figures: StreamFigures, curves: Curves) -> None:
    """A PNG: recall over false alarms an hour and precision over recall of each label, and the onset errors.

    Args:
        path: of the file.
        figures: measured.
        curves: of labels by name; none leaves two of the three pictures empty.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # half a second, and nothing but this needs it

    figure = Figure(figsize=(17, 5), layout="constrained")
    alarms, precision, errors = figure.subplots(1, 3)
    for name in _most_heard(curves):
        points = curves[name]
        rates = [point.alarms.per_hour().value for point in points]
        recalls = [point.outcome.events.recall for point in points]
        alarms.plot(rates, [point.outcome.recall for point in points], marker=".", label=name)
        precision.plot(recalls, [point.outcome.events.precision for point in points], marker=".", label=name)
    alarms.set(title="found, at each threshold", xlabel="false alarms per hour", ylabel="share of sounds overlapped")
    alarms.set_xscale("symlog", linthresh=1.0)
    precision.set(title="events by onset and offset", xlabel="recall", ylabel="precision")
    for axes in (alarms, precision):
        axes.set_ylim(-0.02, 1.02)
        if axes.lines:
            axes.legend(fontsize="x-small")
    onsets = figures.outcome.onsets.errors
    errors.hist(onsets, bins=41, range=(-0.5, 0.5))
    told = f"{len(onsets)} onsets, median error {figures.median_onset_error:.3f} s"
    errors.set(title=told, xlabel="reported minus real onset, s", ylabel="events")
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=100))


def _most_heard(curves: Curves) -> list[str]:
    heard = {name: points[0].outcome.events.real for name, points in curves.items() if points}
    return sorted((name for name in heard if heard[name]), key=lambda name: -heard[name])[:_MOST_LABELS]
