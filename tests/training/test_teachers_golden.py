"""The teachers against outputs of their released code. The weights are large, so each is made once."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.parts_shared import seeded, shared
from training.teachers import load_teacher
from training.teachers.vit import AudioViT

PUBLISHED_NAMES = {"matpac": "matpac_encoder", "m2d": "m2d_encoder"}


@pytest.fixture(scope="module")
def golden() -> ModuleType:
    return seeded()


@pytest.fixture(scope="module", params=["matpac", "m2d"])
def teacher(
    request: pytest.FixtureRequest, golden: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, AudioViT]]:
    tensors = golden.state_dict(PUBLISHED_NAMES[request.param])
    path = tmp_path_factory.mktemp("teacher") / "weights.pt"
    torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
    loaded = load_teacher(request.param, checkpoint=path)
    path.unlink()
    assert isinstance(loaded, AudioViT)
    yield request.param, loaded


def error(found: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference, as a share of the largest value."""
    assert found.shape == expected.shape
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("seconds", ["10", "4.5"])
def test_teacher_gives_the_golden_frames(teacher: tuple[str, AudioViT], golden: ModuleType, seconds: str) -> None:
    name, network = teacher
    values = np.load(shared("golden") / f"teacher_{name}.npz")
    clip = torch.from_numpy(golden.audio(float(seconds), 16_000, 1))[None]
    frames = network.embed_frames(clip)[0]
    assert error(frames, values[f"frames_{seconds}s"]) < 1e-4
    if f"clip_{seconds}s" in values:
        assert error(network.embed(clip)[0], values[f"clip_{seconds}s"]) < 1e-4


def test_front_end_gives_the_golden_log_mel(teacher: tuple[str, AudioViT], golden: ModuleType) -> None:
    name, network = teacher
    expected = np.load(shared("golden") / f"teacher_{name}.npz")["features_4.5s"].T
    found = network.log_mel(torch.from_numpy(golden.audio(4.5, 16_000, 1))[None])[0].numpy()
    if name == "m2d":  # stored before its normalisation
        found = found * network.log_mel.config.std + network.log_mel.config.mean
    assert np.abs(found - expected).max() < 2e-4


def test_teacher_has_the_published_size(teacher: tuple[str, AudioViT]) -> None:
    _, network = teacher
    assert sum(weights.numel() for weights in network.parameters()) == 85_400_832
    assert (network.sample_rate, network.embedding_dim) == (16_000, 3840)
