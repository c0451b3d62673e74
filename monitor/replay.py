"""The service's pipeline over sound files, as fast as it can or in real time, printing the events it would publish.

Files take no worker thread, spool or broker, so two replays of a file differ in ids and dates only.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

from monitor.clock import Clock, SystemClock
from monitor.config import FileSettings, Settings
from monitor.detection import Detection
from monitor.errors import CaptureError, ConfigError
from monitor.events import EventFactory, EventIds
from monitor.model import open_student
from monitor.pipeline import Pipeline
from monitor.plot import ReplayPlot
from monitor.sinks import describe
from monitor.sources import open_source
from ssondo_stream import Student
from ssondo_stream.bundle import slugify


def replay(
    files: Sequence[Path],
    settings: Settings,
    *,
    as_json: bool = False,
    realtime: bool = False,
    plot: Path | None = None,
    out: TextIO | None = None,
) -> int:
    """Run the pipeline over files, one after the other, and print their events.

    Args:
        files: what libsndfile reads.
        settings: of which `[model]` and `[detection]` matter.
        as_json: print the MQTT payload with `onset_s` and `offset_s`, one object a line.
        realtime: take as long as the audio does.
        plot: PNG file to draw the one file into.
        out: where to print; standard output by default.

    Returns:
        The exit code: 0, or 1 if a file could not be read to its end.

    Raises:
        ConfigError: a plot of several files was asked for, or cannot be drawn.
    """
    if plot and len(files) != 1:
        raise ConfigError(f"--plot draws one file, got {len(files)}: replay them one by one")
    student = open_student(settings.model)
    failed = 0
    for path in files:
        work = _Replay(path, student, settings, out or sys.stdout, as_json=as_json, draw=plot is not None)
        try:
            asyncio.run(work.run(realtime))
        except CaptureError as error:
            sys.stderr.write(f"{error}\n")
            failed = 1
            continue
        if plot and work.picture:
            work.picture.save(plot, title=path.name)
    return failed


class _Replay:
    """One file. State is its pipeline, its picture, and the number of messages so far."""

    def __init__(
        self, path: Path, student: Student, settings: Settings, out: TextIO, *, as_json: bool, draw: bool
    ) -> None:
        self.picture = ReplayPlot(student.spec) if draw else None
        self._path = path
        self._student = student
        self._settings = settings
        self._out = out
        self._as_json = as_json
        self._clock: Clock = SystemClock()
        self._began = datetime.fromtimestamp(self._clock.wall(), UTC)
        self._rate = student.spec.mel.sample_rate
        self._seq = 0
        self._factory = EventFactory(
            node=settings.node.name,
            source=path.name,
            boot_id="replay",
            model=student.spec.name,
            model_sha256=student.spec.network_sha256,
            sample_rate=self._rate,
            new_id=EventIds(self._clock),
        )

    async def run(self, realtime: bool) -> None:
        """Run the pipeline over the file.

        Raises:
            CaptureError: the file cannot be read.
        """
        name = slugify(self._path.stem)[:64] or "file"
        wanted = FileSettings(kind="file", name=name, path=self._path, realtime=realtime)
        source = open_source(wanted, self._clock)
        pipeline: Pipeline | None = None
        async for block in source.blocks():
            pipeline = pipeline or self._pipeline(source.sample_rate)
            if self.picture:
                self.picture.add_audio(block, source.sample_rate)
            self._report(pipeline.push(block))
        if pipeline:
            self._report(pipeline.close())

    def _pipeline(self, sample_rate: int) -> Pipeline:
        return Pipeline(
            self._student,
            sample_rate,
            self._settings.detection,
            hop_columns=self._settings.model.hop_columns,
            on_prediction=self.picture.add_prediction if self.picture else None,
        )

    def _report(self, detections: Sequence[Detection]) -> None:
        for detection in detections:
            self._out.write((self._json(detection) if self._as_json else self._text(detection)) + "\n")
        if self.picture:
            self.picture.add_detections(detections)

    def _json(self, detection: Detection) -> str:
        self._seq += 1
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        event = self._factory.event(detection, self._utc).stamped(self._seq, now, float("inf"))
        seconds = {"onset_s": self._seconds(detection.onset), "offset_s": self._seconds(detection.offset)}
        return json.dumps({**json.loads(event.to_json()), **seconds}, ensure_ascii=False, separators=(",", ":"))

    def _text(self, detection: Detection) -> str:
        return f"{self._seconds(detection.onset):9.2f} s  {describe(self._factory.event(detection, self._utc))}"

    def _utc(self, index: int) -> datetime:
        return self._began + timedelta(seconds=index / self._rate)

    def _seconds(self, index: int | None) -> float | None:
        return None if index is None else round(index / self._rate, 3)
