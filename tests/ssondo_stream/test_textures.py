"""Statistics of textures: as numpy says, whatever the level, the same in a stream; hidden while a network learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssondo_stream import load_student
from ssondo_stream.bundle import Architecture, Label, StudentSpec
from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.students import ColumnTagger, classifier
from ssondo_stream.students.export import write_bundle
from ssondo_stream.students.textured import TexturedMobileNetV3
from ssondo_stream.students.textures import CONTEXT_FRAMES, Textures
from ssondo_stream.windowed import LocalStream, WindowedStream
from tests.parts_shared import seeded

MEL = MelConfig(n_mels=64, offset=1e-6, mean=-5.0, std=5.0)
RATE = MEL.sample_rate
BANDS, CEPSTRA, GROUPS, RATES = 64, 20, 8, 6
NOT_FOR_RATES = 3 * (BANDS + CEPSTRA)
FRAMES_A_SECOND = RATE / MEL.hop
OPTIONS = {"width_mult": 0.1}


def heard(frames: int, seed: int = 0) -> Tensor:
    """Frames [1, frames, 64] of something that changes, all of them loud enough to be heard."""
    rng = np.random.default_rng(seed)
    swell = np.sin(np.arange(frames) / rng.uniform(3, 30, (BANDS, 1))).T
    return torch.from_numpy(0.3 * swell + 0.2 * rng.normal(size=(frames, BANDS)) + 0.5).float()[None]


@torch.no_grad()
def statistics(frames: Tensor) -> Tensor:
    """[count, columns]."""
    found: Tensor = Textures(BANDS)(frames)[0]
    return found


@torch.no_grad()
def settled() -> TexturedMobileNetV3:
    """A network that knows what is usual."""
    torch.manual_seed(0)
    network = TexturedMobileNetV3(**OPTIONS, momentum=0.1).train()
    network.usual.momentum = None  # the mean of what follows
    for seed in range(4):
        network(torch.cat([heard(304, 10 * seed + i) for i in range(8)]).transpose(1, 2).unsqueeze(1))
    return network.eval()


def bundle_of(network: TexturedMobileNetV3, folder: Path) -> Path:
    """A student with three labels, and weights for torch."""
    torch.manual_seed(1)
    student = ColumnTagger(network, classifier(network.embedding_dim, 3)).eval()
    labels = (Label("A"), Label("B"), Label("C"))
    architecture = Architecture("textured_mobilenetv3", OPTIONS)
    write_bundle(
        student, folder, StudentSpec("textured", labels, network.embedding_dim, MEL, architecture=architecture)
    )
    return folder


def test_moments_are_those_of_the_context_of_each_column() -> None:
    frames, begin = heard(304), 3 * 32
    beyond = frames[0, begin : begin + CONTEXT_FRAMES + 1].double().numpy()  # the last step leads out of the context
    context = beyond[:-1]
    found = statistics(frames)[:, 3 + 2].double().numpy()
    mean, deviation, change = context.mean(0), context.std(0), np.diff(beyond, axis=0).std(0)
    np.testing.assert_allclose(found[:BANDS], mean - mean.mean(), atol=1e-5)
    np.testing.assert_allclose(found[84 : 84 + BANDS], deviation, rtol=5e-3)
    np.testing.assert_allclose(found[168 : 168 + BANDS], change, rtol=5e-3)


def test_silence_between_sounds_counts_for_nothing() -> None:
    """As without it, but for the few frames where one begins."""
    frames = heard(160)
    silent = frames.clone()
    silent[:, ::4] = -3.0
    kept = frames[0, torch.arange(160) % 4 != 0].double().numpy()
    found = statistics(silent)[:, 0].double().numpy()
    np.testing.assert_allclose(found[:BANDS], kept.mean(0) - kept.mean(), atol=0.02)
    np.testing.assert_allclose(found[84 : 84 + BANDS], kept.std(0), rtol=0.05)


@pytest.mark.parametrize(("rate", "number"), [(0.5, 0), (1.5, 1), (2.4, 2), (4.0, 3), (6.5, 4), (12.0, 5)])
def test_a_fluctuation_has_most_power_at_its_rate(rate: float, number: int) -> None:
    frames = torch.zeros(1, 304, BANDS) + torch.randn(1, 304, BANDS, generator=torch.manual_seed(0)) * 0.01
    frames[0, :, 16:24] += 0.5 * torch.sin(2 * torch.pi * rate * torch.arange(304) / FRAMES_A_SECOND)[:, None]
    power = statistics(frames)[NOT_FOR_RATES:].reshape(RATES, GROUPS, -1)
    assert (power[:, 2].argmax(0) == number).all()
    assert (power[number].argmax(0) == 2).all()


def test_the_level_tells_nothing() -> None:
    torch.testing.assert_close(statistics(heard(304)), statistics(heard(304) + 0.7), atol=1e-4, rtol=1e-3)


def test_columns_near_an_end_have_what_the_nearest_context_has() -> None:
    found = statistics(heard(304))
    assert found.shape == (NOT_FOR_RATES + RATES * GROUPS, 10)
    for column, nearest in ((0, 2), (1, 2), (7, 6), (9, 6)):
        torch.testing.assert_close(found[:, column], found[:, nearest])
    assert (found[:, 2] != found[:, 3]).any()


@pytest.mark.parametrize("frames", [8, 16, 104, 160, 168, 304, 624])
def test_any_length_has_statistics_of_every_column(frames: int) -> None:
    for sound in (heard(frames), torch.full((1, frames, BANDS), -1.76)):
        found = statistics(sound)
        assert found.shape == (300, -(-frames // 32))
        assert found.isfinite().all()
        assert found.abs().max() < 50


@pytest.mark.parametrize(("bands", "column", "message"), [(60, 32, "n_mels"), (16, 32, "n_mels"), (64, 48, "column")])
def test_what_cannot_be_divided_is_refused(bands: int, column: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Textures(bands, column_frames=column)


def test_frames_of_other_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mels = 64 were given frames of 128 bands"):
        statistics(torch.zeros(1, 32, 128))


def test_statistics_are_hidden_while_the_network_learns_and_standardised_after() -> None:
    network = settled()
    images = torch.cat([heard(304, seed) for seed in range(32)]).transpose(1, 2).unsqueeze(1)
    count = network.textures.count
    with torch.no_grad():
        shown = network.columns(network(images))[..., -count:]
        hidden = network.train().columns(network(images))[..., -count:]
    assert not hidden.any()
    assert shown.abs().max() <= 3
    torch.testing.assert_close(shown.mean((0, 1)), torch.zeros(count), atol=0.35, rtol=0)
    assert shown.std((0, 1)).median() == pytest.approx(1, abs=0.1)


def test_a_student_learns_nothing_through_them() -> None:
    network = settled().train()
    network.columns(network(heard(304).repeat(2, 1, 1).transpose(1, 2).unsqueeze(1))).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_in_a_stream_every_window_is_what_it_is_alone(tmp_path: Path, engine: str) -> None:
    student = load_student(bundle_of(settled(), tmp_path), engine=engine)
    frames = log_mel(seeded().audio(14, RATE, 3), MEL)
    streamed = student.stream(3)
    assert isinstance(streamed, LocalStream)
    ours, theirs = streamed.push(frames), WindowedStream(student.spec, student.infer, 3).push(frames)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-4)
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)


def test_engines_agree_at_lengths_that_no_fold_divides(tmp_path: Path) -> None:
    bundle = bundle_of(settled(), tmp_path)
    ours, theirs = load_student(bundle, engine="onnx"), load_student(bundle, engine="torch")
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    for length in (9, 100, 311, 621):
        a, b = ours.infer(frames[:length]), theirs.infer(frames[:length])
        np.testing.assert_allclose(a.embedding, b.embedding, atol=1e-3)
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-3)
