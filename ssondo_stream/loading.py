"""Loads a student by name or path; the engines behind it are imported only when asked for."""

from pathlib import Path

from ssondo_stream.bundle import find_bundle
from ssondo_stream.engine import Student


def load_student(bundle: str | Path = "default", *, threads: int = 1) -> Student:
    """Load the student of a bundle.

    Args:
        bundle: name of a shipped bundle, or its folder.
        threads: of the inference engine.

    Raises:
        BundleError: there is no such bundle, or it is incomplete or altered.
        EngineError: the inference engine does not take its network.
    """
    from ssondo_stream.onnx_student import OnnxStudent  # noqa: PLC0415  # keeps the import of the package light

    return OnnxStudent(find_bundle(str(bundle)), threads)
