"""What came out against what went in: numbers, ids, and the alarms that were played."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tests.soak.receiver import Event
from tests.soak.scene import Alarm
from tests.soak.world import Injected, World

MARGIN_SECONDS = 15.0
"""Audio around an alarm that must have been heard: a window of the student before it, and after it."""
ONSET_SECONDS = 1.0
ONSET_MACHINE_SECONDS = 0.1
"""An onset is told so well; the machine's own delays grow with the speed."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Mistakes, each named; none where all is well.

    Attributes:
        holes: numbers that no message had.
        missing: numbers that were in the spool when the monitor died, and never came.
        reused: numbers of several events.
        renumbered: events of several numbers.
        disordered: numbers that first came after a higher one.
        unfinished: ids of starts without an end, but for those that were open when the monitor was killed.
    """

    messages: int
    repeats: int
    holes: list[int]
    missing: list[int]
    reused: list[int]
    renumbered: list[str]
    disordered: list[int]
    unfinished: list[str]


def ledger(world: World) -> Ledger:
    """Go through what was received."""
    events = world.receiver.events
    by_number: dict[int, set[tuple[str, str]]] = defaultdict(set)
    by_event: dict[tuple[str, str], set[int]] = defaultdict(set)
    for event in events:
        key = event["event_id"], event["event_type"]
        by_number[event["seq"]].add(key)
        by_event[key].add(event["seq"])
    top = max([*by_number, *world.spooled], default=0)
    return Ledger(
        messages=len(by_number),
        repeats=len(events) - len(by_number),
        holes=[number for number in range(1, top + 1) if number not in by_number],
        missing=[number for number, key in world.spooled.items() if key not in by_number[number]],
        reused=[number for number, keys in by_number.items() if len(keys) > 1],
        renumbered=[event_id for (event_id, _), numbers in by_event.items() if len(numbers) > 1],
        disordered=_disordered([event["seq"] for event in events]),
        unfinished=_unfinished(world),
    )


def _disordered(numbers: Sequence[int]) -> list[int]:
    found, highest, seen = [], 0, set()
    for number in numbers:
        if number not in seen and number < highest:
            found.append(number)
        highest = max(highest, number)
        seen.add(number)
    return found


def _unfinished(world: World) -> list[str]:
    events = world.receiver.events
    ended = {event["event_id"] for event in events if event["event_type"] == "ended"}
    kills = [fault for fault in world.faults if fault.fault == "monitor killed"]
    return [
        event["event_id"]
        for event in events
        if event["event_type"] == "started"
        and event["event_id"] not in ended
        and not _touched(_onset(event, world) - MARGIN_SECONDS, _onset(event, world) + 60, kills)
    ]


def judged_alarms(world: World) -> dict[str, list[Alarm]]:
    """Of each source the alarms that were played while it was heard: outside of faults and of gaps that were told."""
    return {
        source.name: [alarm for alarm in source.scene.alarms(*_span(world)) if not _excused(world, source.name, alarm)]
        for source in world.sources
    }


def missed_alarms(world: World) -> list[tuple[str, Alarm]]:
    """Judged alarms without a confirmed event that begins with them."""
    tolerance = ONSET_SECONDS + ONSET_MACHINE_SECONDS * world.clock.speed
    onsets: dict[str, list[float]] = defaultdict(list)
    for event in world.receiver.events:
        if event["confirmed"] and event["slug"] == "smoke_alarm":
            onsets[event["source"]].append(_onset(event, world))
    return [
        (name, alarm)
        for name, alarms in judged_alarms(world).items()
        for alarm in alarms
        if not any(abs(onset - alarm.start) <= tolerance for onset in onsets[name])
    ]


def _excused(world: World, source: str, alarm: Alarm) -> bool:
    start, end = alarm.start - MARGIN_SECONDS, alarm.end + MARGIN_SECONDS
    deaf = [fault for fault in world.faults if source in fault.deaf]
    return _touched(start, end, deaf) or _gap_between(world, source, start, end)


def _touched(start: float, end: float, faults: Sequence[Injected]) -> bool:
    return any(fault.start < end and fault.end > start for fault in faults)


def _gap_between(world: World, source: str, start: float, end: float) -> bool:
    """Whether gaps were counted around then; a gap shows a few seconds after it, and a sample may be late."""
    late = MARGIN_SECONDS + world.clock.speed
    near = [sample for sample in world.samples if start - late <= sample.at <= end + late]
    return len({(sample.life, sample.gaps[source]) for sample in near}) != 1


def _span(world: World) -> tuple[float, float]:
    """From when on and until when alarms are looked for."""
    times = [sample.at for sample in world.samples if all(sample.captured.values())] or [0.0]
    return times[0] + MARGIN_SECONDS, times[-1] - MARGIN_SECONDS


def _onset(event: Event, world: World) -> float:
    return datetime.fromisoformat(event["onset"]).timestamp() - world.clock.since
