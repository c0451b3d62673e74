from dataclasses import replace

import pytest

from monitor.config import DetectionSettings
from monitor.rules import make_rules
from ssondo_stream.bundle import Label

DOG = Label("Dog bark", threshold=0.5, off=0.3, early=0.8, min_duration_seconds=0.2, hold_seconds=1.5)


def settings(**values: object) -> DetectionSettings:
    return DetectionSettings.model_validate(values)


def test_without_configuration_the_bundle_decides() -> None:
    (rule,) = make_rules([DOG], settings())
    assert (rule.label, rule.slug) == ("Dog bark", "dog_bark")
    assert (rule.threshold, rule.off, rule.early) == (0.5, 0.3, 0.8)
    assert (rule.min_duration_seconds, rule.hold_seconds, rule.cool_down_seconds) == (0.2, 1.5, 0.0)
    assert rule.enabled


def test_own_setting_goes_before_the_shared_one_and_that_before_the_bundle() -> None:
    shared = settings(threshold=0.6, hold_seconds=3, labels={"dog_bark": {"hold_seconds": 0, "gate_dbfs": -40}})
    own, other = make_rules([DOG, Label("Siren")], shared)
    assert (own.threshold, own.hold_seconds, own.gate_dbfs) == (0.6, 0, -40)
    assert (other.threshold, other.hold_seconds, other.gate_dbfs) == (0.6, 3, None)


@pytest.mark.parametrize(("threshold", "off", "early"), [(0.9, 0.3, 0.9), (0.2, 0.2, 0.8)])
def test_moved_threshold_takes_the_bundles_own_along(threshold: float, off: float, early: float) -> None:
    (rule,) = make_rules([DOG], settings(labels={"dog_bark": {"threshold": threshold}}))
    assert (rule.threshold, rule.off, rule.early) == (threshold, off, early)


@pytest.mark.parametrize(
    ("shared", "own", "confirm"),
    [({}, {}, 0.4), ({"confirm": 0.6}, {}, 0.6), ({"confirm": 0.6}, {"confirm": 0.7}, 0.7), ({}, {"confirm": 0}, 0.0)],
)
def test_certainty_is_the_labels_own_else_the_shared_one_else_the_bundles(
    shared: dict[str, float], own: dict[str, float], confirm: float
) -> None:
    (rule,) = make_rules([replace(DOG, confirm=0.4)], settings(**shared, labels={"dog_bark": own}))
    assert rule.confirm == confirm


def test_configured_contradiction_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="dog_bark: need 0 <= off <= threshold <= early"):
        make_rules([DOG], settings(threshold=0.4, off=0.45))


def test_disabled_label_stays_in_its_place() -> None:
    rules = make_rules([DOG, Label("Siren")], settings(labels={"dog_bark": {"enabled": False}}))
    assert [rule.enabled for rule in rules] == [False, True]
