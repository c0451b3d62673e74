"""What happens to the programs: each fault is injected for real, must be noticed where it can be, and is mended.

Waits are in seconds of the machine: only the audio is sped up.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.soak.parts import SourceProcess
from tests.soak.world import Injected, World

NOTICE = 30.0  # most seconds until a fault shows


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault.

    Attributes:
        run: injects it and mends it.
        of: whom it befalls: `broker`, `monitor`, `disk`, or `source`, and then one that is drawn.
        deadly: the monitor's process ends.
    """

    name: str
    of: str
    run: Callable[[World, SourceProcess], Awaitable[None]]
    deadly: bool = False


async def _broker_killed(world: World, _: SourceProcess) -> None:
    world.broker.kill()
    try:
        await _held_until(world, "mqtt_connected", 0, most=3)
    finally:
        await world.broker.start()


async def _broker_stopped(world: World, _: SourceProcess) -> None:
    world.broker.freeze()
    try:
        await _held_until(world, "mqtt_connected", 0, most=2)
    finally:
        world.broker.thaw()


async def _monitor_killed(world: World, _: SourceProcess) -> None:
    await world.end_monitor(signal.SIGKILL)
    await asyncio.sleep(world.random.uniform(0, 1))
    await world.start_monitor()


async def _monitor_terminated(world: World, _: SourceProcess) -> None:
    await world.end_monitor(signal.SIGTERM)
    await world.start_monitor()


async def _monitor_stopped(world: World, _: SourceProcess) -> None:
    world.monitor.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(world.random.uniform(1, 4))
    finally:
        world.monitor.send(signal.SIGCONT)


async def _source_killed(world: World, source: SourceProcess) -> None:
    source.kill()
    try:
        await _held_until(world, _of("source_up", source), 0, most=2)
    finally:
        source.start(world.clock)


async def _source_stopped(world: World, source: SourceProcess) -> None:
    source.send(signal.SIGSTOP)
    try:
        await _held_until(world, _of("source_up", source), 0, most=2)
    finally:
        source.send(signal.SIGCONT)


async def _source_muted(world: World, source: SourceProcess) -> None:
    source.turn("mute")
    try:
        await _held_until(world, _of("source_flatline", source), 1, most=1)
    finally:
        source.turn("scene")


async def _source_garbled(world: World, source: SourceProcess) -> None:
    source.turn("garbage")
    try:
        await asyncio.sleep(world.random.uniform(0.5, 2))
    finally:
        source.turn("scene")


async def _disk_full(world: World, _: SourceProcess) -> None:
    ballast = world.monitor.state / "ballast"
    try:
        await asyncio.to_thread(_fill, ballast)
        await asyncio.sleep(world.random.uniform(1, 5))
    finally:
        ballast.unlink()


def _fill(path: Path) -> None:
    with suppress(OSError), path.open("wb", 0) as file:
        while file.write(bytes(65_536)):
            pass


def _of(metric: str, source: SourceProcess) -> str:
    return f'{metric}{{source="{source.name}"}}'


async def _held_until(world: World, metric: str, value: float, most: float) -> None:
    """Wait until the fault shows, and up to so many seconds more."""
    await world.until(lambda found: found.get(f"ssondo_{metric}") == value, f"{metric} {value}", NOTICE)
    await asyncio.sleep(world.random.uniform(0, most))


FAULTS = (
    Fault("broker killed", "broker", _broker_killed),
    Fault("broker stopped", "broker", _broker_stopped),
    Fault("monitor killed", "monitor", _monitor_killed, deadly=True),
    Fault("monitor terminated", "monitor", _monitor_terminated, deadly=True),
    Fault("monitor stopped", "monitor", _monitor_stopped),
    Fault("source killed", "source", _source_killed),
    Fault("source stopped", "source", _source_stopped),
    Fault("source muted", "source", _source_muted),
    Fault("source garbled", "source", _source_garbled),
    Fault("disk full", "disk", _disk_full),
)


def deck(random: Random, *, deadly: bool, disk: bool) -> list[Fault]:
    """Every kind once, in any order; what may kill the monitor and fill its disk only where that is wanted."""
    kinds = [fault for fault in FAULTS if (deadly or not fault.deadly) and (disk or fault.of != "disk")]
    return random.sample(kinds, len(kinds))


async def inject(world: World, *faults: Fault) -> None:
    """Let some happen at once, and wait until all is well again."""
    start = world.now
    source = world.random.choice(world.sources)
    troubles = await asyncio.gather(*(_tried(fault, world, source) for fault in faults))
    mended = await _tried(_MENDED, world, source)
    for fault, trouble in zip(faults, troubles, strict=True):
        deaf = {"monitor": tuple(s.name for s in world.sources), "source": (source.name,)}.get(fault.of, ())
        target = source.name if fault.of == "source" else fault.of
        world.faults.append(Injected(fault.name, target, deaf, start, world.now, trouble or mended))


async def _tried(fault: Fault, world: World, source: SourceProcess) -> str:
    """What did not hold; empty if nothing."""
    try:
        await fault.run(world, source)
    except (TimeoutError, RuntimeError) as error:
        return str(error) or type(error).__name__
    return ""


_MENDED = Fault("none", "none", lambda world, _: world.monitor.recovered())
