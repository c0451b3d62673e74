"""Which audio the published interface takes, and how clips of any length are heard."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssondo_stream.errors import AudioError
from ssondo_stream.hub import Ssondo, get_ssondo
from tests.parts_checkpoints import SMALL, noise, one_threaded, small, write_checkpoint

SECOND = 32_000


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    yield from one_threaded()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small checkpoints."""
    folder = tmp_path_factory.mktemp("published")
    for name in SMALL:
        write_checkpoint(folder / f"small_{name}.ckpt", small(name))
    return folder


@pytest.fixture(scope="module")
def model(files: Path) -> Ssondo:
    return get_ssondo(files / "small_mn.ckpt")


def test_segments_of_a_clip_are_heard_apart(model: Ssondo) -> None:
    clip = noise(2, 640_000)
    with torch.inference_mode():
        together, alone = model(clip), model(clip[1, 320_000:])
    torch.testing.assert_close(together[1, 1], alone[0, 0], rtol=1e-5, atol=1e-6)


def test_what_is_left_over_is_heard_in_a_segment_that_ends_with_the_clip(model: Ssondo) -> None:
    clip = noise(400_000)
    with torch.inference_mode():
        embeddings, whole = model(clip)[0], model.get_embeddings(clip)[0]
        last = model(clip[-320_000:])[0, 0]
    torch.testing.assert_close(embeddings[1], last, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(whole, 0.8 * embeddings[0] + 0.2 * embeddings[1], rtol=1e-5, atol=1e-6)


def test_short_clip_is_heard_with_silence_after_it(model: Ssondo) -> None:
    clip = noise(100_000)
    padded = torch.cat((clip, torch.zeros(220_000)))
    with torch.inference_mode():
        torch.testing.assert_close(model(clip), model(padded), rtol=0, atol=0)


def test_short_clip_is_taken_at_its_own_length_if_asked_for(files: Path) -> None:
    student = get_ssondo(files / "small_mn.ckpt", pad=False)
    assert student.preprocess(noise(100_000)).shape == (1, 1, 128, 194)
    with torch.inference_mode():
        assert student(noise(100_000)).isfinite().all()


def test_many_segments_equal_few(files: Path) -> None:
    student, clips = get_ssondo(files / "small_mn.ckpt", pad=False), noise(40, 9_000)
    with torch.inference_mode():
        torch.testing.assert_close(student(clips)[35], student(clips[35])[0], rtol=1e-5, atol=1e-6)


def test_channels_on_an_axis_of_their_own_are_mixed_down(model: Ssondo) -> None:
    stereo = noise(1, 2, 50_000)
    with torch.inference_mode():
        torch.testing.assert_close(model(stereo), model(stereo.mean(1)), rtol=0, atol=0)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
def test_other_rates_are_resampled(model: Ssondo, rate: int) -> None:
    def tone(rate: int) -> Tensor:
        return 0.3 * torch.sin(2 * torch.pi * 1000 * torch.arange(3 * rate) / rate)

    ours, expected = model.preprocess(tone(rate), sample_rate=rate), model.preprocess(tone(SECOND))
    loud = expected > -3
    assert loud.any()
    assert (ours - expected)[loud][10:-10].abs().max() < 0.1
    with torch.inference_mode():
        assert model(torch.stack([tone(rate)] * 2), sample_rate=rate).shape == (2, 1, model.embedding_dim)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", SMALL)
def test_audio_and_models_of_other_precisions_are_taken(files: Path, name: str, dtype: torch.dtype) -> None:
    exact = get_ssondo(files / f"small_{name}.ckpt")
    cast = get_ssondo(files / f"small_{name}.ckpt").to(dtype)
    clip = noise(400_000).to(dtype)
    with torch.inference_mode():
        expected, ours = exact.get_embeddings(clip)[0], cast.get_embeddings(clip)[0]
    assert (expected.dtype, ours.dtype) == (torch.float32, dtype)
    assert torch.cosine_similarity(expected, ours.float(), dim=0) > 0.99


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (torch.zeros(0), r"shape \[0\]"),
        (torch.zeros(2, 0), r"shape \[2, 0\]"),
        (torch.tensor(0.5), r"shape \[\], expected \[n\], \[batch, n\] or \[batch, channels, n\]"),
        (torch.zeros(1, 1, 2, 32_000), r"shape \[1, 1, 2, 32000\]"),
        (torch.zeros(32_000, 2), r"has 2 samples at 32000 Hz in each of 32000 clips, need 1024 or more"),
        (torch.zeros(1023), "has 1023 samples"),
        (torch.zeros(32_000, dtype=torch.int16), r"torch.int16 \[32000\], expected floating point .* divide"),
        (torch.zeros(32_000, dtype=torch.complex64), "torch.complex64"),
        (torch.full((32_000,), float("nan")), "NaN or infinite"),
        (torch.full((1, 32_000), float("inf")), r"\[1, 32000\] holds NaN or infinite"),
        (np.zeros(32_000, np.float32), "audio is a ndarray, expected a torch tensor"),
    ],
)
def test_what_cannot_be_audio_is_refused(model: Ssondo, clip: Tensor, expected: str) -> None:
    for use in (model, model.preprocess, model.get_embeddings):
        with pytest.raises(AudioError, match=expected):
            use(clip)


@pytest.mark.parametrize("rate", [0, -1, 44_100.0, "48k", True])
def test_rate_that_is_none_is_refused(model: Ssondo, rate: int) -> None:
    with pytest.raises(AudioError, match=r"sample_rate is .*, expected a whole number of Hz"):
        model(noise(SECOND), sample_rate=rate)
