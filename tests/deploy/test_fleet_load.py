"""The load test itself, with a small fleet: it counts what it says it counts."""

from pathlib import Path

import pytest

from monitor.events import Event
from tests.deploy.fleet_load import measure, record


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded"))


def test_what_is_played_are_recorded_events(recorded: Path) -> None:
    events = [Event.from_json(line) for line in recorded.read_bytes().splitlines()]
    assert {event.event_type for event in events} == {"started", "ended"}
    assert {event.slug for event in events} >= {"smoke_alarm", "siren"}


async def test_twenty_sensors_lose_no_event(tmp_path: Path, recorded: Path) -> None:
    found = await measure(tmp_path, recorded, sensors=20, seconds=4, events_per_minute=60, processes=2)
    rows = dict(found.rows)
    assert (found.received, found.lost) == (found.events, 0)
    assert 20 <= found.events <= 19 * 5 + 41, "a second apart, and ten a second of the probe"
    assert rows["sensors, each with TLS and a certificate"] == "20"
    assert float(rows["broker's memory"].split()[0]) > 1
