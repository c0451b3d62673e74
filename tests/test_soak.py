"""Five minutes of a soak, and that its verdict sees what it is there to see."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from monitor.clock import ScaledClock
from tests.parts import PATIENCE
from tests.soak.ledger import ledger, missed_alarms
from tests.soak.samples import Sample, is_long, settled, slope, unaccounted
from tests.soak.scene import RATE, Scene
from tests.soak.world import Injected, World

ROOT = Path(__file__).parents[1]
PLACE = "yard"


def test_five_minutes_of_two_sources_with_faults_lose_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak"
    command = [sys.executable, "-m", "tests.soak", "--hours", str(2.5 / 60), "--speed", "6", "--sources", "2"]
    done = subprocess.run(
        [*command, "--pause", "75", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (out / "soak" / "monitor.log").read_text()
    found = json.loads((out / "soak.json").read_text())
    assert {"monitor killed", "broker killed"} <= {fault["fault"] for fault in found["faults"]}
    assert len(found["samples"]) > 20
    assert (out / "soak.png").stat().st_size > 10_000


def test_a_scaled_clock_agrees_with_the_machine_at_its_beginning_alone() -> None:
    now = datetime.now(UTC).timestamp()
    assert ScaledClock(30, since=now).wall() == pytest.approx(now, abs=30)
    assert ScaledClock(30, since=now - 100).wall() == pytest.approx(now + 2_900, abs=30)
    with pytest.raises(ValueError, match="got 0"):
        ScaledClock(0)


async def test_a_scaled_clock_sleeps_less() -> None:
    clock = ScaledClock(1000)
    before = clock.monotonic()
    await clock.sleep(10)
    assert clock.monotonic() - before >= 10


def test_a_scene_is_the_same_however_it_is_read() -> None:
    scene, second = Scene(3), Scene(3)
    whole = scene.read(50 * RATE, 130 * RATE)
    pieces = [second.read(at * RATE, (at + 7) * RATE) for at in range(50, 127, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[: 77 * RATE])


def test_alarms_are_where_the_scene_says() -> None:
    scene = Scene(1)
    (alarm,) = scene.alarms(60, 120)
    before = scene.read(round((alarm.start - 1) * RATE), round(alarm.start * RATE))
    begun = scene.read(round(alarm.start * RATE), round((alarm.start + 0.4) * RATE))
    after = scene.read(round((alarm.end + 0.01) * RATE), round((alarm.end + 1) * RATE))
    assert np.abs(before).max() < 0.03 < np.abs(begun).max()
    assert np.abs(after).max() < 0.03


def message(seq: int, event_id: str, event_type: str = "ended", onset: float = 0.0) -> dict[str, Any]:
    date = datetime.fromtimestamp(onset, UTC).isoformat()
    names = {"event_id": event_id, "event_type": event_type, "source": PLACE, "slug": "smoke_alarm"}
    return {**names, "seq": seq, "onset": date, "confirmed": event_type == "ended" or None}


def noted(
    *events: dict[str, Any], samples: list[Sample] | None = None, faults: list[Injected] | None = None, **fields: Any
) -> World:
    """What a soak of one source noted, on a clock that began in 1970 and runs as fast as the machine's."""
    notes = {
        "clock": SimpleNamespace(speed=1.0, since=0.0),
        "receiver": SimpleNamespace(events=list(events)),
        "sources": [SimpleNamespace(name=PLACE, scene=Scene(0))],
        "samples": samples or [],
        "faults": faults or [],
        "spooled": {},
    }
    return cast("World", SimpleNamespace(**{**notes, **fields}))


def test_repeats_are_no_mistake() -> None:
    started, ended = message(1, "a", "started"), message(2, "a")
    found = ledger(noted(started, ended, started, ended))
    assert (found.messages, found.repeats) == (2, 2)
    assert not any((found.holes, found.missing, found.reused, found.renumbered, found.disordered, found.unfinished))


def test_a_message_that_never_came_is_missed_by_its_number() -> None:
    assert ledger(noted(message(1, "a"), message(3, "b"))).holes == [2]


def test_a_spooled_message_that_never_came_is_missed() -> None:
    found = ledger(noted(message(1, "a"), spooled={1: ("a", "ended"), 2: ("b", "ended")}))
    assert (found.missing, found.holes) == ([2], [2])


def test_a_number_of_two_events_and_an_event_of_two_numbers_are_found() -> None:
    found = ledger(noted(message(1, "a"), message(1, "b"), message(2, "b")))
    assert (found.reused, found.renumbered) == ([1], ["b"])


def test_a_first_delivery_after_a_later_message_is_out_of_order() -> None:
    assert ledger(noted(message(1, "a"), message(3, "c"), message(1, "a"), message(2, "b"))).disordered == [2]


@pytest.mark.parametrize(("kills", "unfinished"), [([], ["a"]), ([100.0], ["a"]), ([20.0], [])])
def test_a_start_needs_an_end_unless_the_monitor_was_killed(kills: list[float], unfinished: list[str]) -> None:
    faults = [Injected("monitor killed", "monitor", (PLACE,), at, at + 5, "") for at in kills]
    assert ledger(noted(message(1, "a", "started", onset=10.0), faults=faults)).unfinished == unfinished


def sample(at: float, *, rss: float = 100.0, lost: float = 0.0, late: float = 0.0, gap: float = 0.0) -> Sample:
    analyzed = at - lost - late - gap
    return Sample(at, 1, rss, 10, 5, 0, {PLACE: at - lost}, {PLACE: analyzed}, {PLACE: gap}, {PLACE: 0.0})


def test_an_alarm_that_was_not_told_is_missed_and_a_told_one_is_not() -> None:
    alarms = list(Scene(0).alarms(60, 180))
    told = message(1, "a", onset=alarms[0].start + 0.3)
    world = noted(told, samples=[sample(float(at)) for at in range(1, 240)])
    missed = [alarm for _, alarm in missed_alarms(world)]
    assert alarms[0] not in missed
    assert alarms[1] in missed


def test_alarms_in_faults_and_gaps_are_not_judged() -> None:
    (first, second) = Scene(0).alarms(60, 180)
    deaf = Injected("source muted", PLACE, (PLACE,), first.start, first.start + 2, "")
    samples = [sample(float(at), gap=1.0 if at > second.start else 0.0) for at in range(1, 200)]
    missed = [alarm for _, alarm in missed_alarms(noted(samples=samples, faults=[deaf]))]
    assert first not in missed
    assert second not in missed


def test_a_leak_shows_as_a_slope_whatever_the_spikes() -> None:
    hours = np.arange(0, 5, 0.005)
    spiky = [sample(float(h * 3600), rss=100 + 1.5 * h + (40 if i % 10 == 0 else 0)) for i, h in enumerate(hours)]
    assert is_long(settled(spiky))
    assert slope(settled(spiky), lambda s: s.rss_mb) == pytest.approx(1.5, abs=0.1)


def test_a_short_life_shows_no_trend() -> None:
    kept = settled([sample(float(at)) for at in range(0, 3600, 10)])
    assert kept[0].at == 1200
    assert not is_long(kept)


def test_audio_that_is_gone_is_unaccounted_and_audio_that_is_late_is_not() -> None:
    gone = [sample(float(at), lost=5.0 if at > 50 else 0.0) for at in range(1, 100)]
    late = [sample(float(at), late=5.0 if at % 7 else 0.0) for at in range(1, 100)]
    told = [sample(float(at), gap=5.0 if at > 50 else 0.0) for at in range(1, 100)]
    assert [unaccounted(life, PLACE)[0] for life in (gone, late, told)] == pytest.approx([5.0, 0.0, 0.0])
