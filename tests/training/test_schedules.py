import json

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from tests.parts_shared import shared
from training.schedules import SCHEDULES, ScheduleSettings, schedule


def rates(name: str, steps_per_epoch: int, epochs: int) -> list[float]:
    """The learning rates that an optimiser of base rate 1 is given."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = LambdaLR(optimiser, schedule(ScheduleSettings(name), steps_per_epoch, epochs))
    found = []
    for _ in range(steps_per_epoch * epochs):
        found.append(scheduler.get_last_lr()[0])
        optimiser.step()
        scheduler.step()
    return found


def test_published_schedule_gives_the_golden_multipliers() -> None:
    golden = json.loads((shared("golden") / "losses.json").read_text())["lr_multiplier_by_epoch"]
    multiplier = schedule(ScheduleSettings("published"), 1, 200)
    for epoch, expected in golden.items():
        assert multiplier(int(epoch)) == pytest.approx(expected, rel=1e-12), epoch


def test_published_schedule_changes_between_epochs_alone() -> None:
    assert rates("published", 5, 3) == [rate for rate in rates("published", 1, 3) for _ in range(5)]


def test_published_schedule_by_step_meets_the_one_by_epoch_at_each_start() -> None:
    by_step = schedule(ScheduleSettings("published", by_epoch=False), 10, 200)
    by_epoch = schedule(ScheduleSettings("published"), 10, 200)
    assert [by_step(10 * epoch) for epoch in range(200)] == pytest.approx([by_epoch(10 * e) for e in range(200)])
    assert by_epoch(10) < by_step(15) < by_epoch(20)


def test_published_schedule_may_be_without_warm_up() -> None:
    assert schedule(ScheduleSettings(warmup_epochs=0), 1, 10)(0) == 1


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(10, 20), (7, 3), (1, 4)])
def test_one_cycle_is_that_of_torch(steps_per_epoch: int, epochs: int) -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = OneCycleLR(optimiser, max_lr=1.0, total_steps=steps_per_epoch * epochs, cycle_momentum=False)
    expected = []
    for step in range(steps_per_epoch * epochs):
        expected.append(theirs.get_last_lr()[0])
        optimiser.step()
        if step < steps_per_epoch * epochs - 1:
            theirs.step()
    assert rates("one_cycle", steps_per_epoch, epochs) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
def test_multiplier_stays_within_bounds_and_goes_on_after_the_end(name: str, steps: int) -> None:
    multiplier = schedule(ScheduleSettings(name), steps, 1)
    assert all(0 <= multiplier(step) <= 1 for step in range(steps + 10))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "step"}, "no schedule 'step'"),
        ({"warmup_epochs": 90}, "warmup_epochs <= hold_until_epoch"),
        ({"down_epochs": 0}, "down_epochs > 0"),
        ({"last": 2}, "last <= 1"),
        ({"warmup_share": 1.0}, "warmup_share < 1"),
        ({"start_divisor": 0.5}, "divisors"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ScheduleSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(0, 1), (1, 0)])
def test_training_without_steps_is_refused(steps_per_epoch: int, epochs: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        schedule(ScheduleSettings(), steps_per_epoch, epochs)
