from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssondo_stream.bundle import Architecture, Label, StudentSpec, load_spec
from ssondo_stream.checkpoint import read_head
from ssondo_stream.loading import load_student
from ssondo_stream.students import MobileNetV3, classifier
from ssondo_stream.students.export import write_bundle
from ssondo_stream.torch_student import load_tagger
from tests.training.parts_probe import LABELS, several
from training.probe import ProbeSettings, probe
from training.probe_data import ProbeError
from training.probe_fit import Recipe
from training.probe_head import (
    HEAD_FILE,
    PUBLISHED_FILE,
    Probe,
    load_probe,
    probe_labels,
    save_probe,
    with_probe,
)

OPTIONS = {"width_mult": 0.1}


def fitted(*hidden: int) -> Probe:
    recipe = Recipe(hidden_sizes=hidden, epochs=2)
    return probe(several(), ProbeSettings("multi", (recipe,), resamples=5)).probe


@pytest.mark.parametrize("hidden", [(), (8,), (8, 4)])
def test_probe_survives_being_saved(tmp_path: Path, hidden: tuple[int, ...]) -> None:
    saved = fitted(*hidden)
    save_probe(tmp_path / "probe", saved)
    loaded, rows = load_probe(tmp_path / "probe"), torch.randn(4, 6)
    assert torch.equal(loaded.head(rows), saved.head(rows))
    assert replace(loaded, head=saved.head) == saved
    assert (loaded.dim, loaded.activation) == (6, "sigmoid")


def test_linear_head_is_readable_by_the_published_package(tmp_path: Path) -> None:
    saved = fitted()
    save_probe(tmp_path, saved)
    content = torch.load(tmp_path / PUBLISHED_FILE, weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in content.items()} == {
        "probe.linear_probe.weight": (3, 6),
        "probe.linear_probe.bias": (3,),
    }
    assert torch.equal(read_head(tmp_path / PUBLISHED_FILE).weight, saved.head.weight)


def test_head_with_hidden_layers_has_no_published_layout(tmp_path: Path) -> None:
    save_probe(tmp_path, fitted(8))
    assert [path.name for path in tmp_path.iterdir()] == [HEAD_FILE]


@pytest.mark.parametrize("damage", ["absent", "text", "stranger", "shape"])
def test_what_is_no_head_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    save_probe(tmp_path, fitted())
    path = tmp_path / HEAD_FILE
    if damage == "absent":
        path.unlink()
    elif damage == "text":
        path.write_text("not a head")
    elif damage == "stranger":
        save_file(load_file(path), path)
    else:
        save_probe(tmp_path, replace(fitted(), labels=(*LABELS[:2], "a", "b"), thresholds=(0.5,) * 4))
    with pytest.raises(ProbeError, match=HEAD_FILE):
        load_probe(tmp_path)


def test_labels_have_the_probes_thresholds_and_keep_what_is_known_of_them() -> None:
    siren = Label("siren", 0.5, 0.3, 0.7, min_duration_seconds=2.0, ontology_id="/m/03kmc9")
    found = probe_labels(replace(fitted(), thresholds=(0.2, 0.5, 0.99)), [siren])
    assert [label.name for label in found] == list(LABELS)
    assert [label.threshold for label in found] == [0.2, 0.5, 0.99]
    assert all(label.off < label.threshold < label.early for label in found)
    assert (found[2].ontology_id, found[2].min_duration_seconds) == ("/m/03kmc9", 2.0)


@pytest.fixture(scope="module")
def backbone() -> MobileNetV3:
    """A tiny network with statistics and gates that matter."""
    torch.manual_seed(0)
    network = MobileNetV3(**OPTIONS, momentum=0.3)
    for _ in range(3):
        network(torch.randn(4, 1, 128, 80) - 4)
    return network.eval()


def spec_of(backbone: MobileNetV3) -> StudentSpec:
    return StudentSpec("base", (), backbone.embedding_dim, architecture=Architecture("mobilenetv3", OPTIONS))


@pytest.mark.parametrize(("task", "hidden"), [("single", ()), ("multi", (8,))])
def test_bundle_says_of_a_window_what_the_probe_says_of_its_embedding(
    backbone: MobileNetV3, tmp_path: Path, task: str, hidden: tuple[int, ...]
) -> None:
    torch.manual_seed(1)
    head = classifier(backbone.embedding_dim, 3, hidden)
    made = Probe(head, LABELS, task, hidden, (0.4, 0.5, 0.6))
    network, told = with_probe(backbone, made, spec_of(backbone))
    assert write_bundle(network, tmp_path / "probed", told) < 1e-4
    student = load_student(tmp_path / "probed")
    found = student.infer(np.random.default_rng(0).normal(-4, 1, (336, 128)).astype(np.float32))
    spec = student.spec
    assert (spec.name, spec.activation) == ("base", "softmax" if task == "single" else "sigmoid")
    assert [label.threshold for label in spec.labels] == [0.4, 0.5, 0.6]
    assert found.logits.shape == (11, 3)
    if not hidden:
        with torch.no_grad():
            expected = head(torch.from_numpy(found.embedding))
        np.testing.assert_allclose(found.logits.mean(0), expected, atol=1e-4)


def test_bundle_can_be_trained_on(backbone: MobileNetV3, tmp_path: Path) -> None:
    made = Probe(classifier(backbone.embedding_dim, 3, (8,)), LABELS, "multi", (8,), (0.5,) * 3)
    network, told = with_probe(backbone, made, spec_of(backbone))
    write_bundle(network, tmp_path / "probed", told, {"MODEL_CARD.md": b"# Card"})
    spec, student = load_tagger(tmp_path / "probed")
    assert spec.architecture
    assert spec.architecture.hidden_sizes == (8,)
    assert all(
        torch.equal(a, b)
        for a, b in zip(student.head.state_dict().values(), made.head.state_dict().values(), strict=True)
    )
    assert (tmp_path / "probed" / "MODEL_CARD.md").read_bytes() == b"# Card"
    assert load_spec(tmp_path / "probed").name == "base"


def test_probe_of_another_width_or_other_labels_is_refused(backbone: MobileNetV3) -> None:
    with pytest.raises(ProbeError, match="takes embeddings of 6, the network gives"):
        with_probe(backbone, fitted(), spec_of(backbone))
    right = Probe(classifier(backbone.embedding_dim, 3), LABELS, "multi", (), (0.5,) * 3)
    with pytest.raises(ProbeError, match="labels must be those of the probe"):
        with_probe(backbone, right, spec_of(backbone), [Label("bark")])


def test_thresholds_must_be_as_many_as_labels() -> None:
    with pytest.raises(ValueError, match="need a threshold a label"):
        replace(fitted(), thresholds=(0.5,))
