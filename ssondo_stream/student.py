"""A loaded student: a bundle's spec, and its network in one of the inference engines.

What the engines have in common is here: running a window, opening streams, and refusing a network that does not fit
its spec. An engine brings a `Network`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssondo_stream.bundle import StudentSpec, load_spec
from ssondo_stream.engine import StudentStream
from ssondo_stream.errors import BundleError, EngineError
from ssondo_stream.local import FeatureMap, LocalParts
from ssondo_stream.types import Frames, Inference
from ssondo_stream.windowed import LocalStream, WindowedStream

if TYPE_CHECKING:
    from ssondo_stream.onnx_student import OnnxVerifier

Mode = Literal["windowed", "continuous"]
Precision = Literal["fp32", "bf16"]

_TRIAL_COLUMNS = 2  # short: an engine may keep for good the memory that its largest run took


class Network(Protocol):
    """A student's network, opened by an engine."""

    def run_local(self, part: int, inputs: Sequence[NDArray[np.float32]]) -> Sequence[FeatureMap]:
        """Local part number `part`, from 0: its inputs, frames [t, n_mels] or maps -> its outputs."""

    def run_rest(self, x: NDArray[np.float32]) -> Inference:
        """The rest of the network: the last map, or frames where there are no local parts -> inference."""

    def run_computed(self, frames: Frames) -> NDArray[np.float32]:
        """Frames [t, n_mels] -> what the embedding has beside what the network says."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a network is to be run.

    Attributes:
        threads: of the engine.
        precision: of its arithmetic; what goes in and comes out is always float32.
        device: "cpu", or for torch what `torch.device` takes.
        scores_only: whether embeddings may lack what no score depends on, which then is not computed.
    """

    threads: int = 1
    precision: Precision = "fp32"
    device: str = "cpu"
    scores_only: bool = False

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"need threads >= 1, got {self.threads}")
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f"precision must be 'fp32' or 'bf16', got {self.precision!r}")

    def computes(self, spec: StudentSpec) -> bool:
        """Whether a student's embeddings have a part that is computed apart, and it is wanted."""
        return bool(spec.computed_dim) and not self.scores_only


class LoadedStudent:
    """A student that any number of streams share.

    In `windowed` mode each inference is that of the published network on the newest window. In `continuous` mode the
    convolutions see the whole past of the stream, and only the pooling is over the newest `span_seconds`: cheaper, and
    without the zeros that the network pads a window's start with. It needs a network that is local in time up to its
    pooling, as ERes2Net is.

    Raises:
        BundleError: the bundle cannot be read, or its network does not fit its spec.
        EngineError: the network cannot be run in this mode.
    """

    def __init__(
        self,
        bundle: Path,
        open_network: Callable[[Path, StudentSpec, EngineOptions], Network],
        options: EngineOptions,
        mode: Mode = "windowed",
        span_seconds: float | None = None,
    ) -> None:
        self.spec = load_spec(bundle)
        self._bordered = mode == "windowed"
        self._span = self._checked_span(bundle, span_seconds)
        self._network = open_network(bundle, self.spec, options)
        self._verifier = _open_verifier(bundle, options.threads) if self.spec.verifies else None
        self._bias = np.array([label.bias for label in self.spec.labels], np.float32)
        self._computes = options.computes(self.spec)
        self._try(bundle)

    def infer(self, frames: Frames) -> Inference:
        """Run one window, [t, n_mels]."""
        maps: list[NDArray[np.float32]] = [frames]
        for number, part in enumerate(self.spec.local):
            maps += self._network.run_local(number, [maps[i] for i in part.inputs])
        found = self._network.run_rest(maps[-1])
        if not self._computes:
            return found
        return replace(found, embedding=np.concatenate((found.embedding, self._network.run_computed(frames))))

    def verify(self, frames: Frames) -> NDArray[np.float32]:
        """What a sound's frames [t, n_mels] say for or against each label, [labels]; zeros without a verifier."""
        return self._verifier.run(frames) + self._bias if self._verifier else np.zeros_like(self._bias)

    def stream(self, hop_columns: int = 1) -> StudentStream:
        """The state of a new stream that infers every `hop_columns` columns."""
        if not self.spec.local or self._computes:  # what is computed needs the window's frames
            return WindowedStream(self.spec, self.infer, hop_columns)
        parts = LocalParts(self.spec.local, self._network.run_local, self._span, bordered=self._bordered)
        return LocalStream(self.spec, parts, self._network.run_rest, hop_columns)

    def _checked_span(self, bundle: Path, span_seconds: float | None) -> int:
        """Frames to pool over, whole columns of them."""
        spec = self.spec
        if not self._bordered and not spec.streams_whole:
            raise EngineError(
                f"{bundle}: mode 'continuous' needs a network that is local in time up to its pooling, as ERes2Net is; "
                "this one looks at its whole window: use mode 'windowed'"
            )
        if span_seconds is None:
            return spec.window_frames
        if self._bordered:
            raise EngineError(f"{bundle}: a span is for mode 'continuous'; in 'windowed' it is the window's length")
        columns = round(span_seconds * spec.mel.sample_rate / spec.column)
        if columns < 1:
            raise EngineError(
                f"{bundle}: the span must be a column or more, {spec.column / spec.mel.sample_rate} s, "
                f"got {span_seconds} s"
            )
        return columns * spec.column_frames

    def _try(self, bundle: Path) -> None:
        """Run a little silence: what does not fit shows now, and the first real inference is not the slow one."""
        spec = self.spec
        frames = min(_TRIAL_COLUMNS * spec.column_frames, spec.window_frames)
        silence = np.full((frames, spec.mel.n_mels), np.log(spec.mel.offset), np.float32)
        try:
            found = self.infer(silence)
        except Exception as error:  # engines have no error class of their own to name
            raise BundleError(f"{bundle}: the network does not take a window of {silence.shape}: {error}") from error
        self._check_verifier(bundle, silence)
        left_out = 0 if self._computes else spec.computed_dim
        expected = ((spec.columns_in(frames), len(spec.labels)), (spec.embedding_dim - left_out,))
        if (found.logits.shape, found.embedding.shape) != expected:
            raise BundleError(
                f"{bundle}: the spec promises column logits and an embedding of {expected}, "
                f"the network gives {found.logits.shape} and {found.embedding.shape}"
            )

    def _check_verifier(self, bundle: Path, frames: Frames) -> None:
        if not self._verifier:
            return
        try:
            evidence = self._verifier.run(frames)
        except Exception as error:  # as above
            raise BundleError(f"{bundle}: the verifier does not take frames of {frames.shape}: {error}") from error
        if evidence.shape != (len(self.spec.labels),):
            raise BundleError(
                f"{bundle}: the verifier must speak of {len(self.spec.labels)} labels, it gives {evidence.shape}"
            )


def _open_verifier(bundle: Path, threads: int) -> "OnnxVerifier":
    from ssondo_stream.onnx_student import OnnxVerifier  # noqa: PLC0415  # other engines need not import it

    return OnnxVerifier(bundle, threads)
