import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.parts_teachers import M2D, MATPAC, SMALL, audio, encoder_tensors, saved
from training.teachers.checkpoints import load_vit
from training.teachers.errors import TeacherError
from training.teachers.vit import Geometry

Tensors = dict[str, Tensor]


def prefixed(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def as_matpac(tensors: Tensors) -> Tensors:
    """MATPAC's names, where blocks and final norm are in a student encoder."""
    inner = ("blocks.", "norm.")
    return {("student_encoder." if name.startswith(inner) else "") + name: value for name, value in tensors.items()}


def with_extras(tensors: Tensors) -> Tensors:
    """What published files of MATPAC++ may have besides."""
    return {
        **as_matpac(tensors),
        "log_mel.spectrogram.window": torch.zeros(400),
        "head.weight": torch.zeros(527, 768),
        "head_norm.running_mean": torch.zeros(768),
    }


def fine_tuned(tensors: Tensors) -> Tensors:
    """An M2D within a task's network, whose own head is no part of the encoder."""
    return {**prefixed("module.ar.runtime.backbone.")(tensors), "module.head.mlp.weight": torch.zeros(3)}


LAYOUTS: dict[str, Callable[[Tensors], object]] = {
    "flat": dict,
    "matpac": as_matpac,
    "matpac with front end and head": with_extras,
    "under model": lambda tensors: {"model": tensors, "epoch": 300},
    "under model, with settings": lambda tensors: {"model": tensors, "args": argparse.Namespace(lr=1e-4, tags=["a"])},
    "under state_dict": lambda tensors: {"state_dict": as_matpac(tensors), "hyper_parameters": {"lr": 1e-4}},
    "in parallel": prefixed("module."),
    "as a backbone": lambda tensors: {**prefixed("backbone.")(tensors), "head.weight": torch.zeros(3)},
    "fine-tuned": fine_tuned,
    "fine-tuned, under model": lambda tensors: {"model": fine_tuned(tensors)},
    "in half precision": lambda tensors: {name: value.half() for name, value in tensors.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_teacher(layout: str, tmp_path: Path) -> None:
    tensors = {name: value.half().float() for name, value in encoder_tensors().items()}
    teacher = load_vit(saved(LAYOUTS[layout](tensors), tmp_path), MATPAC)
    loaded = teacher.encoder.state_dict()
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], value) for name, value in tensors.items())
    assert torch.isfinite(teacher.embed(audio(0.5))).all()


@pytest.mark.parametrize(
    "geometry", [SMALL, Geometry(dim=128, depth=2, hidden=32, columns=62), Geometry(64, 2, 64, patch=8, bands=10)]
)
@pytest.mark.parametrize("folder", ["classes", "m2d_vit_base-80x200p16x4"])
def test_sizes_are_those_of_the_tensors_not_of_the_path(geometry: Geometry, folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    path = saved(encoder_tensors(geometry), tmp_path / folder, "matpac_as_48.pt")
    assert load_vit(path, MATPAC).encoder.geometry == geometry


def test_statistics_in_the_file_replace_those_of_the_family(tmp_path: Path) -> None:
    tensors = encoder_tensors()
    plain = load_vit(saved(tensors, tmp_path), M2D)
    told = load_vit(saved({**tensors, "norm_stats": torch.tensor([-5.0, 2.0])}, tmp_path), M2D)
    mel = plain.log_mel(audio(1)) * 4.2 - 7.1
    torch.testing.assert_close(told.log_mel(audio(1)), (mel + 5) / 2, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("statistics", [[1.0], [0.0, 0.0], [0.0, -1.0], [float("nan"), 1.0]])
def test_impossible_statistics_are_refused(statistics: list[float], tmp_path: Path) -> None:
    path = saved({**encoder_tensors(), "norm_stats": torch.tensor(statistics)}, tmp_path)
    with pytest.raises(TeacherError, match=r"teacher\.pt: norm_stats: expected mean and deviation > 0"):
        load_vit(path, M2D)


def without(*names: str) -> Callable[[Tensors], object]:
    return lambda tensors: {name: value for name, value in tensors.items() if name not in names}


def replaced(name: str, value: Tensor) -> Callable[[Tensors], object]:
    return lambda tensors: {**tensors, name: value}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("norm.weight"), "30 tensors wanted, missing: norm.weight"),
        (without("norm.weight", "norm.bias", "cls_token"), "missing: cls_token, norm.bias, norm.weight"),
        (without("pos_embed"), "expected a tensor pos_embed"),
        (without("patch_embed.proj.weight"), "missing patch_embed.proj.weight"),
        (without("blocks.0.mlp.fc1.weight"), "missing blocks.0.mlp.fc1.weight"),
        (
            lambda tensors: {k: v for k, v in tensors.items() if not k.startswith("blocks.1.")},
            "missing: blocks.1.attn.proj.bias, blocks.1.attn.proj.weight, .* and 7 more",
        ),
        (replaced("blocks.0.ls1.gamma", torch.ones(64)), "unexpected: blocks.0.ls1.gamma"),
        (replaced("blocks.2.norm1.weight", torch.ones(64)), "unexpected: blocks.2.norm1.weight"),
        (replaced("norm.bias", torch.ones(65)), r"of another shape: norm.bias \[65\], not \[64\]"),
        (replaced("norm.bias", torch.full((64,), torch.nan)), "not finite: norm.bias"),
        (replaced("student_encoder.norm.bias", torch.ones(64)), "norm.bias is there twice"),
        (replaced("pos_embed", torch.ones(1, 190, 64)), "pos_embed: expected 1 . 5 . columns positions, found 190"),
        (replaced("pos_embed", torch.ones(191, 64)), "pos_embed: expected 3 axes"),
        (replaced("pos_embed", torch.ones(1, 1, 64)), "positions, found 1"),
        (replaced("patch_embed.proj.weight", torch.ones(64, 3, 16, 16)), "expected square patches"),
        (replaced("patch_embed.proj.weight", torch.ones(64, 1, 16, 4)), "expected square patches"),
        (replaced("patch_embed.proj.weight", torch.ones(64, 1, 128, 128)), "expected square patches"),
        (replaced("patch_embed.proj.weight", torch.ones(60, 1, 16, 16)), "multiple of 64"),
        (lambda _: [torch.ones(1)], "expected a dictionary of tensors, found list"),
        (lambda _: {}, "found none"),
        (lambda _: {"model": {"epoch": 3}}, "found none"),
    ],
)
def test_file_of_another_network_is_refused(change: Callable[[Tensors], object], told: str, tmp_path: Path) -> None:
    path = saved(change(encoder_tensors()), tmp_path)
    with pytest.raises(TeacherError, match=rf"teacher\.pt: .*{told}"):
        load_vit(path, MATPAC)


class Hostile:
    """Unpickled, it would create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(zipped: bool, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "teacher.pt"
    torch.save({**encoder_tensors(), "extra": Hostile(trace)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        TeacherError, match=r"refused, it holds more than tensors and plain values: (posix|os|nt)\.mkdir"
    ):
        load_vit(path, MATPAC)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_file_is_refused(share: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    torch.save(encoder_tensors(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(TeacherError, match=r"teacher\.pt: "):
        load_vit(path, MATPAC)


def test_damaged_file_is_refused_or_read_and_never_breaks_otherwise(tmp_path: Path) -> None:
    path, rng = tmp_path / "teacher.pt", np.random.default_rng(0)
    torch.save(encoder_tensors(), path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    head = len(content) - sum(4 * value.numel() for value in encoder_tensors().values())
    refused = 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[int(rng.integers(head))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            load_vit(path, MATPAC)
        except TeacherError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_file_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="cannot be read"):
        load_vit(tmp_path / name, MATPAC)


def test_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match="device 'cuda:99': "):
        load_vit(saved(encoder_tensors(), tmp_path), MATPAC, "cuda:99")


def test_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "teacher.pt").write_text("<html>404</html>")
    with pytest.raises(TeacherError, match="damaged, or no file of tensors"):
        load_vit(tmp_path / "teacher.pt", MATPAC)
