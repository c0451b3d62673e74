from collections.abc import Sequence

import numpy as np
import pytest
import torch

from ssondo_stream.mel import log_mel
from ssondo_stream.students import STUDENTS, build
from ssondo_stream.students.dymn import DyMN, DynamicBlock, DynamicConv
from ssondo_stream.students.dymn_inference import run_block
from ssondo_stream.students.heads import MLPHead
from tests.parts_shared import seeded, shared


def published() -> tuple[DyMN, MLPHead]:
    """The published DyMN student and mapping head with the golden weights."""
    backbone, head = DyMN(), MLPHead(960, 3840)
    tensors = {name: torch.from_numpy(value) for name, value in seeded().state_dict("ssondo_dymn").items()}
    for module, prefix in ((backbone, "student_model.model."), (head, "student_model.classification_head.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return backbone.eval(), head.eval()


def lively(temperature: float = 30.0, strides: Sequence[int] = (2, 2, 2, 2)) -> DyMN:
    """A narrow network whose attention, gates and batch norms depend on the input, which fresh weights do not show."""
    torch.manual_seed(0)
    network = DyMN(width_mult=0.25, temperature=temperature, strides=strides)
    for name, value in network.state_dict().items():
        if name.endswith(("residuals.0.weight", "coef_net.0.weight", "conv_f.weight", "conv_t.weight")):
            value.normal_(std=3 / value[0].numel() ** 0.5)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean") or (name.endswith("bias") and value.is_floating_point()):
            value.normal_(std=0.1)
    return network.eval()


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def test_published_dymn_has_the_published_size() -> None:
    assert sum(parameter.numel() for parameter in STUDENTS["dymn10"]().parameters()) == 8_643_312


def test_published_dymn_has_the_published_tensors_in_their_order() -> None:
    prefix = "student_model.model."
    expected = {n.removeprefix(prefix): s for n, s in seeded().tensors("ssondo_dymn") if n.startswith(prefix)}
    assert {name: tuple(value.shape) for name, value in DyMN().state_dict().items()} == expected


def test_published_dymn_gives_the_golden_embeddings_and_projections() -> None:
    backbone, head = published()
    values = np.load(shared("golden") / "student_dymn.npz")
    frames = torch.stack([torch.from_numpy(log_mel(seeded().audio(10, 32_000, clip))) for clip in (1, 2)])
    with torch.inference_mode():
        embeddings = backbone.columns(backbone(frames.mT[:, None])).mean(1)
        projections = head(embeddings)
    for ours, theirs in ((embeddings, values["embeddings"][:, 0]), (projections, values["projection"])):
        assert relative(ours, torch.from_numpy(theirs)) < 1e-4


def test_images_of_a_batch_do_not_see_each_other() -> None:
    network, images = lively(), torch.randn(3, 1, 128, 80)
    with torch.inference_mode():
        alone = torch.cat([network(image[None]) for image in images])
        assert relative(network(images), alone) < 1e-5


def test_temperature_changes_the_output_and_is_honoured_wherever_it_is_set() -> None:
    image = torch.randn(1, 1, 128, 80)
    warm, cold = lively(), lively(temperature=1.0)
    with torch.inference_mode():
        expected = cold(image)
        assert relative(warm(image), expected) > 1e-3
        warm.temperature = 1.0
        torch.testing.assert_close(warm(image), expected, rtol=0, atol=0)
    assert {module.temperature for module in warm.modules() if isinstance(module, DynamicConv)} == {1.0}


def test_temperature_is_an_option_of_the_architecture() -> None:
    network = build("dymn", {"width_mult": 0.25, "temperature": 4.0})
    assert isinstance(network, DyMN)
    assert network.temperature == 4.0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        DyMN(temperature=value)
    network = lively()
    with pytest.raises(ValueError, match="temperature must be above 0"):
        network.temperature = value
    assert network.temperature == 30.0


def test_gradients_reach_every_parameter() -> None:
    network = lively().train()
    network(torch.randn(2, 1, 128, 80)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()]
    assert silent == []


@pytest.mark.parametrize("strides", [(2, 2, 2, 2), (2, 2, 2, 1)])
@pytest.mark.parametrize("frames", [16, 48, 80])
def test_inference_form_of_a_block_gives_what_the_block_gives(frames: int, strides: tuple[int, ...]) -> None:
    network = lively(strides=strides)
    with torch.inference_mode():
        x = network.in_c(torch.randn(1, 1, 128, frames))
        for block in network.layers:
            assert isinstance(block, DynamicBlock)
            y = block(x)
            assert relative(run_block(block, x), y) < 1e-5
            x = y


@pytest.mark.parametrize(
    ("options", "shape"),
    [({}, (960, 4, 20)), ({"strides": (2, 2, 2, 1)}, (960, 8, 39)), ({"width_mult": 0.5}, (480, 4, 20))],
)
def test_options_shape_the_feature_map(options: dict[str, object], shape: tuple[int, ...]) -> None:
    network = DyMN(**options).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 128, 624)).shape == (1, *shape)
    assert network.embedding_dim == shape[0]


def test_a_wrong_number_of_strides_is_refused() -> None:
    with pytest.raises(ValueError, match="need 4 strides, got 2"):
        DyMN(strides=(2, 2))
