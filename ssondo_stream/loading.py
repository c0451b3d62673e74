"""Loads a student by name or path; the engines behind it are imported only when asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from ssondo_stream.bundle import StudentSpec, find_bundle
from ssondo_stream.errors import EngineError
from ssondo_stream.student import EngineOptions, LoadedStudent, Mode, Network, Precision

Engine = Literal["auto", "onnx", "openvino", "torch"]
Opener = Callable[[Path, StudentSpec, EngineOptions], Network]


def load_student(
    bundle: str | Path = "default",
    *,
    engine: Engine = "auto",
    threads: int = 1,
    precision: Precision = "fp32",
    device: str = "cpu",
    mode: Mode = "windowed",
    span_seconds: float | None = None,
    scores_only: bool = False,
) -> LoadedStudent:
    """Load the student of a bundle.

    Args:
        bundle: name of a shipped bundle, or its folder.
        engine: "auto" is ONNX Runtime, for bf16 OpenVINO, and for another device than the CPU torch.
        threads: of the inference engine.
        precision: of its arithmetic; scores and embeddings are float32 always.
        device: "cpu", or for torch what it knows, such as "cuda".
        mode: see `LoadedStudent`.
        span_seconds: of the pooling in mode "continuous", rounded to whole columns; the window unless given.
        scores_only: leave out of embeddings what no score depends on: streams of students that have it are faster.

    Raises:
        BundleError: there is no such bundle, or it is incomplete or altered.
        EngineError: the engine is not installed, or does not take the network or the options.
    """
    folder = find_bundle(str(bundle))
    options = EngineOptions(threads, precision, device, scores_only)
    return LoadedStudent(folder, _opener(resolve(engine, options)), options, mode, span_seconds)


def resolve(engine: Engine, options: EngineOptions) -> Engine:
    """The engine that "auto" means for these options."""
    if engine != "auto":
        return engine
    if options.device != "cpu":
        return "torch"
    return "openvino" if options.precision == "bf16" else "onnx"


def _opener(engine: Engine) -> Opener:
    if engine == "onnx":
        from ssondo_stream.onnx_student import OnnxNetwork  # noqa: PLC0415  # keeps the import of the package light

        return OnnxNetwork
    if engine == "openvino":
        from ssondo_stream.openvino_student import OpenVinoNetwork  # noqa: PLC0415  # an extra

        return OpenVinoNetwork
    if engine == "torch":
        try:
            from ssondo_stream.torch_student import TorchNetwork  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise EngineError("engine 'torch' is not installed: pip install 'ssondo-monitor[torch]'") from error
        return TorchNetwork
    raise EngineError(f"no engine {engine!r}: expected one of {', '.join(get_args(Engine))}")
