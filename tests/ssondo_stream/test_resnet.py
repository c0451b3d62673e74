"""The residual network: what its maps are like, and where in time its columns are."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssondo_stream.bundle import Architecture, StudentSpec
from ssondo_stream.loading import load_student
from ssondo_stream.mel import MelConfig
from ssondo_stream.students import ColumnTagger, ResNet, build, classifier
from ssondo_stream.students.export import LENGTHS, check_parity, write_bundle
from tests.parts_students import LABELS

OPTIONS = {"channels": [4, 6, 8, 12], "dim": 10}


def narrow() -> ResNet:
    """A narrow network whose batch norms know their inputs."""
    torch.manual_seed(0)
    network = build("resnet", {**OPTIONS, "momentum": 0.6})
    assert isinstance(network, ResNet)
    return settled(network)


def settled(network: ResNet) -> ResNet:
    """The network after batches that show its norms what to expect, in evaluation mode."""
    with torch.no_grad():
        for seed in range(4):
            network.train()(noise(64, batch=2, seed=seed))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> ResNet:
    return narrow()


def noise(frames: int, mels: int = 64, batch: int = 1, seed: int = 1) -> Tensor:
    return 3 * torch.randn(batch, 1, mels, frames, generator=torch.Generator().manual_seed(seed)) - 4


def reversed_in_time(network: ResNet) -> ResNet:
    """The network that sees time run backwards."""
    other = copy.deepcopy(network)
    for conv in other.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight = nn.Parameter(conv.weight.flip(-1))
    return other


@pytest.mark.parametrize("mels", [64, 128])
@pytest.mark.parametrize(("frames", "columns"), [(16, 1), (32, 1), (33, 2), (304, 10), (624, 20)])
def test_map_has_a_column_per_32_frames_and_a_band_per_16_mels(
    network: ResNet, mels: int, frames: int, columns: int
) -> None:
    with torch.inference_mode():
        maps = network(noise(frames, mels, batch=2))
        assert maps.shape == (2, 10, mels // 16, columns)
        assert network.columns(maps).shape == (2, columns, network.embedding_dim)
    assert (network.dim, network.embedding_dim) == (10, 20)


def test_network_of_the_default_width_has_a_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in ResNet().parameters()) == 1_128_554


def test_embedding_has_the_means_and_the_deviations_of_the_columns(network: ResNet) -> None:
    with torch.inference_mode():
        maps = network(noise(160))
        output = ColumnTagger(network, None).eval()(noise(160)[:, 0].mT)
        expected = torch.cat((maps.mean((2, 3)), maps.mean(2).std(2)), 1)
        torch.testing.assert_close(network.columns(maps).mean(1), expected)
        torch.testing.assert_close(output.embedding, expected)


@pytest.mark.parametrize("louder", [-20.0, 3.0])
def test_level_of_a_window_changes_nothing(network: ResNet, louder: float) -> None:
    levels = torch.tensor([0.0, louder])[:, None, None, None]
    with torch.inference_mode():
        quiet, loud = network(noise(96).expand(2, -1, -1, -1) + levels)
        other = network(noise(96, seed=2))[0]
    torch.testing.assert_close(loud, quiet, atol=1e-4, rtol=1e-4)
    assert (other - quiet).abs().max() > 0.1


def test_time_reversed_network_says_of_reversed_sound_the_same_in_reverse(network: ResNet) -> None:
    """Of 32 n + 1 frames columns 0 and n are centred on the first and the last one, if all padding is even."""
    image = noise(4 * 32 + 1)
    with torch.inference_mode():
        expected = network(image).flip(-1)
        found = reversed_in_time(network)(image.flip(-1))
    assert found.shape[-1] == 5
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_column_sees_as_far_before_frame_32_i_as_after_it(network: ResNet) -> None:
    frames = 16 * 32
    for column in (7, 8):
        image = noise(frames).requires_grad_()
        network(image)[0, :, :, column].square().sum().backward()  # type: ignore[no-untyped-call]
        assert image.grad is not None
        everywhere = image.grad[..., :8].mean()  # the window's mean is taken away, which every frame has a part in
        seen = ((image.grad[0, 0] - everywhere).abs() > 1e-4 * image.grad.abs().max()).any(0).nonzero().flatten()
        first, last = int(seen[0]), int(seen[-1])
        assert first + last == 2 * 32 * column
        assert 32 < last - first < frames // 2


def test_column_of_a_click_answers_most(network: ResNet) -> None:
    quiet = torch.full((1, 1, 64, 12 * 32), -7.0)
    with torch.inference_mode():
        silence = network(quiet)[0]
        for column in (3, 6, 8):
            clicked = quiet.clone()
            clicked[..., 32 * column - 1 : 32 * column + 2] = 5.0
            answer = (network(clicked)[0] - silence).norm(dim=(0, 1))
            assert int(answer.argmax()) == column


def test_images_of_a_batch_do_not_see_each_other(network: ResNet) -> None:
    images = noise(80, batch=3)
    with torch.inference_mode():
        alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(network(images), alone, atol=1e-4, rtol=1e-4)


def test_gradients_reach_every_parameter() -> None:
    network = narrow().train()
    network(noise(80, batch=2)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert silent == []


def test_bundle_says_what_torch_says_and_streams(tmp_path: Path) -> None:
    backbone = narrow()
    student = ColumnTagger(backbone, classifier(backbone.embedding_dim, len(LABELS)))
    mel, made = MelConfig(mean=-4.0, std=3.0), Architecture("resnet", OPTIONS)
    spec = StudentSpec("tried", LABELS, 20, mel=mel, window_frames=144, architecture=made)
    assert write_bundle(student.eval(), tmp_path, spec) < 1e-4
    assert check_parity(student, tmp_path, [*LENGTHS, 112, 144]) < 1e-4

    frames = noise(144, 128)[0, 0].mT.contiguous()
    with torch.inference_mode():
        logits, embedding = student(frames[None])
    for engine in ("onnx", "torch"):
        loaded = load_student(tmp_path, engine=engine)
        assert loaded.spec.local == ()
        found = loaded.infer(frames.numpy())
        np.testing.assert_allclose(found.logits, logits[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(found.embedding, embedding[0].numpy(), atol=1e-4)
    streamed = load_student(tmp_path).stream().push(frames.numpy())
    assert [len(inference.logits) for inference in streamed] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(streamed[-1].logits, logits[0].numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channels": (4, 8, 16)}, r"need channels of 4 stages and dim, all above 0, got \[4, 8, 16\] and 192"),
        ({"channels": (4, 8, 16, 0)}, "all above 0"),
        ({"dim": 0}, "all above 0"),
        ({"width_mult": 0.5}, "'resnet' has no option 'width_mult'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build("resnet", options)
