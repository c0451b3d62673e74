"""Published checkpoints and heads, rebuilt from the seeds behind the golden files."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ssondo_stream.students import MLPHead, build
from tests.parts_shared import seeded, shared

NAMES = ("mn", "dymn", "eres2net")
HEAD_DIM = 960


def one_threaded() -> Iterator[None]:
    """For a fixture: small networks on a busy machine are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def content(name: str) -> dict[str, Any]:
    """What a published checkpoint file holds: `mn`, `dymn` or `eres2net`. Copy before you change it."""
    tensors = {key: torch.from_numpy(value) for key, value in seeded().state_dict(f"ssondo_{name}").items()}
    config = json.loads((shared("golden") / f"student_{name}.json").read_text())
    return {"state_dict": tensors, "training_config": config, "epoch": 0, "global_step": 0}


def changed(name: str, *keys: str, to: object) -> dict[str, Any]:
    """The content with one value of its config replaced, or removed by `to=...`."""
    copied = {**content(name), "training_config": json.loads(json.dumps(content(name)["training_config"]))}
    table = copied["training_config"]
    for key in keys[:-1]:
        table = table[key]
    if to is ...:
        del table[keys[-1]]
    else:
        table[keys[-1]] = to
    return copied


def write_checkpoint(path: Path, what: object) -> Path:
    """Save a checkpoint as published: `mn`, `dymn`, `eres2net`, or any content."""
    torch.save(content(what) if isinstance(what, str) else what, path)
    return path


def write_head(path: Path, classes: int = 50, dim: int = HEAD_DIM) -> Path:
    """Save a head as published, with seeded weights and a key that does not matter."""
    generator = torch.Generator().manual_seed(classes)
    torch.save(
        {
            "probe.linear_probe.weight": torch.randn(classes, dim, generator=generator) / dim**0.5,
            "probe.linear_probe.bias": torch.randn(classes, generator=generator),
            "probe.other": torch.zeros(1),
        },
        path,
    )
    return path


@cache
def golden(name: str) -> dict[str, NDArray[np.float32]]:
    """Golden outputs of a published student."""
    return dict(np.load(shared("golden") / f"student_{name}.npz"))


def audio(seconds: float, seed: int) -> torch.Tensor:
    """Golden test audio [n] at 32 kHz."""
    return torch.from_numpy(seeded().audio(seconds, 32_000, seed))


def noise(*shape: int) -> torch.Tensor:
    """Quiet white noise, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 0.1


SMALL: dict[str, dict[str, object]] = {
    "mn": {"width_mult": 0.1},
    "dymn": {"width_mult": 0.1},
    "eres2net": {"m_channels": 8, "num_blocks": [1] * 5},
}
"""Options of networks that are small enough to be exported in a test."""


def small(name: str, outputs: int = 24) -> dict[str, Any]:
    """Content of a checkpoint of a small network with a mapping head: `mn`, `dymn` or `eres2net`; change it at will.

    Its weights are drawn from a seed, and its batch norms settled on noise, so that a signal gets through.
    """
    made = changed(name, "classification_head", "n_classes", to=outputs)
    made["training_config"]["student_model"].update(SMALL[name])
    return {**made, "state_dict": dict(_small_tensors(name, outputs))}


@cache
def _small_tensors(name: str, outputs: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = build({"mn": "mobilenetv3"}.get(name, name), SMALL[name])
    for norm in (part for part in backbone.modules() if isinstance(part, torch.nn.BatchNorm2d)):
        norm.momentum = 1.0
    with torch.no_grad():
        backbone(torch.empty(4, 1, 128, 96).uniform_(-7, 3))
    head = MLPHead(backbone.embedding_dim, outputs, hidden=8)
    return {
        prefix + key: tensor
        for prefix, module in (("student_model.model.", backbone), ("student_model.classification_head.", head))
        for key, tensor in module.state_dict().items()
    }
