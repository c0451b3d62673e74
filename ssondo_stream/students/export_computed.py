"""What is computed, not learnt, put beside a finished bundle's embeddings."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from ssondo_stream.bundle import (
    COMPUTED_FILE,
    NETWORK_FILE,
    SPEC_FILE,
    WEIGHTS_FILE,
    StudentSpec,
    bundle_files,
    load_spec,
)
from ssondo_stream.bundle_folder import trial_folder
from ssondo_stream.errors import BundleError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from ssondo_stream.students.export import (
    LENGTHS,
    ROUNDINGS,
    TOLERANCE,
    Exported,
    ParityError,
    computed_onnx,
    difference_of,
    trial_audio,
)


def beside(
    bundle: Path,
    computed: nn.Module,
    count: int,
    files: Mapping[str, bytes] | None = None,
    source: Mapping[str, str] | None = None,
) -> Exported:
    """A bundle with what a module computes of the window's frames behind its embeddings; its scores stay.

    Weights for torch are left behind, as their architecture knows nothing of it.

    Args:
        bundle: whose embeddings have no computed part yet.
        computed: frames [batch, time, n_mels] -> [batch, columns, count], of which an embedding has the mean.
        count: of the dimensions that are added.
        files: further files, instead of those of these names.
        source: where the module comes from, beside what the bundle says of itself.

    Returns:
        The bundle to be written, with the largest difference between ONNX Runtime and torch in what is added.

    Raises:
        BundleError: the bundle cannot be read, or has a computed part.
        ParityError: they differ by more than `TOLERANCE` allows of numbers of this size.
    """
    spec = load_spec(bundle)
    if spec.computed_dim:
        raise BundleError(f"{bundle}: its embeddings have a computed part of {spec.computed_dim} dimensions already")
    listed = json.loads((bundle / SPEC_FILE).read_text(encoding="utf-8"))["files"]
    contents = {name: (bundle / name).read_bytes() for name in listed if name != WEIGHTS_FILE}
    network = contents.pop(NETWORK_FILE)
    contents.update(files or {})
    contents[COMPUTED_FILE] = computed_onnx(computed, spec)
    told = {**spec.source, **(source or {})}
    dim = spec.embedding_dim + count
    spec = replace(spec, embedding_dim=dim, computed_dim=count, architecture=None, source=told)
    with trial_folder(bundle_files(spec, network, contents)) as trial:
        difference = _difference(trial, spec, computed)
    if not difference <= ROUNDINGS * TOLERANCE:
        raise ParityError(f"{bundle.name}: torch and ONNX Runtime differ by {difference:.1e} in what is computed")
    return Exported(spec, network, contents, difference)


def _difference(bundle: Path, spec: StudentSpec, computed: nn.Module) -> float:
    """Largest difference between torch and the bundle in what is computed, relative to the largest value."""
    student, worst = load_student(bundle, engine="onnx"), 0.0
    sound = log_mel(trial_audio(spec, max(LENGTHS)), spec.mel)
    for length in LENGTHS:
        with torch.inference_mode():
            expected = computed(torch.from_numpy(sound[:length])[None]).mean(1)[0]
        found = student.infer(sound[:length]).embedding[-spec.computed_dim :]
        worst = max(worst, difference_of(torch.from_numpy(found), expected))
    return worst
