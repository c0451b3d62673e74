"""Statistics of textures: as numpy says, whatever the level, the same in a stream; hidden while a network learns."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssondo_stream import load_student
from ssondo_stream.bundle import Architecture, Label, StudentSpec
from ssondo_stream.errors import BundleError
from ssondo_stream.loading import Engine
from ssondo_stream.mel import MelConfig, log_mel
from ssondo_stream.students import ColumnTagger, MobileNetV3, classifier
from ssondo_stream.students.contexts import CONTEXT_FRAMES
from ssondo_stream.students.export import put_beside, write_bundle
from ssondo_stream.students.rhythms import LAGS, PATCH, RATES, SCALES, STEPS
from ssondo_stream.students.textured import TexturedMobileNetV3
from ssondo_stream.students.textures import StandardTextures, Textures
from ssondo_stream.windowed import LocalStream
from tests.parts_shared import seeded

Values = NDArray[np.float64]
MEL = MelConfig(n_mels=64, offset=1e-6, mean=-5.0, std=5.0)
RATE = MEL.sample_rate
BANDS, CEPSTRA, GROUPS, SPEEDS = 64, 20, 8, 6
NOT_FOR_RATES = 3 * (BANDS + CEPSTRA)
SHAPES = NOT_FOR_RATES + SPEEDS * GROUPS
CHANGES = SHAPES + BANDS
RHYTHM = CHANGES + len(STEPS) * 2 * GROUPS
MODULATIONS = RHYTHM + (GROUPS + 1) * (len(LAGS) - 1)
COUNT = MODULATIONS + 2 * (len(RATES) - 1) * (len(SCALES) - 1)
FIRST, LAST = 5, 14  # columns of ten seconds whose contexts are whole
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


def images() -> list[Tensor]:
    """Batches [8, 1, 64, 304] of sounds."""
    return [torch.cat([heard(304, 10 * seed + i) for i in range(8)]).transpose(1, 2).unsqueeze(1) for seed in range(8)]


@torch.no_grad()
def settled() -> TexturedMobileNetV3:
    """A network that knows what is usual."""
    torch.manual_seed(0)
    network = TexturedMobileNetV3(**OPTIONS, momentum=0.1).train()
    network.usual.momentum = None  # the mean of what follows
    for batch in images():
        network.batches.zero_()  # only some batches count
        network(batch)
    return network.eval()


def bundle_of(network: TexturedMobileNetV3, folder: Path, *, apart: bool = True) -> Path:
    """A student with three labels, and weights for torch; its head sees the statistics unless they are apart."""
    torch.manual_seed(1)
    head = classifier(network.embedding_dim, 3)
    if apart:
        head.weight.data[:, network.learnt_dim :] = 0  # type: ignore[union-attr, index]  # a linear layer
    student = ColumnTagger(network, head).eval()
    labels = (Label("A"), Label("B"), Label("C"))
    architecture = Architecture("textured_mobilenetv3", OPTIONS)
    write_bundle(
        student, folder, StudentSpec("textured", labels, network.embedding_dim, MEL, architecture=architecture)
    )
    return folder


def test_moments_are_those_of_the_context_of_each_column() -> None:
    frames, begin = heard(624), 3 * 32
    beyond = frames[0, begin : begin + CONTEXT_FRAMES + 1].double().numpy()  # the last step leads out of the context
    context = beyond[:-1]
    found = statistics(frames)[:, 3 + FIRST].double().numpy()
    mean, deviation, change = context.mean(0), context.std(0), np.diff(beyond, axis=0).std(0)
    np.testing.assert_allclose(found[:BANDS], mean - mean.mean(), atol=1e-5)
    np.testing.assert_allclose(found[84 : 84 + BANDS], deviation, rtol=5e-3)
    np.testing.assert_allclose(found[168 : 168 + BANDS], change, rtol=5e-3)


def test_silence_between_sounds_counts_for_nothing() -> None:
    """As without it, but for the few frames where one begins."""
    frames = heard(CONTEXT_FRAMES)
    silent = frames.clone()
    silent[:, ::4] = -3.0
    kept = frames[0, torch.arange(CONTEXT_FRAMES) % 4 != 0].double().numpy()
    found = statistics(silent)[:, 0].double().numpy()
    np.testing.assert_allclose(found[:BANDS], kept.mean(0) - kept.mean(), atol=0.02)
    np.testing.assert_allclose(found[84 : 84 + BANDS], kept.std(0), rtol=0.05)


@pytest.mark.parametrize(("rate", "number"), [(0.3, 0), (0.7, 1), (1.2, 2), (2.0, 3), (3.2, 4), (6.0, 5)])
def test_a_fluctuation_has_most_power_at_its_rate(rate: float, number: int) -> None:
    frames = torch.randn(1, 624, BANDS, generator=torch.manual_seed(0)) * 0.01
    frames[0, :, 16:24] += 0.5 * torch.sin(2 * torch.pi * rate * torch.arange(624) / FRAMES_A_SECOND)[:, None]
    power = statistics(frames)[NOT_FOR_RATES:SHAPES].reshape(SPEEDS, GROUPS, -1)
    assert (power[:, 2].argmax(0) == number).all()
    assert (power[number].argmax(0) == 2).all()


def test_shapes_tell_what_is_loud_now_and_then() -> None:
    context = heard(624)[0, :CONTEXT_FRAMES, ::2].double().numpy()
    found = statistics(heard(624))[SHAPES:CHANGES, FIRST].double().numpy()
    variance = context.var(0) + 1e-3
    skewness, kurtosis = (((context - context.mean(0)) ** power).mean(0) / variance ** (power / 2) for power in (3, 4))
    np.testing.assert_allclose(found, np.concatenate([skewness, kurtosis]), atol=1e-3)


def test_changes_are_those_within_each_step() -> None:
    frames = heard(624)
    groups = frames[0].double().numpy().reshape(624, 2 * GROUPS, -1).mean(2)
    steps = [groups[step : CONTEXT_FRAMES + step] - groups[:CONTEXT_FRAMES] for step in STEPS]
    expected = [0.5 * np.log((step**2).mean(0) + 1e-4) for step in steps]
    found = statistics(frames)[CHANGES:RHYTHM, FIRST].double().numpy()
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


def test_rhythm_is_how_much_a_change_is_like_a_later_one() -> None:
    frames = heard(624)
    values = frames[0].double().numpy()
    groups = np.concatenate([values.reshape(624, GROUPS, -1).mean(2), values.mean(1, keepdims=True)], axis=1)
    change = np.diff(groups, axis=0, prepend=groups[:1])
    now = change[:CONTEXT_FRAMES]
    alike = {lag: (now * change[lag : lag + CONTEXT_FRAMES]).sum(0) for lag in range(LAGS[0], LAGS[-1])}
    energy = (now**2).sum(0) + 3e-6 * CONTEXT_FRAMES
    expected = [max_of(alike, low, high) / energy for low, high in pairwise(LAGS)]
    found = statistics(frames)[RHYTHM:MODULATIONS, FIRST].double().numpy()
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)


def max_of(alike: dict[int, Values], low: int, high: int) -> Values:
    return np.asarray(np.max([alike[lag] for lag in range(low, high)], axis=0), np.float64)


def test_a_beat_is_like_itself_a_beat_later() -> None:
    frames = torch.zeros(1, 624, BANDS)
    frames[0, ::22] = 1.0
    found = statistics(frames)[RHYTHM:MODULATIONS, FIRST].reshape(len(LAGS) - 1, GROUPS + 1)
    ranges = list(pairwise(LAGS))
    once, twice = ranges.index((20, 25)), ranges.index((40, 50))
    assert (found[[once, twice]] > 0.9).all()
    assert (found[[i for i in range(len(ranges)) if i not in (once, twice)]] < 0.1).all()


def test_modulations_are_powers_of_a_fourier_transform_over_bands_and_time() -> None:
    frames = heard(624)
    values = frames[0].double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(PATCH) / PATCH)
    power = np.zeros((PATCH, BANDS))
    starts = range(0, CONTEXT_FRAMES - PATCH + 1, 16)
    for start in starts:
        patch = values[start : start + PATCH]
        power += np.abs(np.fft.fft2((patch - patch.mean(0)) * window[:, None])) ** 2 / len(starts)
    expected = [
        np.log(power[np.ix_(way * np.arange(*rates) % PATCH, np.arange(*scales))].mean() + 4e-5)
        for way in (1, -1)
        for scales in pairwise(SCALES)
        for rates in pairwise(RATES)
    ]
    np.testing.assert_allclose(statistics(frames)[MODULATIONS:, FIRST].double().numpy(), expected, atol=2e-3)


def test_what_rises_is_told_from_what_falls() -> None:
    time, band = torch.arange(624)[:, None], torch.arange(BANDS)
    both = [torch.sin(2 * torch.pi * (4 * band / BANDS - way * 4 * time / PATCH))[None] for way in (1, -1)]
    ways = [statistics(sweep)[MODULATIONS:, FIRST].reshape(2, -1).amax(1) for sweep in both]
    assert ways[0].argmax() != ways[1].argmax()
    assert all((way.max() - way.min()) > 5 for way in ways)


def test_the_level_tells_nothing() -> None:
    torch.testing.assert_close(statistics(heard(624)), statistics(heard(624) + 0.7), atol=1e-3, rtol=1e-3)


def test_columns_near_an_end_have_what_the_nearest_context_has() -> None:
    found = statistics(heard(624))
    assert found.shape == (COUNT, 20)
    for column, nearest in ((0, FIRST), (FIRST - 1, FIRST), (LAST + 1, LAST), (19, LAST)):
        torch.testing.assert_close(found[:, column], found[:, nearest])
    assert (found[:, FIRST] != found[:, FIRST + 1]).any()


@pytest.mark.parametrize("frames", [8, 16, 104, 160, 168, 304, 624])
def test_any_length_has_statistics_of_every_column(frames: int) -> None:
    for sound in (heard(frames), torch.full((1, frames, BANDS), -1.76)):
        found = statistics(sound)
        assert found.shape == (COUNT, -(-frames // 32))
        assert found.isfinite().all()
        assert found.abs().max() < CONTEXT_FRAMES  # the kurtosis of a single loud frame


@pytest.mark.parametrize(
    ("bands", "column", "message"), [(60, 32, "n_mels"), (16, 32, "n_mels"), (64, 48, "column"), (64, 8, "16 divides")]
)
def test_what_cannot_be_divided_is_refused(bands: int, column: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Textures(bands, column_frames=column)


def test_frames_of_other_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="n_mels = 64 were given frames of 128 bands"):
        statistics(torch.zeros(1, 32, 128))


def test_statistics_are_hidden_while_the_network_learns_and_standardised_after() -> None:
    network, sounds = settled(), torch.cat(images())
    count = network.textures.count
    with torch.no_grad():
        shown = network.columns(network(sounds))[..., -count:]
        hidden = network.train().columns(network(sounds))[..., -count:]
    assert not hidden.any()
    assert shown.abs().max() <= 3
    torch.testing.assert_close(shown.mean((0, 1)), torch.zeros(count), atol=0.35, rtol=0)
    assert shown.std((0, 1)).median() == pytest.approx(1, abs=0.1)


def test_a_student_learns_nothing_through_them() -> None:
    network = settled().train()
    network.columns(network(heard(304).repeat(2, 1, 1).transpose(1, 2).unsqueeze(1))).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("engine", ["onnx", "openvino", "torch"])
@pytest.mark.parametrize("apart", [True, False])
def test_engines_agree_at_lengths_that_no_column_divides(tmp_path: Path, engine: Engine, apart: bool) -> None:
    network = settled()
    student = load_student(bundle_of(network, tmp_path, apart=apart), engine=engine)
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    for length in (9, 100, 311, 621):
        found = student.infer(frames[:length])
        image = torch.from_numpy(frames[:length]).T[None, None]
        with torch.no_grad():
            expected = network.columns(network(image)).mean(1)[0]
        np.testing.assert_allclose(found.embedding, expected.numpy(), rtol=1e-3, atol=1e-3)
    assert bool(student.spec.local) == (student.spec.computed_dim == COUNT) == apart


@pytest.mark.parametrize("engine", ["onnx", "openvino", "torch"])
def test_in_a_stream_every_window_is_what_it_is_alone(tmp_path: Path, engine: Engine) -> None:
    bundle = bundle_of(settled(), tmp_path)
    whole, quick = load_student(bundle, engine=engine), load_student(bundle, engine=engine, scores_only=True)
    frames = log_mel(seeded().audio(14, RATE, 3), MEL)
    streamed = quick.stream(3)
    assert isinstance(streamed, LocalStream)
    ours, theirs = streamed.push(frames), whole.stream(3).push(frames)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.embedding, b.embedding[: len(a.embedding)], atol=1e-4)
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)
        assert len(b.embedding) == len(a.embedding) + COUNT == whole.spec.embedding_dim


def test_scores_alone_need_no_statistics_where_the_head_does_not_see_them(tmp_path: Path) -> None:
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    for apart in (True, False):
        folder = bundle_of(settled(), tmp_path / str(apart), apart=apart)
        whole, quick = load_student(folder).infer(frames), load_student(folder, scores_only=True).infer(frames)
        np.testing.assert_array_equal(whole.logits, quick.logits)
        assert len(whole.embedding) - len(quick.embedding) == (COUNT if apart else 0)


def test_statistics_are_put_beside_a_finished_student(tmp_path: Path) -> None:
    """Its scores stay, to the bit; embeddings end with what is said of the whole window."""
    plain, count = tmp_path / "plain", Textures(BANDS).count
    network = MobileNetV3(**OPTIONS).eval()
    student = ColumnTagger(network, classifier(network.embedding_dim, 2)).eval()
    spec = StudentSpec("plain", (Label("A"), Label("B")), network.embedding_dim, MEL)
    write_bundle(student, plain, spec, {"MODEL_CARD.md": b"old", "CREDITS.csv": b"kept"})
    standard = StandardTextures(torch.linspace(-1, 1, count), torch.full((count,), 2.0))
    assert put_beside(plain, standard, count, tmp_path / "both", {"MODEL_CARD.md": b"new"}) < 1e-3
    assert (tmp_path / "both" / "MODEL_CARD.md").read_bytes() == b"new"
    assert (tmp_path / "both" / "CREDITS.csv").read_bytes() == b"kept"
    before, after = load_student(plain), load_student(tmp_path / "both")
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    old, new = before.infer(frames), after.infer(frames)
    np.testing.assert_array_equal(new.logits, old.logits)
    np.testing.assert_array_equal(new.embedding[:-count], old.embedding)
    with torch.no_grad():
        expected = standard(torch.from_numpy(frames)[None]).mean(1)[0]
    np.testing.assert_allclose(new.embedding[-count:], expected.numpy(), atol=1e-3)
    with pytest.raises(BundleError, match="a computed part of 748 dimensions already"):
        put_beside(tmp_path / "both", standard, count, tmp_path / "twice")


def test_a_bundle_without_its_statistics_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(settled(), tmp_path)
    described = json.loads((bundle / "bundle.json").read_text())
    del described["files"]["computed.onnx"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match=r"must list computed\.onnx"):
        load_student(bundle)
    described["computed_dim"] = described["embedding_dim"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="computed_dim < embedding_dim"):
        load_student(bundle)
