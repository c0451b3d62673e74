"""Networks run by OpenVINO: as fast as ONNX Runtime in float32, and twice as fast where the processor has bfloat16."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import COMPUTED_FILE, NETWORK_FILE, StudentSpec, local_file
from ssondo_stream.errors import EngineError
from ssondo_stream.local import FeatureMap
from ssondo_stream.student import EngineOptions
from ssondo_stream.types import Frames, Inference

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # it would report its import to the maker
try:
    import openvino
except ImportError as error:
    raise EngineError("engine 'openvino' is not installed: pip install 'ssondo-monitor[openvino]'") from error

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoNetwork:
    """A bundle's ONNX files, as `OnnxNetwork` describes them.

    Raises:
        EngineError: the engine does not take a file, or the processor has not this precision.
    """

    def __init__(self, bundle: Path, spec: StudentSpec, options: EngineOptions) -> None:
        core = openvino.Core()
        self._check(core, options)
        settings: dict[str, str | int] = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision],
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        names = [*map(local_file, range(len(spec.local))), NETWORK_FILE]
        *self._local, self._rest = [_open(core, bundle / name, settings) for name in names]
        if options.computes(spec):
            self._computed = _open(core, bundle / COMPUTED_FILE, settings | {"INFERENCE_PRECISION_HINT": "f32"})

    def run_local(self, part: int, inputs: Sequence[NDArray[np.float32]]) -> Sequence[FeatureMap]:
        """Local part number `part`: its inputs, frames [t, n_mels] or maps -> its outputs."""
        return _run(self._local[part], inputs)

    def run_rest(self, x: NDArray[np.float32]) -> Inference:
        """The rest: the last map, or frames where there are no local parts -> inference."""
        logits, embedding = _run(self._rest, [x])
        return Inference(logits, embedding)

    def run_computed(self, frames: Frames) -> NDArray[np.float32]:
        """Frames [t, n_mels] -> what is computed of them, [computed_dim]."""
        (found,) = _run(self._computed, [frames])
        return found

    def _check(self, core: openvino.Core, options: EngineOptions) -> None:
        if options.device != "cpu":
            raise EngineError(f"engine 'openvino' runs on the CPU here, not on {options.device!r}")
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if options.precision == "bf16" and "BF16" not in able:
            raise EngineError(f"this processor has no bf16 (it has {', '.join(able)}): use precision 'fp32'")


def _open(core: openvino.Core, path: Path, settings: dict[str, str | int]) -> openvino.InferRequest:
    try:
        return core.compile_model(str(path), "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise EngineError(f"{path}: OpenVINO {openvino.__version__} does not load it: {error}") from error


def _run(request: openvino.InferRequest, inputs: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Outputs without their batch axis, as copies: the next run would write over the engine's own."""
    request.infer({i: np.ascontiguousarray(x[None]) for i, x in enumerate(inputs)}, share_inputs=True)
    return [np.array(tensor.data[0]) for tensor in request.output_tensors]
