import json
import os
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from monitor.events import PROPERTIES, SCHEMA, Event, EventFactory, EventIds
from tests.fakes import FakeClock
from tests.parts_events import END, RATE, START, event, factory, utc

CONTRACT = (
    '{"v":1,"event_id":"01J6P0000000000000000000AA","event_type":"started","node":"pi1","source":"yard",'
    '"label":"Dog bark","slug":"dog_bark","score":0.91,"score_peak":0.94,"threshold":0.6,'
    '"onset":"2026-09-01T02:13:04.320Z","offset":null,"duration_s":null,"onset_uncertainty_s":0.26,'
    '"published_at":"2026-09-01T02:13:05.410Z","late":false,"seq":1842,"boot_id":"b00","confirmed":null,'
    '"level_dbfs":-31.2,"model":"default","model_sha256":"5a"}'
)


def test_json_is_that_of_the_contract_to_the_byte() -> None:
    sent = event().stamped(1842, utc(0) + timedelta(seconds=1.4104), late_seconds=30)

    assert sent.to_json().decode() == CONTRACT


@pytest.mark.parametrize("detection", [START, END, replace(END, confirmed=False, level_dbfs=None), replace(START)])
def test_reading_gives_the_event_that_was_written(detection: object) -> None:
    made = factory().event(detection, utc)  # type: ignore[arg-type]

    assert Event.from_json(made.to_json()) == made


def test_end_tells_offset_and_duration_from_samples() -> None:
    end = json.loads(factory().event(END, utc).to_json())

    assert (end["offset"], end["duration_s"], end["confirmed"]) == ("2026-09-01T02:13:06.320Z", 2.0, True)


def test_times_of_another_zone_are_written_in_utc() -> None:
    made = factory().event(START, lambda index: utc(index).astimezone())

    assert json.loads(made.to_json())["onset"] == "2026-09-01T02:13:04.320Z"


@pytest.mark.parametrize("key", PROPERTIES)
def test_reading_names_the_key_that_is_missing(key: str) -> None:
    values = json.loads(CONTRACT)
    del values[key]

    with pytest.raises(ValueError, match=f"lacks '{key}'"):
        Event.from_json(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("v", 2),
        ("v", True),
        ("event_id", "short"),
        ("event_id", "01J6P0000000000000000000IL"),
        ("event_type", "going"),
        ("node", None),
        ("label", 3),
        ("score", "0.9"),
        ("score", 1.1),
        ("score_peak", -0.1),
        ("threshold", True),
        ("onset", None),
        ("onset", "2026-09-01T02:13:04.320"),
        ("onset", "yesterdayZ"),
        ("offset", 5),
        ("duration_s", -1),
        ("late", 0),
        ("seq", 0),
        ("seq", 1.5),
        ("confirmed", "yes"),
        ("level_dbfs", "loud"),
    ],
)
def test_reading_names_the_key_whose_value_is_impossible(key: str, value: object) -> None:
    body = json.dumps({**json.loads(CONTRACT), key: value}).encode()

    with pytest.raises(ValueError, match=f"key '{key}' needs"):
        Event.from_json(body)


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b"\xff", CONTRACT.replace("0.91", "NaN").encode()])
def test_reading_refuses_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Event.from_json(body)


def test_reading_passes_over_keys_of_a_later_version() -> None:
    body = json.dumps({**json.loads(CONTRACT), "bearing_deg": 40}).encode()

    assert Event.from_json(body).label == "Dog bark"


def test_an_infinite_number_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(event(), level_dbfs=float("-inf")).to_json()


def test_schema_asks_for_every_key_in_the_order_of_the_json() -> None:
    assert SCHEMA["required"] == list(json.loads(CONTRACT))


@pytest.mark.parametrize(
    ("detection", "seconds_after_onset", "late"),
    [
        (START, 29.9, False),
        (START, 30.1, True),
        (END, 2 + 10 + 29.9, False),  # an end waits 10 s to be settled
        (END, 2 + 10 + 30.1, True),
        (START, -5.0, False),  # the clock was stepped back
    ],
)
def test_late_tells_that_delivery_lags_behind_what_is_told(
    detection: object, seconds_after_onset: float, late: bool
) -> None:
    made = factory().event(detection, utc)  # type: ignore[arg-type]
    now = utc(START.onset) + timedelta(seconds=seconds_after_onset)

    assert made.stamped(1, now, late_seconds=30, settle_seconds=10).late is late


def test_start_and_end_share_an_id_and_the_next_sound_has_another() -> None:
    ids = (f"id{number}" for number in count())
    make = EventFactory(
        node="n", source="s", boot_id="b", model="m", model_sha256="0", sample_rate=RATE, new_id=lambda: next(ids)
    )
    detections = [START, replace(START, key=2), END, replace(END, key=2), replace(END, key=3)]

    assert [make.event(detection, utc).event_id for detection in detections] == ["id0", "id1", "id0", "id1", "id2"]


def test_id_is_the_ulid_of_its_time_and_randomness() -> None:
    new_id = EventIds(FakeClock(wall=1469918176.385), bytes)

    assert new_id() == "01ARYZ6S410000000000000000"  # time part as in the ULID specification's example


async def test_ids_rise_within_a_millisecond_and_over_time_and_when_the_clock_is_stepped_back() -> None:
    clock = FakeClock()
    new_id = EventIds(clock, os.urandom)
    ids = [new_id() for _ in range(100)]
    await clock.advance(1)
    ids += [new_id() for _ in range(100)]
    clock.step_wall(-3600)
    ids += [new_id() for _ in range(100)]

    assert ids == sorted(set(ids))
    assert {len(one) for one in ids} == {26}


def test_ids_of_the_same_millisecond_follow_each_other() -> None:
    new_id = EventIds(FakeClock(), lambda size: b"\xff" * size)
    first, second = new_id(), new_id()

    assert first < second
