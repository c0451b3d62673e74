import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssondo_stream.bundle import find_bundle
from ssondo_stream.errors import AudioError
from ssondo_stream.loading import load_student
from ssondo_stream.mel import log_mel
from tests.training.parts_teachers import encoder_tensors, saved
from training.teachers import TeacherError, load_teacher


class Means:
    """A teacher of the user's own: means of equal parts of the audio."""

    sample_rate = 8000
    embedding_dim = 4

    def __init__(self, checkpoint: Path | None = None) -> None:
        self.checkpoint = checkpoint

    def embed(self, audio: Tensor) -> Tensor:
        return self.embed_frames(audio).mean(1)

    def embed_frames(self, audio: Tensor) -> Tensor:
        return audio.view(len(audio), -1, 4)


class NoWidth(Means):
    embedding_dim = 0


class NoFrames:
    sample_rate = 8000
    embedding_dim = 4

    def embed(self, audio: Tensor) -> Tensor:
        return audio


def on_device(device: str) -> Means:
    return Means(Path(device))


HERE = __name__


def clips(seconds: float, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, round(32_000 * seconds), generator=torch.Generator().manual_seed(0))


def test_factory_serves_as_a_teacher(tmp_path: Path) -> None:
    teacher = load_teacher(f"{HERE}:Means", checkpoint=str(tmp_path))
    assert isinstance(teacher, Means)
    assert teacher.checkpoint == tmp_path
    assert teacher.embed(torch.ones(2, 8)).shape == (2, 4)


def test_factory_is_given_the_device_if_it_takes_one() -> None:
    teacher = load_teacher(f"{HERE}:on_device", device="meta")
    assert isinstance(teacher, Means)
    assert teacher.checkpoint == Path("meta")


@pytest.mark.parametrize(
    ("name", "checkpoint", "told"),
    [
        ("resnet", None, r"no teacher 'resnet': expected one of matpac, matpac\+\+, m2d, .*default.*module:factory"),
        ("matpac", None, "needs a checkpoint"),
        ("m2d", None, "needs a checkpoint"),
        ("default", "w.pt", "has its weights with it: leave out w.pt"),
        ("no.such:Teacher", None, "No module named 'no'"),
        (":Teacher", None, "expected module:factory"),
        (f"{HERE}:absent", None, "expected module:factory"),
        (f"{HERE}:HERE", None, "expected a function or class, found str"),
        (f"{HERE}:NoFrames", "w.pt", "takes no checkpoint"),
        (f"{HERE}:NoWidth", None, "expected embedding_dim, a whole number above 0, found 0"),
        (f"{HERE}:NoFrames", None, r"expected a method embed_frames\(audio\)"),
    ],
)
def test_teacher_that_is_none_is_refused(name: str, checkpoint: str | None, told: str) -> None:
    with pytest.raises(TeacherError, match=told):
        load_teacher(name, checkpoint)


@pytest.mark.parametrize("name", ["matpac", "matpac++", "m2d"])
def test_published_teacher_demands_all_twelve_blocks(name: str, tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"150 tensors wanted, missing: blocks\.2\.attn\.proj\.bias"):
        load_teacher(name, saved(encoder_tensors(), tmp_path))


def test_bundle_serves_as_a_teacher() -> None:
    teacher, student = load_teacher("default"), load_student("default")
    audio = clips(10, batch=2)
    assert teacher.sample_rate == 32_000
    assert teacher.embedding_dim == student.spec.embedding_dim
    expected = [student.infer(log_mel(clip.numpy(), student.spec.mel)).embedding for clip in audio]
    np.testing.assert_allclose(teacher.embed(audio).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(("seconds", "starts"), [(3, [0]), (10, [0]), (20, [0, 10]), (25, [0, 10, 15])])
def test_long_clip_is_heard_in_windows_up_to_its_end(seconds: float, starts: list[int]) -> None:
    teacher, audio = load_teacher("default"), clips(seconds)
    frames = teacher.embed_frames(audio)
    windows = [teacher.embed(audio[:, 32_000 * start : 32_000 * (start + 10)]) for start in starts]
    torch.testing.assert_close(frames, torch.stack(windows, dim=1))
    torch.testing.assert_close(teacher.embed(audio), frames.mean(1))


def test_bundle_may_be_a_folder(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_bundle("default"), tmp_path / "student"))
    torch.testing.assert_close(load_teacher(str(folder)).embed(clips(1)), load_teacher("default").embed(clips(1)))


def test_altered_bundle_is_refused(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(find_bundle("default"), tmp_path / "student"))
    (folder / "student.onnx").write_bytes(b"")
    with pytest.raises(TeacherError, match=r"teacher '.*student': .*student\.onnx"):
        load_teacher(str(folder))


@pytest.mark.parametrize("audio", [torch.zeros(32_000), torch.zeros(1, 1023), torch.full((1, 32_000), torch.nan)])
def test_bundle_refuses_audio_that_cannot_be_heard(audio: Tensor) -> None:
    with pytest.raises(AudioError):
        load_teacher("default").embed(audio)
