"""The student that the settings ask for: the one place where `[model]` meets the library."""

from monitor.config import ModelSettings
from ssondo_stream import Student, load_student


def open_student(settings: ModelSettings) -> Student:
    """Load the configured student in the configured engine.

    Raises:
        BundleError: there is no such bundle, or it is incomplete or altered.
        EngineError: the engine is not installed, or does not take the network or the options.
    """
    return load_student(
        settings.bundle,
        engine=settings.engine,
        threads=settings.threads,
        precision=settings.precision,
        device=settings.device,
        mode=settings.mode,
        span_seconds=settings.span_seconds if settings.mode == "continuous" else None,
        scores_only=True,
    )
