import numpy as np
import pytest

from training.column_targets import COLUMN, LEAD, MEL, column_targets
from training.scenes import Occurrence

WINDOW = MEL.samples_for(624)
LABELS = 12


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (4 * COLUMN - LEAD, 6 * COLUMN - LEAD, {4: 1.0, 5: 1.0}),
        (4 * COLUMN - LEAD + COLUMN // 2, 6 * COLUMN - LEAD, {4: 0.5, 5: 1.0}),
        (4 * COLUMN - LEAD + 2000, 4 * COLUMN - LEAD + 4000, {4: 1.0}),
        (5 * COLUMN - LEAD - 1000, 5 * COLUMN - LEAD + 1000, {4: 0.5, 5: 0.5}),
        (0, COLUMN - LEAD, {0: 1.0}),
        (-5 * COLUMN, 100, {}),
    ],
)
def test_columns_are_trained_on_what_is_heard_in_them(start: int, stop: int, expected: dict[int, float]) -> None:
    targets = column_targets([Occurrence(7, start, stop)], WINDOW, LABELS)
    assert targets.shape == (20, LABELS)
    assert {int(i): float(targets[i, 7]) for i in np.flatnonzero(targets[:, 7])} == pytest.approx(expected)
    assert not np.delete(targets, 7, axis=1).any()


@pytest.mark.parametrize(("frames", "columns"), [(16, 1), (48, 2), (624, 20)])
def test_every_window_length_has_its_columns(frames: int, columns: int) -> None:
    assert column_targets([], MEL.samples_for(frames), LABELS).shape == (columns, LABELS)


def test_last_column_ends_with_the_window() -> None:
    assert 20 * COLUMN - LEAD == WINDOW
