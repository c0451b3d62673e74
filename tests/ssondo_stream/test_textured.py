"""A network beside statistics: hidden while it learns, standardised after, apart in bundles and their streams."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ssondo_stream import load_student
from ssondo_stream.bundle import Architecture, Label, StudentSpec, load_spec
from ssondo_stream.errors import BundleError
from ssondo_stream.loading import Engine
from ssondo_stream.mel import log_mel
from ssondo_stream.students import ColumnTagger, MobileNetV3, classifier
from ssondo_stream.students.export import write_bundle
from ssondo_stream.students.export_computed import beside
from ssondo_stream.students.textured import TexturedMobileNetV3
from ssondo_stream.students.textures import StandardTextures, Textures
from ssondo_stream.windowed import LocalStream
from tests.parts_shared import seeded
from tests.ssondo_stream.test_textures import BANDS, COUNT, MEL, RATE, heard

OPTIONS = {"width_mult": 0.1}


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


@pytest.fixture(scope="module")
def network() -> TexturedMobileNetV3:
    """One that nobody changes."""
    return settled()


@pytest.fixture(scope="module")
def bundles(network: TexturedMobileNetV3, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Its bundles, with statistics that are apart and with those that the head sees."""
    folder = tmp_path_factory.mktemp("textured")
    return {apart: bundle_of(network, folder / str(apart), apart=apart) for apart in (True, False)}


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
def test_engines_agree_at_lengths_that_no_column_divides(
    network: TexturedMobileNetV3, bundles: dict[bool, Path], engine: Engine, apart: bool
) -> None:
    student = load_student(bundles[apart], engine=engine)
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    for length in (9, 100, 311, 621):
        found = student.infer(frames[:length])
        image = torch.from_numpy(frames[:length]).T[None, None]
        with torch.no_grad():
            expected = network.columns(network(image)).mean(1)[0]
        np.testing.assert_allclose(found.embedding, expected.numpy(), rtol=1e-3, atol=1e-3)
    assert bool(student.spec.local) == (student.spec.computed_dim == COUNT) == apart


@pytest.mark.parametrize("engine", ["onnx", "openvino", "torch"])
def test_in_a_stream_every_window_is_what_it_is_alone(bundles: dict[bool, Path], engine: Engine) -> None:
    whole, quick = (load_student(bundles[True], engine=engine, scores_only=only) for only in (False, True))
    frames = log_mel(seeded().audio(14, RATE, 3), MEL)
    streamed = quick.stream(3)
    assert isinstance(streamed, LocalStream)
    ours, theirs = streamed.push(frames), whole.stream(3).push(frames)
    assert len(ours) == len(theirs) > 0
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.embedding, b.embedding[: len(a.embedding)], atol=1e-4)
        np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)
        assert len(b.embedding) == len(a.embedding) + COUNT == whole.spec.embedding_dim


def test_scores_alone_need_no_statistics_where_the_head_does_not_see_them(bundles: dict[bool, Path]) -> None:
    frames = log_mel(seeded().audio(10, RATE, 1), MEL)
    for apart, folder in bundles.items():
        whole, quick = load_student(folder).infer(frames), load_student(folder, scores_only=True).infer(frames)
        np.testing.assert_array_equal(whole.logits, quick.logits)
        assert len(whole.embedding) - len(quick.embedding) == (COUNT if apart else 0)


def test_statistics_are_put_beside_a_finished_student(tmp_path: Path) -> None:
    """Its scores stay, to the bit; embeddings end with what is said of the whole window."""
    plain, count = tmp_path / "plain", Textures(BANDS).count
    network = MobileNetV3(**OPTIONS).eval()
    student = ColumnTagger(network, classifier(network.embedding_dim, 2)).eval()
    spec = StudentSpec("plain", (Label("A"), Label("B")), network.embedding_dim, MEL, source={"file": "x.ckpt"})
    write_bundle(student, plain, spec, {"MODEL_CARD.md": b"old", "CREDITS.csv": b"kept"})
    standard = StandardTextures(torch.linspace(-1, 1, count), torch.full((count,), 2.0))
    made = beside(plain, standard, count, {"MODEL_CARD.md": b"new"}, {"textures_sha256": "ab"})
    assert made.save(tmp_path / "both") < 1e-3
    assert load_spec(tmp_path / "both").source == {"file": "x.ckpt", "textures_sha256": "ab"}
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
        beside(tmp_path / "both", standard, count)


def test_a_bundle_without_its_statistics_is_refused(bundles: dict[bool, Path], tmp_path: Path) -> None:
    bundle = shutil.copytree(bundles[True], tmp_path / "damaged")
    described = json.loads((bundle / "bundle.json").read_text())
    del described["files"]["computed.onnx"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match=r"must list computed\.onnx"):
        load_student(bundle)
    described["computed_dim"] = described["embedding_dim"]
    (bundle / "bundle.json").write_text(json.dumps(described))
    with pytest.raises(BundleError, match="computed_dim < embedding_dim"):
        load_student(bundle)
