"""Networks run by ONNX Runtime, the engine of the sensor: fast on one thread, small in memory, no torch."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # it would note a device's id, and report to its maker
import onnxruntime
from numpy.typing import NDArray

from ssondo_stream.bundle import COMPUTED_FILE, NETWORK_FILE, VERIFIER_FILE, StudentSpec, local_file
from ssondo_stream.errors import BundleError, EngineError
from ssondo_stream.local import FeatureMap
from ssondo_stream.student import EngineOptions
from ssondo_stream.types import Frames, Inference

FRAMES = "frames"
OUTPUTS = ("column_logits", "embedding")
COMPUTED = "computed"
EVIDENCE = "evidence"


def map_name(number: int) -> str:
    """What the files call a map: the frames [1, t, n_mels] are number 0, feature maps [1, channels, columns, bands]."""
    return f"map_{number}" if number else FRAMES


def local_names(spec: StudentSpec) -> list[tuple[list[str], list[str]]]:
    """Names of the inputs and outputs of each local part."""
    names, made = [], 1
    for part in spec.local:
        names.append(([*map(map_name, part.inputs)], [map_name(made + i) for i in range(part.outputs)]))
        made += part.outputs
    return names


class OnnxNetwork:
    """A bundle's ONNX files: its local parts, from maps to maps as the spec says, and the rest.

    The rest takes the last map, or the frames where there are no local parts, and has the outputs `column_logits`
    [1, columns, labels] and `embedding` [1, dim]. What is computed goes from the frames to `computed` [1, dim].

    Raises:
        BundleError: a file has other inputs or outputs.
        EngineError: the engine does not take a file, or not these options.
    """

    def __init__(self, bundle: Path, spec: StudentSpec, options: EngineOptions) -> None:
        if options.precision != "fp32" or options.device != "cpu":
            raise EngineError(
                f"{bundle}: ONNX Runtime runs in fp32 on the CPU here, not {options.precision} on {options.device}: "
                "use engine 'openvino' for bf16, 'torch' for another device"
            )
        self._names = local_names(spec)
        self._local = [_open(bundle / local_file(i), options.threads, *names) for i, names in enumerate(self._names)]
        self._input = self._names[-1][1][-1] if self._names else FRAMES
        self._rest = _open(bundle / NETWORK_FILE, options.threads, [self._input], OUTPUTS)
        if options.computes(spec):
            self._computed = _open(bundle / COMPUTED_FILE, options.threads, [FRAMES], [COMPUTED])

    def run_local(self, part: int, inputs: Sequence[NDArray[np.float32]]) -> Sequence[FeatureMap]:
        """Local part number `part`: its inputs, frames [t, n_mels] or maps -> its outputs."""
        feed = {name: x[None] for name, x in zip(self._names[part][0], inputs, strict=True)}
        return [features[0] for features in self._local[part].run(None, feed)]

    def run_rest(self, x: NDArray[np.float32]) -> Inference:
        """The rest: the last map, or frames where there are no local parts -> inference."""
        logits, embedding = self._rest.run(None, {self._input: x[None]})
        return Inference(logits[0], embedding[0])

    def run_computed(self, frames: Frames) -> NDArray[np.float32]:
        """Frames [t, n_mels] -> what is computed of them, [computed_dim]."""
        found: NDArray[np.float32] = self._computed.run(None, {FRAMES: frames[None]})[0][0]
        return found


class OnnxVerifier:
    """A bundle's verifier, small enough to be run here whatever engine runs the network.

    Raises:
        BundleError: the file has other inputs or outputs.
        EngineError: the engine does not take it.
    """

    def __init__(self, bundle: Path, threads: int = 1) -> None:
        self._session = _open(bundle / VERIFIER_FILE, threads, [FRAMES], [EVIDENCE])

    def run(self, frames: Frames) -> NDArray[np.float32]:
        """Frames of a sound [t, n_mels] -> evidence [labels]."""
        found: NDArray[np.float32] = self._session.run(None, {FRAMES: frames[None]})[0][0]
        return found


def _open(path: Path, threads: int, needs: Sequence[str], gives: Sequence[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False  # plans of memory for each length of input, and the lengths are many
    options.log_severity_level = 3
    _share_memory()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine has no error class of its own to name
        raise EngineError(f"{path}: ONNX Runtime {onnxruntime.__version__} does not load it: {error}") from error
    names = ([item.name for item in session.get_inputs()], [item.name for item in session.get_outputs()])
    if names != (list(needs), list(gives)):
        raise BundleError(f"{path}: expected inputs {needs} and outputs {gives}, found {names}")
    return session


@cache
def _share_memory() -> None:
    """One pool of working memory for all sessions of the process: each of its own would keep its largest need."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, None)
