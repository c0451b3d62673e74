"""The service's pipeline over sound files, as fast as it can or in real time, printing the events that it would publish.

Files take no worker thread, spool or broker, so two replays of a file differ in ids and dates only.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from monitor.clock import Clock, SystemClock
from monitor.config import FileSettings, Settings
from monitor.detection import Detection
from monitor.errors import CaptureError
from monitor.events import Event, EventFactory, EventIds
from monitor.pipeline import Pipeline
from monitor.plot import ReplayPlot
from monitor.sinks import describe
from monitor.sources import open_source
from ssondo_stream import Student, load_student
from ssondo_stream.bundle import slugify


@dataclass(slots=True)
class _NoAccount:
    """Nobody asks where the seconds of a file went."""

    def analyzed(self, seconds: float) -> None:
        pass

    def gap(self, seconds: float, reason: str) -> None:
        pass


class _Printer:
    """Writes the events of one file. State is the number of messages so far."""

    def __init__(self, path: Path, student: Student, settings: Settings, clock: Clock, out: TextIO) -> None:
        self._path = path
        self._clock = clock
        self._late = settings.mqtt.late_seconds
        self._out = out
        self._rate = student.spec.mel.sample_rate
        self._began = datetime.fromtimestamp(clock.wall(), UTC)
        self._factory = EventFactory(
            node=settings.node.name,
            source=path.name,
            boot_id="replay",
            model=student.spec.name,
            model_sha256=student.spec.network_sha256,
            sample_rate=self._rate,
            new_id=EventIds(clock),
        )
        self.seq = 0

    def write(self, detections: Sequence[Detection], as_json: bool) -> None:
        """Print detections, a line each."""
        for detection in detections:
            self.seq += 1
            now = datetime.fromtimestamp(self._clock.wall(), UTC)
            event = self._factory.event(detection, self._utc).stamped(self.seq, now, float("inf"))
            line = self._json(event, detection) if as_json else self._text(event, detection)
            self._out.write(line + "\n")

    def _utc(self, index: int) -> datetime:
        return self._began + timedelta(seconds=index / self._rate)

    def _json(self, event: Event, detection: Detection) -> str:
        seconds = {"onset_s": self._seconds(detection.onset), "offset_s": self._seconds(detection.offset)}
        return json.dumps({**json.loads(event.to_json()), **seconds}, ensure_ascii=False, separators=(",", ":"))

    def _text(self, event: Event, detection: Detection) -> str:
        return f"{self._seconds(detection.onset):9.2f} s  {describe(event)}"

    def _seconds(self, index: int | None) -> float | None:
        return None if index is None else round(index / self._rate, 3)


async def replay(
    files: Sequence[Path],
    settings: Settings,
    *,
    as_json: bool = False,
    realtime: bool = False,
    plot: Path | None = None,
    out: TextIO | None = None,
) -> int:
    """Run the pipeline over files, one after the other, and print their events.

    Returns:
        The exit code: 0, or 1 if a file could not be read to its end.
    """
    student = load_student(settings.model.bundle, threads=settings.model.threads)
    failed = 0
    for path in files:
        picture = ReplayPlot(student.spec) if plot else None
        try:
            await _replay_file(path, student, settings, (as_json, realtime), picture, out or sys.stdout)
        except CaptureError as error:
            sys.stderr.write(f"{error}\n")
            failed = 1
            continue
        if picture and plot:
            picture.save(plot, title=path.name)
    return failed


async def _replay_file(
    path: Path, student: Student, settings: Settings, style: tuple[bool, bool], picture: ReplayPlot | None, out: TextIO
) -> None:
    as_json, realtime = style
    clock = SystemClock()
    name = slugify(path.stem)[:64] or "file"
    source = open_source(FileSettings(kind="file", name=name, path=path, realtime=realtime), clock)
    printer = _Printer(path, student, settings, clock, out)
    pipeline: Pipeline | None = None
    detections: list[Detection] = []
    async for block in source.blocks():
        if pipeline is None:
            pipeline = Pipeline(
                student,
                source.sample_rate,
                settings.detection,
                _NoAccount(),
                hop_columns=settings.model.hop_columns,
                on_prediction=picture.add_prediction if picture else None,
            )
        if picture:
            picture.add_audio(block, source.sample_rate)
        detections = pipeline.push(block)
        printer.write(detections, as_json)
        if picture:
            picture.add_detections(detections)
    if pipeline:
        detections = pipeline.close()
        printer.write(detections, as_json)
        if picture:
            picture.add_detections(detections)
