from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from ssondo_stream import get_ssondo, load_student, log_mel
from ssondo_stream.bundle import WEIGHTS_FILE, load_spec
from ssondo_stream.checksum import sha256_of
from ssondo_stream.convert import CARD_FILE, convert
from ssondo_stream.errors import BundleError, CheckpointError
from ssondo_stream.students.projection import PROJECTION_FILE
from tests.parts_checkpoints import SMALL, audio, one_threaded, small, write_checkpoint, write_head

DIM = 96


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    yield from one_threaded()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small checkpoints and heads for them."""
    folder = tmp_path_factory.mktemp("published")
    for name in SMALL:
        write_checkpoint(folder / f"{name}.ckpt", small(name))
    write_head(folder / "esc50.pth", 50, DIM)
    write_head(folder / "own.pth", 3, DIM)
    return folder


@pytest.fixture(scope="module")
def bundle(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with a published head, converted."""
    out = tmp_path_factory.mktemp("bundles") / "dogs"
    convert(files / "mn.ckpt", out, head=files / "esc50.pth")
    return out


def test_bundle_keeps_what_it_was_made_from(files: Path, bundle: Path) -> None:
    spec = load_spec(bundle)
    assert spec.source == {
        "file": "mn.ckpt",
        "sha256": sha256_of(files / "mn.ckpt"),
        "head_file": "esc50.pth",
        "head_sha256": sha256_of(files / "esc50.pth"),
    }
    card = (bundle / CARD_FILE).read_text()
    assert card.startswith("# dogs\n")
    assert all(value in card for value in spec.source.values())


def test_bundle_has_the_labels_and_activation_of_its_head(bundle: Path) -> None:
    spec = load_spec(bundle)
    assert (spec.name, len(spec.labels), spec.activation) == ("dogs", 50, "softmax")
    assert (spec.labels[0].name, spec.labels[0].ontology_id) == ("Dog", "/m/0bt9lr")
    assert (spec.embedding_dim, spec.window_frames, spec.column_frames) == (DIM, 624, 32)


def test_bundle_says_what_the_checkpoint_says(files: Path, bundle: Path) -> None:
    clip = audio(10, 1)
    found = load_student(bundle).infer(log_mel(clip.numpy()))
    with torch.inference_mode():
        logits, embedding = get_ssondo(files / "mn.ckpt", head=files / "esc50.pth", return_logits=True)(clip)
    np.testing.assert_allclose(found.embedding, embedding[0].numpy(), rtol=0, atol=1e-4 * embedding.abs().max().item())
    np.testing.assert_allclose(found.logits.mean(0), logits[0].numpy(), rtol=0, atol=1e-4 * logits.abs().max().item())


def test_bundle_gives_the_published_interface_all_that_the_checkpoint_does(files: Path, bundle: Path) -> None:
    clip = audio(12, 1)
    for head, own in ((None, None), (files / "esc50.pth", "bundle")):
        expected, ours = (
            get_ssondo(at, head=h, return_logits=True) for at, h in ((files / "mn.ckpt", head), (bundle, own))
        )
        with torch.inference_mode():
            for theirs, same in zip(expected(clip), ours(clip), strict=True):
                torch.testing.assert_close(same, theirs)
        assert ours.labels == expected.labels


@pytest.mark.parametrize("name", SMALL)
def test_checkpoint_without_a_head_becomes_a_bundle_of_embeddings(files: Path, tmp_path: Path, name: str) -> None:
    spec = convert(str(files / f"{name}.ckpt"), tmp_path / "plain")
    assert spec.labels == ()
    found = load_student(tmp_path / "plain").infer(log_mel(audio(2, 1).numpy()))
    assert found.embedding.shape == (spec.embedding_dim,)
    assert found.logits.shape[1] == 0
    assert (tmp_path / "plain" / WEIGHTS_FILE).is_file()
    assert (tmp_path / "plain" / PROJECTION_FILE).is_file()
    with pytest.raises(BundleError, match="there is none here"):
        get_ssondo(tmp_path / "plain", head="bundle")


def test_labels_of_a_file_name_the_classes(files: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("name,ontology_id\nDog,/m/0bt9lr\nSiren,\nMy door,\n")
    spec = convert(files / "mn.ckpt", tmp_path / "own", head=files / "own.pth", labels=tmp_path / "labels.csv")
    assert [(label.name, label.ontology_id) for label in spec.labels] == [
        ("Dog", "/m/0bt9lr"),
        ("Siren", ""),
        ("My door", ""),
    ]
    assert spec.activation == "sigmoid"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("name\nA\nB\n", "has 2 labels, but the head has 3 classes"),
        ("name\nA\nB\nb\n", "labels must differ"),
        ("A\nB\nC\n", "expected a first line 'name'"),
    ],
)
def test_labels_that_do_not_fit_are_refused_and_nothing_is_written(
    files: Path, tmp_path: Path, labels: str, expected: str
) -> None:
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(CheckpointError, match=expected):
        convert(files / "mn.ckpt", tmp_path / "out", head=files / "own.pth", labels=tmp_path / "labels.csv")
    assert not (tmp_path / "out").exists()


def test_labels_without_a_head_are_a_mistake(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is none"):
        convert(files / "mn.ckpt", tmp_path / "out", labels=tmp_path / "labels.csv")


def test_folder_that_holds_something_is_left_alone(files: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists and is not empty"):
        convert(files / "mn.ckpt", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_head_of_another_width_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is for embeddings of 96 dimensions, but the student gives 512"):
        convert(files / "eres2net.ckpt", tmp_path / "out", head=files / "own.pth")


def test_published_head_on_another_student_is_refused(files: Path, tmp_path: Path) -> None:
    for head in ("esc50", files / "esc50.pth"):
        with pytest.raises(
            CheckpointError, match="was trained on matpac-mobilenetv3, so it says nothing about eres2net"
        ):
            convert(files / "eres2net.ckpt", tmp_path / "out", head=head)
