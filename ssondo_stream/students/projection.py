"""The published mapping head in a bundle, beside the student: a file that streaming does not need."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ssondo_stream.errors import BundleError
from ssondo_stream.students.heads import MLPHead

PROJECTION_FILE = "projection.safetensors"


def projection_bytes(head: MLPHead) -> bytes:
    """The mapping head as the content of `PROJECTION_FILE`."""
    return save({name: tensor.contiguous() for name, tensor in head.state_dict().items()})


def load_projection(bundle: Path) -> MLPHead:
    """The mapping head of a bundle, in evaluation mode.

    Raises:
        BundleError: the bundle has none, or its file is not one.
    """
    path = bundle / PROJECTION_FILE
    if not path.is_file():
        raise BundleError(f"{bundle}: has no {PROJECTION_FILE}, so it cannot map embeddings into a teacher's space")
    try:
        tensors = load_file(path)
        (hidden, dim), (out, _) = tensors["mlp.0.weight"].shape, tensors["mlp.3.weight"].shape
        with torch.device("meta"):
            head = MLPHead(dim, out, hidden=hidden)
        head.load_state_dict(tensors, assign=True)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: not a mapping head: {error}") from error
    return head.requires_grad_().eval()
