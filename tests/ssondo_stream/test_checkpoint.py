import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ssondo_stream.checkpoint import backbone_of, head_of, projection_of, read_checkpoint, read_head
from ssondo_stream.checksum import sha256_of
from ssondo_stream.errors import CheckpointError
from ssondo_stream.mel import MelConfig
from tests.parts_checkpoints import changed, one_threaded, small, write_checkpoint, write_head

PUBLISHED = {
    "mn": ("mobilenetv3", 2_971_664, 6_149_120),
    "dymn": ("dymn", 8_643_312, 6_149_120),
    "eres2net": ("eres2net", 1_368_068, 6_231_040),
}
STATE = "state_dict"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    yield from one_threaded()


class RunsCode:
    """A pickle of this creates a file when it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.open, (str(self.path), os.O_CREAT)


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def told(path: Path) -> str:
    """What reading the file, and building what it holds, is refused with."""
    with pytest.raises(CheckpointError) as error:
        projection_of(checkpoint) if backbone_of(checkpoint := read_checkpoint(path)) else None
    assert str(error.value).startswith(str(path))
    return str(error.value)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoint_becomes_its_network_and_mapping_head(tmp_path: Path, name: str) -> None:
    architecture, backbone, projection = PUBLISHED[name]
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "student.ckpt", name))
    assert checkpoint.architecture == architecture
    assert checkpoint.mel == MelConfig()
    assert (checkpoint.window_samples, checkpoint.step_samples, checkpoint.window_frames) == (320_000, 320_000, 624)
    assert checkpoint.sha256 == sha256_of(checkpoint.path)
    assert parameters(backbone_of(checkpoint)) == backbone
    assert parameters(projection_of(checkpoint)) == projection


def test_weights_become_trainable_float32_of_their_own(tmp_path: Path) -> None:
    content = small("mn")
    content[STATE] = {
        name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in content[STATE].items()
    }
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "half.ckpt", content))
    first, second = backbone_of(checkpoint), backbone_of(checkpoint)
    assert not first.training
    for ours, other in zip(first.parameters(), second.parameters(), strict=True):
        assert (ours.dtype, ours.device.type, ours.requires_grad) == (torch.float32, "cpu", True)
        assert ours.data_ptr() != other.data_ptr()


def test_other_keys_of_lightning_are_left_alone(tmp_path: Path) -> None:
    content = {**small("mn"), "optimizer_states": [{"lr": 1e-3}], "callbacks": {}, "hyper_parameters": None}
    assert backbone_of(read_checkpoint(write_checkpoint(tmp_path / "student.ckpt", content)))


def test_normalisation_and_open_upper_edge_reach_the_front_end(tmp_path: Path) -> None:
    content = changed("mn", "preprocess", "normalize", to={"mean": -4.5, "std": 2.0})
    content["training_config"]["preprocess"]["logmelspec"]["f_max"] = None
    mel = read_checkpoint(write_checkpoint(tmp_path / "student.ckpt", content)).mel
    assert (mel.mean, mel.std, mel.f_max) == (-4.5, 2.0, 16_000)


@pytest.mark.parametrize(
    ("pretrained", "final", "expected"),
    [("dymn10_im", 30.0, 30.0), ("dymn10_as", 1.0, 1.0), ("dymn10_im", ..., 30.0), (None, 1.0, 30.0)],
)
def test_dymn_has_the_temperature_that_it_was_trained_with(
    tmp_path: Path, pretrained: str | None, final: object, expected: float
) -> None:
    content = changed("dymn", "student_model", "pretrain_final_temp", to=final)
    content["training_config"]["student_model"]["pretrained_name"] = pretrained
    content[STATE] = {"student_model.model.x": torch.zeros(1)}
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "student.ckpt", content))
    assert checkpoint.options["temperature"] == expected


@pytest.mark.parametrize("plain", [False, True], ids=["torch.save", "pickle"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path, nested: bool, plain: bool) -> None:
    trap, path = RunsCode(tmp_path / "ran"), tmp_path / "student.ckpt"
    content = {**small("mn"), "callbacks": trap} if nested else trap
    if plain:
        path.write_bytes(pickle.dumps(trap, protocol=2))
    else:
        torch.save(content, path)
    message = told(path)
    assert "nothing of it was run" in message
    assert not trap.path.exists()
    with pytest.raises(CheckpointError):
        read_head(path)
    assert not trap.path.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert trap.path.exists(), "the trap does not work"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-200],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: b"<html>not found</html>",
    ],
    ids=["end missing", "half missing", "empty", "web page"],
)
def test_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = write_checkpoint(tmp_path / "student.ckpt", small("mn"))
    path.write_bytes(damage(path.read_bytes()))
    assert "truncated" in told(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "holds a list"),
        ({}, "state_dict: missing"),
        ({STATE: {}}, "state_dict"),
        ({STATE: {"a": "b"}}, "state_dict['a']: got a str, expected a dense tensor of real numbers"),
        (
            {STATE: {"a": torch.zeros(2, dtype=torch.complex64)}},
            "state_dict['a']: [2], expected a dense tensor of real numbers",
        ),
        ({STATE: {"student_model.model.a": torch.zeros(1)}}, "training_config: missing, expected a table"),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: object, expected: str) -> None:
    assert expected in told(write_checkpoint(tmp_path / "student.ckpt", content))


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert told(tmp_path / "student.ckpt").endswith("no such file")


MODEL, CUT, MEL, HEAD = "student_model", "slice_audio", "logmelspec", "classification_head"


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        ((MODEL,), ..., "training_config.student_model: missing, expected a table"),
        ((MODEL, "model_name"), ..., "student_model.model_name: missing, expected a string"),
        ((MODEL, "model_name"), "passt", "student_model.model_name: got 'passt', expected a MobileNetV3"),
        ((MODEL, "model_name"), "ERes2Net", "student_model.m_channels: missing, expected whole numbers"),
        ((MODEL, "width_mult"), ..., "student_model.width_mult: missing, expected a number"),
        ((MODEL, "width_mult"), 1e9, "student_model.width_mult: got '1000000000.0', expected a number from 0.01 to 16"),
        ((MODEL, "width_mult"), float("nan"), "student_model.width_mult: got 'nan'"),
        ((MODEL, "strides"), [2, 2], "student_model: need 4 strides, got 2"),
        ((MODEL, "strides"), 2, "student_model.strides: got '2', expected a list"),
        ((MODEL, "dilated"), "no", "student_model.dilated: got 'no', expected true or false"),
        ((MODEL, "se_dims"), "f", "student_model: se_dims must be 'c' or '', got 'f'"),
        ((MODEL, "relu_only"), True, "student_model.relu_only: got 'True', expected False"),
        ((MODEL, "causal"), True, "student_model.causal: unknown option"),
        ((MODEL, "sr"), "32k", "student_model.sr: got '32k', expected a number"),
        (("preprocess",), ..., "training_config.preprocess: missing"),
        (("preprocess", MEL, "hop_len"), 0.064, "preprocess.logmelspec: got"),
        (("preprocess", MEL, "n_mels"), 900, "n_mels=900 is too many for n_fft=1024"),
        ((MODEL, "relu_only"), torch.zeros(2), "student_model.relu_only: got"),
        (("preprocess", MEL, "n_mels"), 128.5, "preprocess.logmelspec.n_mels: got '128.5'"),
        (("preprocess", CUT, "win_len"), 1e12, "preprocess.slice_audio.win_len: got"),
        ((HEAD, "last_activation"), "sigmoid", "classification_head.last_activation: got 'sigmoid', expected ''"),
        ((HEAD, "n_classes"), 12, "classification_head.mlp.3.weight is [3840, 1280], expected [12, 1280]"),
    ],
)  # fmt: skip
def test_config_that_fits_nothing_is_refused_by_its_key(
    tmp_path: Path, keys: tuple[str, ...], value: object, expected: str
) -> None:
    assert expected in told(write_checkpoint(tmp_path / "student.ckpt", changed("mn", *keys, to=value)))


def test_bands_of_network_and_front_end_must_agree(tmp_path: Path) -> None:
    content = changed("eres2net", "student_model", "feat_dim", to=64)
    assert "student_model.feat_dim: got '64', expected 128" in told(
        write_checkpoint(tmp_path / "student.ckpt", content)
    )


FIRST = "student_model.model.features.0.0.weight"


def without(state: dict[str, Any]) -> None:
    del state[FIRST]


def reshaped(state: dict[str, Any]) -> None:
    state[FIRST] = torch.zeros(8, 1, 5, 5)


def stray(state: dict[str, Any]) -> None:
    state["student_model.model.extra.weight"] = torch.zeros(1)


def foreign(state: dict[str, Any]) -> None:
    state["teacher.weight"] = torch.zeros(1)


def broken(state: dict[str, Any]) -> None:
    state[FIRST] = torch.full_like(state[FIRST], float("nan"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (without, f"1 tensors missing {FIRST}"),
        (reshaped, f"of another shape: {FIRST} is [8, 1, 5, 5], expected [8, 1, 3, 3]"),
        (stray, "1 tensors unexpected student_model.model.extra.weight"),
        (foreign, "1 tensors unexpected teacher.weight"),
        (broken, f"not finite: {FIRST}"),
    ],
)
def test_tensors_must_be_there_by_name_and_shape(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    content = small("mn")
    change(content[STATE])
    assert expected in told(write_checkpoint(tmp_path / "student.ckpt", content))


def test_many_missing_tensors_are_counted(tmp_path: Path) -> None:
    content = small("mn")
    content[STATE] = {name: value for name, value in content[STATE].items() if "running_mean" not in name}
    assert " and " in (message := told(write_checkpoint(tmp_path / "student.ckpt", content)))
    assert message.endswith("more")


@pytest.mark.parametrize("kind", ["lstm", "mlp"])
def test_checkpoint_without_the_published_mapping_head_still_gives_its_network(tmp_path: Path, kind: str) -> None:
    content = small("mn")
    content["training_config"]["classification_head"]["head_type"] = kind
    if kind == "mlp":
        content[STATE] = {name: value for name, value in content[STATE].items() if ".model." in name}
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "student.ckpt", content))
    assert backbone_of(checkpoint)
    with pytest.raises(CheckpointError, match="has no mapping head of the published kind"):
        projection_of(checkpoint)


def test_head_is_read_and_fits_its_width_alone(tmp_path: Path) -> None:
    head = read_head(write_head(tmp_path / "esc50.pth", classes=50))
    layer = head_of(head, 960)
    assert (layer.in_features, layer.out_features) == (960, 50)
    torch.testing.assert_close(layer.weight, head.weight, rtol=0, atol=0)
    with pytest.raises(CheckpointError, match="is for embeddings of 960 dimensions, but the student gives 1024"):
        head_of(head, 1024)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "probe.linear_probe.weight: missing"),
        ({"probe.linear_probe.weight": torch.zeros(3)}, r"weight: \[3\], expected a tensor with 2 axes"),
        ({"probe.linear_probe.weight": torch.zeros(3, 4)}, "bias: missing"),
        (
            {"probe.linear_probe.weight": torch.zeros(3, 4), "probe.linear_probe.bias": torch.zeros(4)},
            r"bias is \[4\], expected \[3\]",
        ),
    ],
)
def test_file_that_is_no_head_is_refused(tmp_path: Path, content: object, expected: str) -> None:
    torch.save(content, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match=expected):
        read_head(tmp_path / "head.pth")
