"""One source's path from an audio block to detections: engine, detector, and the account of what was analysed.

The service runs it in its worker thread, `replay` in a plain loop: the same blocks give the same detections.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from monitor.config import DetectionSettings
from monitor.detection import Detection, EventDetector
from monitor.rules import make_rules
from ssondo_stream.engine import StreamingEngine, Student
from ssondo_stream.types import AudioBlock, Prediction


class Pipeline:
    """Engine and detector of one source.

    State is theirs, and the seconds that were accounted for.
    """

    def __init__(
        self,
        student: Student,
        sample_rate: int,
        detection: DetectionSettings,
        *,
        hop_columns: int = 1,
        stage: Callable[[str], AbstractContextManager[object]] | None = None,
        on_prediction: Callable[[Prediction], None] | None = None,
        on_analyzed: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Make the parts.

        Args:
            student: shared by all pipelines.
            sample_rate: of the blocks, in Hz.
            detection: settings of all labels.
            hop_columns: columns between inferences.
            stage: measures the stages, see `StreamingEngine`, and `detect`.
            on_prediction: sees every prediction before the detector does.
            on_analyzed: told how many more seconds are in a prediction.
        """
        self.spec = student.spec
        self.sample_rate = sample_rate
        self._stage = stage or (lambda _: nullcontext())
        self._engine = StreamingEngine(student, sample_rate, hop_columns, stage)
        self._detector = EventDetector(
            make_rules(self.spec.labels, detection),
            self.spec.column / self.spec.mel.sample_rate,
            early_windows=detection.early_windows,
            settle_seconds=detection.settle_seconds,
            verify=self._engine.verify,
        )
        self._on_analyzed = on_analyzed
        self._on_prediction = on_prediction
        self._begin = 0
        self._expected: int | None = None
        self._pending = 0.0  # seconds pushed and not accounted for

    def push(self, block: AudioBlock) -> list[Detection]:
        """Take the next block; one that does not follow on the last ends open events first."""
        detections = [] if self._expected in (None, block.start) else self.close()
        if self._expected is None:
            self._begin = block.start
        self._expected = block.end
        self._pending += len(block.samples) / self.sample_rate
        return detections + self._detect(self._engine.push(block), self._engine.pending)

    def close(self) -> list[Detection]:
        """Analyse what is left, end open events, and be ready for a new beginning."""
        detections = self._detect(self._engine.flush(), 0.0)
        detections += self._clipped(self._detector.close())
        self._expected = None
        return detections

    def _detect(self, predictions: list[Prediction], pending: float) -> list[Detection]:
        self._on_analyzed(max(0.0, self._pending - pending))
        self._pending = min(self._pending, pending)
        detections: list[Detection] = []
        if not predictions:
            return detections
        with self._stage("detect"):
            for prediction in predictions:
                if self._on_prediction:
                    self._on_prediction(prediction)
                detections += self._clipped(self._detector.update(prediction))
        return detections

    def _clipped(self, detections: list[Detection]) -> list[Detection]:
        """Columns reach beyond the audio at its ends, events must not."""
        scale = self.spec.mel.sample_rate / self.sample_rate
        begin, end = round(self._begin * scale), round((self._expected or 0) * scale)
        return [
            replace(
                found,
                onset=min(max(found.onset, begin), end),
                offset=None if found.offset is None else min(found.offset, end),
            )
            for found in detections
        ]
