"""A soak from beginning to end: how fast this machine can go, the faults one after the other, and the goodbye."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.clock import ScaledClock
from tests.soak.faults import FAULTS, Fault, deck, inject
from tests.soak.parts import PATIENCE
from tests.soak.samples import Sample, lives
from tests.soak.world import World, world

DEADLY_SHARE = 1 / 3
"""The monitor is killed and restarted in the first part of a soak alone: the rest is one life, for trends to show."""
HEADROOM = 0.5
"""Share of the greatest speed that is asked of a machine: after each fault the service must be able to catch up."""
TOGETHER = 0.3
"""Share of faults to which another comes at the same time."""
GIVE_UP = 5
"""Faults that were not noticed or mended, after which a soak ends early."""
_TRIAL_SECONDS = 3.0
_DRAIN_SECONDS = 30.0
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        hours: of audio that each source is to be heard.
        speed: times real time, at most.
        pause: most seconds of audio between faults.
    """

    hours: float
    speed: float
    sources: int
    seed: int
    pause: float
    folder: Path


async def soak(plan: Plan) -> World:
    """Run it; what came of it is in the world that is left."""
    top = await top_speed(plan)
    speed = max(1.0, min(plan.speed, HEADROOM * top))
    tell(f"{speed:.1f} times real time; {plan.speed:g} were asked for, and this machine can do {top:.1f}")
    async with world(plan.folder / "soak", ScaledClock(speed), plan.seed, plan.sources) as made:
        await made.start_monitor()
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(made.sample(every=1.0 if plan.hours > 1 else 0.25), name="sampling")
            await _torment(made, plan)
            sampling.cancel()
        if not made.monitor.ended:
            await made.end_monitor(signal.SIGTERM)
        await _drained(made)
    return made


async def top_speed(plan: Plan) -> float:
    """How many times real time all sources together are analysed here, each as fast as it is read."""
    clock = ScaledClock(plan.speed)
    async with world(plan.folder / "trial", clock, plan.seed, plan.sources, paced=False) as made:
        await made.start_monitor()
        first, begun = await _analyzed(made, 0.0), time.monotonic()
        await asyncio.sleep(_TRIAL_SECONDS)
        last, seconds = await _analyzed(made, first), time.monotonic() - begun
    return (last - first) / seconds


async def _analyzed(made: World, more_than: float) -> float:
    """Seconds that were analysed of a source on average, as soon as that exceeds something.

    Unpaced, they share unfairly: a stream comes in longer blocks than a pipe.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await asyncio.to_thread(made.sampled)
            if found and (heard := sum(found[0].analyzed.values()) / len(made.sources)) > more_than:
                return heard
            await asyncio.sleep(0.05)


def heard_seconds(samples: Sequence[Sample]) -> float:
    """Seconds that were analysed of the source of which the least was, over all lives."""
    last = [life[-1].analyzed for life in lives(samples)]
    return min((sum(life[name] for life in last) for name in (last[0] if last else ())), default=0.0)


async def _torment(made: World, plan: Plan) -> None:
    target, told = plan.hours * 3600, 0.0
    waiting: list[Fault] = [fault for fault in FAULTS if fault.name == "monitor killed"]
    while (heard := heard_seconds(made.samples)) < target and not _hopeless(made):
        await made.clock.sleep(made.random.uniform(0.3, 1) * plan.pause)
        waiting = waiting or deck(made.random, deadly=heard < DEADLY_SHARE * target, disk=made.small_disk)
        first = waiting.pop()
        await inject(made, first, *_companion(first, made))
        if heard - told > target / 20:
            told = heard
            tell(f"{heard / 3600:.2f} h of audio, {len(made.faults)} faults, {len(made.receiver.events)} messages")


def _hopeless(made: World) -> bool:
    """Whether going on would only wait: the verdict then says what is wrong."""
    return made.monitor.ended or sum(bool(fault.trouble) for fault in made.faults) >= GIVE_UP


def _companion(first: Fault, made: World) -> list[Fault]:
    """The broker may die along with whatever else fails; with the monitor's first death it does."""
    if first.of not in ("monitor", "source") or (made.faults and made.random.random() > TOGETHER):
        return []
    return [fault for fault in FAULTS if fault.name == "broker killed"]


async def _drained(made: World) -> None:
    """Until what the broker still holds has been received."""
    end = time.monotonic() + _DRAIN_SECONDS
    while time.monotonic() < end and not made.receiver.quiet(_QUIET_SECONDS):  # noqa: ASYNC110  # nothing tells that nothing comes
        await asyncio.sleep(0.1)


def tell(text: str) -> None:
    """A line for whoever waits."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()
