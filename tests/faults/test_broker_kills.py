"""Monitor and broker are killed again and again while events flow: nothing spooled is lost, no number comes twice."""

import asyncio
import random
import subprocess
from pathlib import Path

import pytest

from tests.faults.parts_broker import EVENTS, Gate, Heard, command, spooled
from tests.parts import within
from tests.parts_mqtt import Inbox, Mosquitto, subscriber
from tests.parts_mqtt_sink import broker

__all__ = ["broker"]


class Round:
    """One life of a node of its own, behind a gate. State is what it printed."""

    def __init__(self, port: int, folder: Path, rate: float) -> None:
        self.lines: list[bytes] = []
        self._command = command(port, folder, rate)

    async def __aenter__(self) -> "Round":
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=subprocess.PIPE)
        assert self._process.stdout
        async with within(60):
            self.lines.append(await self._process.stdout.readline())
        assert self.lines == [b"ready\n"]
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def ended(self) -> None:
        """Once it has nothing left to deliver."""
        async with within(60):
            await self._process.wait()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            self.lines.append(line)


async def _kill_rounds(broker: Mosquitto, folder: Path, rounds: int, seed: int) -> tuple[list[bytes], list[Inbox]]:
    """Lives that end at random moments, the broker dying too in every other; what was spooled, and what arrived."""
    chance, lines, inboxes = random.Random(seed), list[bytes](), list[Inbox]()
    async with Gate(broker.port) as gate:
        gate.shut()
        for number in range(rounds + 1):
            rate = 200.0 if number < rounds else 0.0
            async with subscriber(broker.port, EVENTS, qos=0) as inbox, Round(gate.port, folder, rate) as life:
                gate.open()  # now that somebody listens
                inboxes.append(inbox)
                if number == rounds:
                    await life.ended()
                    break
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                if number % 2:
                    broker.kill()
                    async with within(10):
                        await inbox.ended.wait()
                    await asyncio.sleep(chance.uniform(0.0, 0.3))
            gate.shut()
            lines += life.lines
            if number % 2:
                await broker.start()
        await asyncio.sleep(0.5)
    return lines, inboxes


@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.soak)])
async def test_kills_at_random_moments_lose_no_spooled_event_and_use_no_number_twice(
    broker: Mosquitto, tmp_path: Path, rounds: int
) -> None:
    lines, inboxes = await _kill_rounds(broker, tmp_path, rounds, seed=rounds)

    known = spooled(lines)
    heard = Heard.of(body for inbox in inboxes for body in inbox.on(EVENTS))
    assert sum(map(len, known.values())) > 20 * rounds
    for source, events in known.items():
        assert [event for event in heard.events[source] if event in set(events)] == events
