import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssondo_stream import BundleError, EngineError, load_student
from ssondo_stream.bundle import Label, StudentSpec, find_bundle, load_spec, slugify
from tests.parts_onnx import LABELS, tiny_bundle, tiny_network


def test_saved_bundle_loads_as_it_was(tmp_path: Path) -> None:
    spec = load_spec(tiny_bundle(tmp_path))
    assert (spec.name, spec.labels, spec.embedding_dim, spec.column) == ("tiny", LABELS, 128, 16_384)
    assert len(spec.network_sha256) == 64


def test_student_gives_a_row_for_each_column(tmp_path: Path) -> None:
    student = load_student(tiny_bundle(tmp_path))
    for frames, columns in [(1, 1), (16, 1), (32, 1), (33, 2), (48, 2), (624, 20)]:
        found = student.stream()._infer(np.zeros((frames, 128), np.float32))  # type: ignore[attr-defined]
        assert found.logits.shape == (columns, 2)
        assert found.embedding.shape == (128,)


def edit(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "bundle.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def append_to(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"x") and None


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (append_to("student.onnx"), r"student\.onnx: sha256 is .* the file was altered or is incomplete"),
        (append_to("MODEL_CARD.md"), r"MODEL_CARD\.md: sha256 is"),
        (append_to("bundle.json"), r"bundle\.json: not a readable JSON file"),
        (lambda folder: (folder / "student.onnx").unlink(), r"student\.onnx: cannot be read: No such file"),
        (edit(lambda d: d.update(format=2)), r'expected a JSON object with "format": 1'),
        (edit(lambda d: d.update(window="x")), r"unknown keys \['window'\]"),
        (edit(lambda d: d.pop("labels")), r"'labels' must be a JSON array"),
        (edit(lambda d: d.update(labels=["Dog"])), r".labels. must hold objects only"),
        (edit(lambda d: d.update(labels=[{"name": "Dog", "off": 0.9}])), r"need 0 <= off <= threshold"),
        (edit(lambda d: d.update(labels=[{"name": "Dog", "loud": 1}])), r"unexpected keyword argument 'loud'"),
        (edit(lambda d: d.update(labels=[{"name": "Dog"}, {"name": "dog"}])), r"labels must differ"),
        (edit(lambda d: d.update(files={})), r"'files' must list student\.onnx"),
        (edit(lambda d: d.update(files={"../x": "0"})), r"must be a plain name inside the bundle"),
        (edit(lambda d: d.update(mel={"hop": 0})), r"need 0 < hop <= n_fft"),
        (edit(lambda d: d.update(activation="relu")), r"activation must be"),
        (edit(lambda d: d.update(name=7)), r"StudentSpec\.name must be text, got 7"),
        (edit(lambda d: d.update(name="x" * 9999)), r"StudentSpec\.name must have at most 1000 characters"),
        (edit(lambda d: d.update(name="\ud800")), r"not a readable JSON file: .*surrogates not allowed"),
        (edit(lambda d: d.update(window_frames=624.5)), r"StudentSpec\.window_frames must be a whole number"),
        (edit(lambda d: d.update(window_frames=True)), r"must be a whole number, got True"),
        (edit(lambda d: d.update(window_frames=10**8)), r"need window_frames <= 100000"),
        (edit(lambda d: d.update(window_frames=10**400)), r"must be a number between -1e9 and 1e9"),
        (edit(lambda d: d.update(source={"file": 1})), r"the source must hold text alone"),
        (edit(lambda d: d.update(labels=[{"name": 3}])), r"Label\.name must be text"),
        (edit(lambda d: d.update(labels=[{"name": "Dog", "hold_seconds": float("inf")}])), r"Infinity is no number"),
        (
            edit(lambda d: d.update(local=[{"stride": 1, "reach": 1, "context": 0, "inputs": ["x"]}])),
            r"inputs must be a",
        ),
        (
            edit(lambda d: d.update(local=[{"stride": 1, "reach": 1, "context": 0, "outputs": 10**9}])),
            r"outputs <= 1000",
        ),
        (edit(lambda d: d.update(architecture={"name": "x", "options": [1]})), r"options must be a JSON object"),
        (edit(lambda d: d.update(architecture={"name": "x", "hidden_sizes": ["x"]})), r"hidden_sizes must be a whole"),
        (edit(lambda d: d.update(mel={"n_fft": 10**8, "hop": 1})), r"need n_fft <= 16384"),
        (edit(lambda d: d.update(files={"a\0b": "0"})), r"must be a plain name inside the bundle"),
        (lambda folder: (folder / "bundle.json").write_text("[" * 10**5) and None, r"not a readable JSON file"),
        (lambda folder: (folder / "bundle.json").write_text('{"x": 1e999}') and None, r"1e999 is too large a number"),
        (lambda folder: replace_by_pipe(folder / "MODEL_CARD.md"), r"MODEL_CARD\.md: cannot be read: .*regular file"),
        (edit(lambda d: d.update(embedding_dim=7)), r"the spec promises .*\(7,\).*the network gives"),
    ],
)
def test_damaged_bundle_names_the_file_and_what_is_wrong(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    tiny_bundle(tmp_path)
    damage(tmp_path)
    with pytest.raises(BundleError, match=said):
        load_student(tmp_path)


def test_network_that_is_no_network_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"student\.onnx: ONNX Runtime .* does not load it"):
        load_student(tiny_bundle(tmp_path, network=b"not a network"))


def test_network_of_other_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"the network gives \(2, 3\)"):
        load_student(tiny_bundle(tmp_path, network=tiny_network(labels=3)))


def test_unknown_bundle_lists_the_shipped_ones() -> None:
    with pytest.raises(BundleError, match=r"no bundle 'nothing': expected a folder with bundle.json"):
        find_bundle("nothing")


@pytest.mark.parametrize(("name", "slug"), [("Dog bark", "dog_bark"), (" A/C  unit!", "a_c_unit"), ("T-3", "t_3")])
def test_slug_is_lower_case_with_underscores(name: str, slug: str) -> None:
    assert slugify(name) == slug


@pytest.mark.parametrize("wrong", [{"name": "!"}, {"threshold": 0.9, "early": 0.8}, {"hold_seconds": -1}])
def test_impossible_label_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="label"):
        Label(**{"name": "Dog", **wrong})  # type: ignore[arg-type]


def test_columns_are_centred_on_their_first_frame() -> None:
    spec = StudentSpec(name="x", labels=LABELS, embedding_dim=1)
    assert (spec.column, spec.column_lead, spec.columns_in(624), spec.columns_in(16)) == (16_384, 7_680, 20, 1)
