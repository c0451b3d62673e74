from types import ModuleType

import numpy as np
import pytest
import torch

from ssondo_stream.mel import log_mel
from ssondo_stream.students import STUDENTS, MobileNetV3, tagger
from ssondo_stream.students.heads import MLPHead
from ssondo_stream.students.layers import make_divisible
from tests.parts_shared import seeded, shared


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def published() -> tuple[MobileNetV3, MLPHead, ModuleType]:
    """The published student and mapping head with the golden weights."""
    golden, backbone, head = seeded(), STUDENTS["mn10"](), MLPHead(960, 3840)
    tensors = {name: torch.from_numpy(value) for name, value in golden.state_dict("ssondo_mn").items()}
    for module, prefix in ((backbone, "student_model.model."), (head, "student_model.classification_head.")):
        module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    return backbone.eval(), head.eval(), golden


def test_published_student_has_the_published_size() -> None:
    assert parameters(STUDENTS["mn10"]()) == 2_971_664
    assert parameters(MLPHead(960, 3840)) == 6_149_120


def test_published_student_gives_the_golden_embeddings_and_projections() -> None:
    backbone, head, golden = published()
    values = np.load(shared("golden") / "student_mn.npz")
    for clip in (0, 1):
        frames = torch.from_numpy(log_mel(golden.audio(10, 32_000, clip + 1)))
        with torch.inference_mode():
            embedding = backbone(frames.T[None, None]).mean((2, 3))
            projection = head(embedding)
        for ours, theirs in (
            (embedding[0], values["embeddings"][clip, 0]),
            (projection[0], values["projection"][clip]),
        ):
            assert np.abs(ours.numpy() - theirs).max() < 1e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("name", STUDENTS)
@pytest.mark.parametrize("frames", [16, 48, 624])
def test_every_student_gives_its_columns(name: str, frames: int) -> None:
    student = tagger(name, 5).eval()
    with torch.inference_mode():
        output = student(torch.zeros(2, frames, 128))
    assert output.column_logits.shape == (2, -(-frames // student.backbone.column_frames), 5)
    assert output.embedding.shape == (2, student.backbone.embedding_dim)


@pytest.mark.parametrize("name", STUDENTS)
def test_window_logit_is_the_mean_of_its_columns(name: str) -> None:
    torch.manual_seed(0)
    student = tagger(name, 3).eval()
    with torch.inference_mode():
        logits, embedding = student(torch.randn(1, 144, 128))
        torch.testing.assert_close(student.head(embedding), logits.mean(1))


@pytest.mark.parametrize(
    ("options", "shape", "dim"),
    [
        ({}, (4, 20), 960),
        ({"reduced_tail": True}, (4, 20), 480),
        ({"dilated": True}, (8, 39), 960),
        ({"strides": (2, 2, 2, 1)}, (8, 39), 960),
        ({"se_dims": ""}, (4, 20), 960),
        ({"width_mult": 0.5}, (4, 20), 480),
    ],
)
def test_options_shape_the_feature_map(options: dict[str, object], shape: tuple[int, int], dim: int) -> None:
    backbone = MobileNetV3(**options).eval()  # type: ignore[arg-type]
    with torch.inference_mode():
        assert backbone(torch.zeros(1, 1, 128, 624)).shape == (1, dim, *shape)
    assert backbone.dim == dim


@pytest.mark.parametrize("options", [{"se_dims": "f"}, {"strides": (2, 2)}])
def test_options_that_do_not_exist_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"se_dims|strides"):
        MobileNetV3(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "expected"), [(3, 8), (18, 24), (20, 24), (24, 24), (67.2, 64), (12, 16)])
def test_channel_counts_are_multiples_of_eight_and_never_much_smaller(value: float, expected: int) -> None:
    assert make_divisible(value) == expected
