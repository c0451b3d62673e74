"""Streaming inference with distilled audio students: audio blocks in, predictions on a grid of columns out."""

from ssondo_stream.bundle import StudentSpec, find_bundle, list_bundles
from ssondo_stream.engine import StreamingEngine, Student, StudentStream
from ssondo_stream.errors import AudioError, BundleError, EngineError, StreamError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig, MelStream, log_mel
from ssondo_stream.types import AudioBlock, Inference, Prediction

__all__ = [
    "AudioBlock",
    "AudioError",
    "BundleError",
    "EngineError",
    "Inference",
    "MelConfig",
    "MelStream",
    "Prediction",
    "StreamError",
    "StreamingEngine",
    "Student",
    "StudentSpec",
    "StudentStream",
    "find_bundle",
    "list_bundles",
    "load_student",
    "log_mel",
]
