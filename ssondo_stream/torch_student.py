"""Networks run by torch from a bundle's safetensors: for other devices, and for those who train on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from ssondo_stream.bundle import WEIGHTS_FILE, StudentSpec, load_spec
from ssondo_stream.errors import BundleError, EngineError
from ssondo_stream.local import FeatureMap
from ssondo_stream.student import EngineOptions
from ssondo_stream.students import ColumnTagger, build, classifier
from ssondo_stream.students.heads import ColumnOutput
from ssondo_stream.types import Frames, Inference

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def load_tagger(bundle: Path) -> tuple[StudentSpec, ColumnTagger]:
    """A bundle's spec and its network in torch, in evaluation mode, with all weights of its file.

    Raises:
        BundleError: the bundle has no weights for torch, or they are not those of its architecture.
    """
    spec = load_spec(bundle)
    return spec, _tagger(bundle, spec)


class TorchNetwork:
    """A bundle's weights in our own definition of its architecture.

    torch has one number of threads for the whole process; it is set here.

    Raises:
        BundleError: the bundle has no weights for torch, or they are not those of its architecture.
        EngineError: there is no such device.
    """

    def __init__(self, bundle: Path, spec: StudentSpec, options: EngineOptions) -> None:
        torch.set_num_threads(options.threads)
        self._dtype = _DTYPES[options.precision]
        try:
            self._tagger = _tagger(bundle, spec).to(options.device, self._dtype)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise EngineError(f"torch {torch.__version__} has no device {options.device!r}: {error}") from error
        self._device = options.device
        self._parts = self._tagger.backbone.local_parts()
        self._rest = self._tagger.rest if spec.local else self._whole

    @torch.inference_mode()
    def run_local(self, part: int, inputs: Sequence[NDArray[np.float32]]) -> Sequence[FeatureMap]:
        """Local part number `part`: its inputs, frames [t, n_mels] or maps -> its outputs."""
        return [_array(output[0].mT) for output in self._parts[part].run(*map(self._image, inputs))]

    @torch.inference_mode()
    def run_rest(self, x: NDArray[np.float32]) -> Inference:
        """What follows the local parts: a map, or frames where there are none -> inference."""
        logits, embedding = self._rest(self._image(x))
        return Inference(_array(logits[0]), _array(embedding[0]))

    @torch.inference_mode()
    def run_computed(self, frames: Frames) -> NDArray[np.float32]:
        """Frames [t, n_mels] -> what is computed of them, [computed_dim]."""
        return _array(self._tagger.backbone.computed(self._image(frames)).mean(1)[0])

    def _whole(self, image: torch.Tensor) -> ColumnOutput:
        return self._tagger.pool(self._tagger.backbone(image))

    def _image(self, x: NDArray[np.float32]) -> torch.Tensor:
        """Frames [t, n_mels] or a map [channels, columns, bands], with time last and a batch of one."""
        tensor = torch.from_numpy(np.ascontiguousarray(x)).to(self._device, self._dtype)
        return tensor.reshape(1, -1, *tensor.shape[-2:]).mT


def _array(x: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = x.float().cpu().numpy()
    return array


def _tagger(bundle: Path, spec: StudentSpec) -> ColumnTagger:
    if spec.architecture is None or not (bundle / WEIGHTS_FILE).is_file():
        raise BundleError(
            f"{bundle}: has no {WEIGHTS_FILE} with an architecture, which torch needs: use engine 'onnx', "
            "or export it again"
        )
    try:
        backbone = build(spec.architecture.name, spec.architecture.options)
        head = (
            classifier(backbone.embedding_dim, len(spec.labels), spec.architecture.hidden_sizes)
            if spec.labels
            else None
        )
        tagger = ColumnTagger(backbone, head)
        tagger.load_state_dict(load_file(bundle / WEIGHTS_FILE))
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise BundleError(f"{bundle / WEIGHTS_FILE}: not the weights of {spec.architecture.name}: {error}") from error
    return tagger.eval()
