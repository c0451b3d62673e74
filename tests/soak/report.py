"""What a soak found: rows with their bars, everything as JSON, and a plot over the time of the audio."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from tests.bench.rows import Row, table
from tests.soak.faults import FAULTS
from tests.soak.ledger import judged_alarms, ledger, missed_alarms
from tests.soak.run import Plan, heard_seconds
from tests.soak.samples import is_long, lives, settled, slope, unaccounted
from tests.soak.world import World

EDGE_SECONDS = 0.05
"""How well it is known when a life or a source's outage ended, in seconds of the machine, which do not speed up."""

SURELY_HOURS = 0.25
"""In so much audio some alarm is played while nothing is wrong."""


def rows(world: World, plan: Plan) -> list[Row]:
    """The verdict."""
    return [*_course(world, plan), *_events(world, plan), *_audio(world), *_trends(world)]


def _course(world: World, plan: Plan) -> list[Row]:
    kinds = Counter(fault.fault for fault in world.faults)
    absent = [fault.name for fault in FAULTS if fault.name not in kinds]
    held = [fault for fault in world.faults if fault.trouble]
    note = "; ".join(f"{fault.fault} of {fault.target} at {fault.start:.0f} s: {fault.trouble}" for fault in held)
    hours = heard_seconds(world.samples) / 3600
    return [
        Row("audio analysed", hours, "h", plan.hours, at_least=True, note=f"the least of {plan.sources} sources"),
        Row(
            "speed",
            world.clock.speed,
            "x",
            None,
            note=f"asked {plan.speed:g}; at most half of what this machine can do",
        ),
        Row(
            "faults injected", len(world.faults), "", None, note=f"not: {', '.join(absent)}" if absent else "all kinds"
        ),
        Row("faults not noticed or not mended", len(held), "", 0, note=note),
        Row("slowest end on SIGTERM", max(world.stops, default=0.0), "s", 5, note=f"of {len(world.stops)}"),
    ]


def _events(world: World, plan: Plan) -> list[Row]:
    found = ledger(world)
    judged = sum(len(alarms) for alarms in judged_alarms(world).values())
    missed = missed_alarms(world)
    least = 1 if plan.hours >= SURELY_HOURS else None
    on = [topic for topic, state in world.receiver.states.items() if state in ("ON", "online")]
    return [
        Row("messages received", found.messages, "", None, note=f"and {found.repeats} repeats"),
        _none("messages lost, by their numbers", found.holes),
        _none("messages lost, that were spooled when the monitor died", found.missing),
        _none("numbers used twice", found.reused),
        _none("events numbered twice", found.renumbered),
        _none("messages out of order", found.disordered),
        _none("starts without an end, but for kills", found.unfinished),
        Row("alarms played outside of faults and gaps", judged, "", least, at_least=True),
        _none("of these, missed", [f"{name} at {alarm.start:.1f} s" for name, alarm in missed]),
        _none("states left ON or online after the end", on),
    ]


def _none(what: str, found: list[int] | list[str]) -> Row:
    return Row(what, len(found), "", 0, note=", ".join(map(str, found[:5])))


def _audio(world: World) -> list[Row]:
    accounts = [unaccounted(life, source.name) for life in lives(world.samples) for source in world.sources]
    seconds = max(1.0, sum(length for _, length in accounts))
    lost = sum(open_seconds for open_seconds, _ in accounts)
    ends = [life[-1] for life in lives(world.samples)]
    edges = len(accounts) + sum(sum(sample.restarts.values()) for sample in ends)
    blur = EDGE_SECONDS * world.clock.speed * edges
    waiting = [s.captured[x] - s.analyzed[x] - s.gaps[x] for s in world.samples for x in s.captured]
    gaps = sum(sum(sample.gaps.values()) for sample in ends)
    note = f"{lost:.1f} s of {seconds / 3600:.1f} h, {gaps / 3600:.2f} h in gaps; {edges:.0f} edges blur {blur:.1f} s"
    share, bar = 100 * abs(lost) / seconds, round(0.1 + 100 * blur / seconds, 2)
    return [
        Row("audio by the clock, less analysed and gaps", share, "%", bar, note=note),
        Row("audio captured, less analysed and gaps", max(waiting, default=0.0), "s", 2, note="most, and on its way"),
    ]


def _trends(world: World) -> list[Row]:
    samples = settled(world.samples)
    judged = is_long(samples)
    note = f"{(samples[-1].at - samples[0].at) / 3600:.1f} h of one life" + ("" if judged else ": too short to judge")
    first, last = samples[0], samples[-1]
    memory, few = (1.0, 0.5) if judged else (None, None)
    return [
        Row("memory, trend", slope(samples, lambda s: s.rss_mb), "MB/h", memory, note=note),
        Row("memory at the end", last.rss_mb, "MB", None, note=f"{first.rss_mb:.0f} MB after the warm-up"),
        Row("files, trend", slope(samples, lambda s: s.descriptors), "/h", few, note=f"{last.descriptors} at the end"),
        Row("threads, trend", slope(samples, lambda s: s.threads), "/h", few, note=f"{last.threads} at the end"),
    ]


def write(world: World, plan: Plan, found: list[Row], folder: Path) -> None:
    """`soak.json`, `soak.md` and `soak.png`."""
    (folder / "soak.md").write_text(table(found) + "\n")
    content = {
        "plan": {**asdict(plan), "folder": str(plan.folder)},
        "speed": world.clock.speed,
        "since": world.clock.since,
        "rows": [{**asdict(row), "met": row.met} for row in found],
        "ledger": asdict(ledger(world)),
        "missed": [{"source": name, **asdict(alarm)} for name, alarm in missed_alarms(world)],
        "faults": [asdict(fault) for fault in world.faults],
        "samples": [asdict(sample) for sample in world.samples],
    }
    (folder / "soak.json").write_text(json.dumps(content))
    _plot(world, folder / "soak.png")


def _plot(world: World, path: Path) -> None:
    figure = Figure(figsize=(12, 8), layout="constrained")
    panels = figure.subplots(4, 1, sharex=True, height_ratios=[3, 2, 2, 3])
    hours = [sample.at / 3600 for sample in world.samples]
    values: dict[str, list[float]] = {
        "RSS, MB": [sample.rss_mb for sample in world.samples],
        "files, threads (…)": [sample.descriptors for sample in world.samples],
        "spool, messages": [sample.spooled for sample in world.samples],
    }
    for panel, (label, series) in zip(panels, values.items(), strict=False):
        panel.plot(hours, series, ".", markersize=2)
        panel.set_ylabel(label)
        panel.set_ylim(0, 1.1 * max(series) + 1)
        for life in lives(world.samples)[1:]:
            panel.axvline(life[0].at / 3600, color="grey", linewidth=0.5)
    panels[1].plot(hours, [sample.threads for sample in world.samples], ":", color="C1", linewidth=1)
    names = [fault.name for fault in FAULTS]
    for fault in world.faults:
        colour = "red" if fault.trouble else "C0"
        width = max((fault.end - fault.start) / 3600, hours[-1] / 500 if hours else 0)
        panels[3].barh(names.index(fault.fault), width, left=fault.start / 3600, color=colour)
    panels[3].set_yticks(range(len(names)), names)
    panels[3].invert_yaxis()
    panels[3].set_xlabel(f"hours of audio, {world.clock.speed:.1f} times as fast; grey: the monitor began a new life")
    figure.savefig(path, dpi=90)
