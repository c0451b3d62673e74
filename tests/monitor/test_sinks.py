"""Events on standard output, for people and for programs."""

import asyncio
import io
import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC

import pytest

from monitor.events import Event
from monitor.sinks import StdoutSink, describe
from tests.parts_events import END, LABELS, event, factory, utc


def _line(made: Event) -> str:
    return describe(made, UTC)


def test_line_for_people_tells_when_what_how_sure_and_where() -> None:
    end = factory().event(END, utc)

    assert _line(event()) == "02:13:04 ▶ Dog bark                 0.91  yard"
    assert _line(end) == "02:13:06 ■ Dog bark                 0.91  yard  2.0 s"
    assert _line(replace(end, confirmed=False)).endswith("2.0 s  (refuted)")


async def test_stdout_shows_lines_for_people_or_json() -> None:
    people, machines = io.StringIO(), io.StringIO()
    await StdoutSink(people, zone=UTC).send(event())
    await StdoutSink(machines, as_json=True).send(event())

    assert people.getvalue() == _line(event()) + "\n"
    assert Event.from_json(machines.getvalue().encode()) == event()


async def test_stdout_keeps_the_order_of_sends_that_are_under_way_together() -> None:
    out = io.StringIO()
    sink = StdoutSink(out, as_json=True)
    await asyncio.gather(*(sink.send(event(label)) for label in LABELS))

    assert [Event.from_json(line.encode()).label for line in out.getvalue().splitlines()] == LABELS


async def test_terminal_that_knows_no_such_signs_gets_others() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="latin-1")
    await StdoutSink(out, zone=UTC).send(event())

    assert raw.getvalue().startswith(b"02:13:04 ? Dog bark")


async def test_reader_of_stdout_that_has_gone_does_not_hold_events_back(caplog: pytest.LogCaptureFixture) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    out = os.fdopen(writing, "w")
    sink = StdoutSink(out)
    for _ in range(3):
        await sink.send(event())

    assert len(caplog.records) == 1
    with suppress(BrokenPipeError):
        out.close()


async def test_stdout_that_blocks_does_not_hold_up_the_loop() -> None:
    reading, writing = os.pipe()
    out = os.fdopen(writing, "w")
    sink = StdoutSink(out, as_json=True)
    task = asyncio.gather(*(sink.send(event(label)) for label in LABELS * 4))  # more than a pipe holds
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()

    reader = os.fdopen(reading)
    lines = await asyncio.to_thread(lambda: [reader.readline() for _ in LABELS * 4])
    await task
    out.close()
    reader.close()
    assert len(lines) == 400
