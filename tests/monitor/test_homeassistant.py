"""What Home Assistant is told of a source, and which events its entity lets pass."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from jsonschema import ValidationError

from monitor.config import Settings
from monitor.homeassistant import MOST_BYTES, Device, devices
from ssondo_stream.bundle import Label, StudentSpec
from tests.parts_config import bundle, load, mistakes
from tests.parts_events import END, START, factory, utc
from tests.parts_homeassistant import DISCOVERY, TOPIC, EventEntity, render

__all__ = ["bundle", "load", "mistakes"]

DEVICE = Device(
    node="pi1",
    source="yard",
    node_topic="ssondo/pi1",
    labels={"dog_bark": "Dog bark", "siren": "Siren"},
    calibrated=False,
    late_seconds=30,
    model="default",
    version="1.2",
)
SENT = datetime(2026, 9, 1, 2, 13, 5, tzinfo=UTC)


def config(device: Device = DEVICE) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(device.config(device.components()))
    DISCOVERY.validate(value)
    return value


def sent(started: bool = True, late_seconds: float = 30.0, now: datetime = SENT) -> bytes:
    """An event as it leaves, its onset 0.7 s before `SENT`."""
    return factory().event(START if started else END, utc).stamped(7, now, late_seconds).to_json()


def entity(after: float = 0.2) -> EventEntity:
    """The event entity, so many seconds after `SENT`."""
    return EventEntity(config()["components"]["event"], lambda: SENT.timestamp() + after)


def test_source_is_an_event_entity_a_sensor_of_each_label_and_a_level() -> None:
    parts = config()["components"]
    assert {key: (part["platform"], part["state_topic"]) for key, part in parts.items()} == {
        "event": ("event", "ssondo/pi1/yard/event"),
        "level": ("sensor", "ssondo/pi1/yard/level"),
        "label_dog_bark": ("binary_sensor", "ssondo/pi1/yard/label/dog_bark"),
        "label_siren": ("binary_sensor", "ssondo/pi1/yard/label/siren"),
    }
    assert parts["label_dog_bark"]["name"] == "Dog bark"


def test_entities_are_available_only_while_node_and_source_are() -> None:
    assert config()["availability_mode"] == "all"
    assert [item["topic"] for item in config()["availability"]] == [
        "ssondo/pi1/availability",
        "ssondo/pi1/yard/availability",
    ]


def test_ids_stay_the_same_whatever_model_version_and_labels_are() -> None:
    other = replace(DEVICE, model="other", version="9", labels={"siren": "Sirens"})
    ids = {key: part["unique_id"] for key, part in config()["components"].items()}
    assert ids["label_siren"] == "ssondo_pi1_yard_label_siren"
    for key, part in config(other)["components"].items():
        assert part["unique_id"] == ids[key]
    assert config(other)["device"]["identifiers"] == config()["device"]["identifiers"]


def test_names_with_dots_give_topics_that_home_assistant_takes() -> None:
    settings = Settings.model_validate(
        {"node": {"name": "pi.1"}, "source": [{"kind": "demo", "name": "back.yard"}], "mqtt": {"base_topic": "a/b"}}
    )
    ((topic, device),) = devices(settings, settings.source, StudentSpec("tiny", (), 4)).items()
    assert topic == "homeassistant/device/pi-1_back-yard/config"
    assert TOPIC.fullmatch(topic)
    assert config(device)["components"]["event"]["state_topic"] == "a/b/pi.1/back.yard/event"


def test_two_sources_that_home_assistant_takes_for_one_are_refused(mistakes) -> None:
    (told,) = mistakes("".join(f'[[source]]\nkind = "demo"\nname = "{name}"\n' for name in ("a.b", "c", "a-b")))
    assert "source[2].name: got 'a-b' beside 'a.b', expected more than '.' for '-' to differ" in told


def test_only_labels_that_are_watched_are_announced() -> None:
    settings = Settings.model_validate(
        {"source": [{"kind": "demo", "name": "x"}], "detection": {"labels": {"siren": {"enabled": False}}}}
    )
    spec = StudentSpec("tiny", (Label("Siren"), Label("Dog bark")), 4)
    (device,) = devices(settings, settings.source, spec).values()
    assert device.labels == {"dog_bark": "Dog bark"}


def test_removed_labels_are_named_without_anything_else_so_that_their_entities_go() -> None:
    value = json.loads(DEVICE.config(DEVICE.components(), ["label_thunder"]))
    DISCOVERY.validate(value)
    assert value["components"]["label_thunder"] == {"platform": "binary_sensor"}


def test_labels_that_would_burst_the_brokers_bounds_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    large = replace(DEVICE, labels={f"sound_number_{number}": f"Sound number {number}" for number in range(527)})
    value = config(large)
    assert set(value["components"]) == {"event", "level"}
    assert "no sensor per label" in caplog.text
    many = replace(DEVICE, labels=dict(list(large.labels.items())[:200]))
    assert len(config(many)["components"]) == 202
    assert len(many.config(many.components())) <= MOST_BYTES


@pytest.mark.parametrize(
    ("calibrated", "unit", "shown"), [(False, "dBFS", -31.0), (True, "dBA", 52.0)], ids=["plain", "calibrated"]
)
def test_level_is_whole_decibels_of_full_scale_or_sound_pressure(calibrated: bool, unit: str, shown: float) -> None:
    level = config(replace(DEVICE, calibrated=calibrated))["components"]["level"]
    assert level["unit_of_measurement"] == unit
    assert float(render(level["value_template"], b'{"dbfs": -31.2, "laeq_dba": 52.1}', 0)) == shown


def test_event_that_was_sent_just_now_fires_with_all_that_it_says() -> None:
    yard = entity()
    yard.receive(sent())
    yard.receive(sent(started=False))
    assert [fired["event_type"] for fired in yard.fired] == ["started", "ended"]
    assert yard.fired[0] == json.loads(sent())


def test_late_event_fires_nothing() -> None:
    now = SENT + timedelta(minutes=5)
    body = sent(now=now)
    assert json.loads(body)["late"] is True
    yard = entity(after=300.1)
    yard.receive(body)
    assert yard.fired == []


@pytest.mark.parametrize("after", [31.0, 86_400.0, -31.0])
def test_event_that_was_held_up_behind_the_sensor_fires_nothing(after: float) -> None:
    """As by a bridge, or by a broker that keeps messages for who is away; or one of the two clocks is wrong."""
    body = sent()
    assert json.loads(body)["late"] is False
    yard = entity(after)
    yard.receive(body)
    assert yard.fired == []


def test_retained_event_fires_nothing() -> None:
    yard = entity()
    yard.receive(sent(), retain=True)
    assert yard.fired == []


def test_event_without_a_time_of_publishing_fires_nothing() -> None:
    yard = entity()
    yard.receive(factory().event(START, utc).to_json())
    assert yard.fired == []


def test_what_counts_as_late_follows_the_configuration() -> None:
    patient = EventEntity(
        config(replace(DEVICE, late_seconds=600))["components"]["event"], lambda: SENT.timestamp() + 500
    )
    patient.receive(sent(late_seconds=600))
    assert len(patient.fired) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.pop("origin"),
        lambda value: value["device"].pop("identifiers"),
        lambda value: value["components"]["event"].pop("event_types"),
        lambda value: value["components"]["level"].pop("unique_id"),
        lambda value: value["components"]["level"].update(platform="lamp"),
        lambda value: value["components"]["label_siren"].update(state_topic="a/#"),
        lambda value: value.update(cmps={}),
    ],
)
def test_schema_refuses_what_home_assistant_would(spoil: Any) -> None:
    value = config()
    spoil(value)
    with pytest.raises(ValidationError):
        DISCOVERY.validate(value)
