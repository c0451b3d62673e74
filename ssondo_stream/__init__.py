"""Streaming inference with distilled audio students: audio blocks in, predictions on a grid of columns out."""

from typing import TYPE_CHECKING

from ssondo_stream.bundle import StudentSpec, find_bundle, list_bundles
from ssondo_stream.engine import StreamingEngine, Student, StudentStream
from ssondo_stream.errors import AudioError, BundleError, CheckpointError, DownloadError, EngineError, StreamError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig, MelStream, log_mel
from ssondo_stream.published import list_heads, list_models
from ssondo_stream.types import AudioBlock, Inference, Prediction

if TYPE_CHECKING:
    from ssondo_stream.hub import get_ssondo

__all__ = [
    "AudioBlock",
    "AudioError",
    "BundleError",
    "CheckpointError",
    "DownloadError",
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
    "get_ssondo",
    "list_bundles",
    "list_heads",
    "list_models",
    "load_student",
    "log_mel",
]


def __getattr__(name: str) -> object:
    """`get_ssondo`, imported when it is asked for, since it needs torch."""
    if name != "get_ssondo":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ssondo_stream.hub import get_ssondo  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise EngineError("get_ssondo needs torch: pip install 'ssondo-monitor[torch]'") from error
    return get_ssondo
