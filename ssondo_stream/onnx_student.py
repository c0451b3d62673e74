"""Students run by ONNX Runtime, the engine that the sensor uses: fast on one thread, small in memory, no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from ssondo_stream.bundle import NETWORK_FILE, PREFIX_FILE, StudentSpec, load_spec
from ssondo_stream.errors import BundleError, EngineError
from ssondo_stream.prefix import FeatureMap, PrefixCache, PrefixStream
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import WindowedStream

INPUT = "frames"
MAP = "map"
OUTPUTS = ("column_logits", "embedding")


class OnnxStudent:
    """A network with input `frames` [1, t, n_mels], outputs `column_logits` [1, columns, labels], `embedding` [1, dim].

    It may come in two files: a prefix from `frames` to `map` [1, channels, bands, columns], and the rest from there.

    Raises:
        BundleError: the bundle cannot be read, or its network does not fit its spec.
        EngineError: the engine does not take the network.
    """

    def __init__(self, bundle: Path, threads: int = 1) -> None:
        self.spec: StudentSpec = load_spec(bundle)
        if self.spec.prefix:
            self._prefix = _open(bundle / PREFIX_FILE, threads, INPUT, (MAP,))
            self._rest = _open(bundle / NETWORK_FILE, threads, MAP, OUTPUTS)
        else:
            self._whole = _open(bundle / NETWORK_FILE, threads, INPUT, OUTPUTS)
        self._check(bundle)

    def infer(self, frames: Frames) -> Inference:
        """Run one window, [t, n_mels]."""
        if self.spec.prefix:
            return self._infer_map(self._run_prefix(frames))
        logits, embedding = self._whole.run(None, {INPUT: frames[None]})
        return Inference(logits[0], embedding[0])

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        """The state of a new stream that infers every `hop_columns` columns."""
        if self.spec.prefix:
            cache = PrefixCache(self.spec.prefix, self._run_prefix)
            return PrefixStream(self.spec, cache, self._infer_map, hop_columns)
        return WindowedStream(self.spec, self.infer, hop_columns)

    def _run_prefix(self, frames: Frames) -> FeatureMap:
        features: FeatureMap = self._prefix.run(None, {INPUT: frames[None]})[0][0]
        return features

    def _infer_map(self, features: FeatureMap) -> Inference:
        logits, embedding = self._rest.run(None, {MAP: features[None]})
        return Inference(logits[0], embedding[0])

    def _check(self, bundle: Path) -> None:
        """Run silence once: what does not fit shows now, and the first real inference is not the slow one."""
        spec = self.spec
        silence = np.full((spec.window_frames, spec.mel.n_mels), np.log(spec.mel.offset), np.float32)
        try:
            found = self.infer(silence)
        except Exception as error:  # the engine has no error class of its own to name
            raise BundleError(f"{bundle / NETWORK_FILE}: does not take a window of {silence.shape}: {error}") from error
        expected = ((spec.columns_in(spec.window_frames), len(spec.labels)), (spec.embedding_dim,))
        if (found.logits.shape, found.embedding.shape) != expected:
            raise BundleError(
                f"{bundle / NETWORK_FILE}: the spec promises column logits and an embedding of {expected}, "
                f"the network gives {found.logits.shape} and {found.embedding.shape}"
            )


def _open(path: Path, threads: int, needs: str, gives: Sequence[str]) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the engine has no error class of its own to name
        raise EngineError(f"{path}: ONNX Runtime {onnxruntime.__version__} does not load it: {error}") from error
    names = ([item.name for item in session.get_inputs()], [item.name for item in session.get_outputs()])
    if names != ([needs], list(gives)):
        raise BundleError(f"{path}: expected input {needs} and outputs {gives}, found {names}")
    return session
