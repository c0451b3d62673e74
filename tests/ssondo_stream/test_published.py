from pathlib import Path

import pytest

from ssondo_stream.errors import CheckpointError
from ssondo_stream.published import HEADS, HEADS_FIT, MODELS, PublishedHead, list_heads, list_models, read_labels

SINGLE = {"gtzan", "nsynth", "esc50", "us8k"}
NAMED = {"esc50": 50, "fsd50k": 200, "openmic": 20}


def test_models_are_the_six_published_ones_of_which_one_is_uploaded() -> None:
    assert [name for name, model in MODELS.items() if model.uploaded] == ["matpac-mobilenetv3"] == [HEADS_FIT]
    assert list(list_models()) == [f"{t}-{s}" for t in ("matpac", "m2d") for s in ("mobilenetv3", "dymn", "eres2net")]
    assert all(model.file == f"{name.replace('-', '_')}.ckpt" for name, model in MODELS.items())
    assert "not uploaded" in list_models()["m2d-dymn"]
    assert "not uploaded" not in list_models()["matpac-mobilenetv3"]


def test_heads_are_the_seven_published_ones() -> None:
    classes = {"gtzan": 10, "openmic": 20, "nsynth": 11, "esc50": 50, "us8k": 10, "magna-tag-a-tune": 50, "fsd50k": 200}
    assert {name: head.classes for name, head in HEADS.items()} == classes
    assert all(head.file == f"heads/{name}.pth" for name, head in HEADS.items())
    assert set(list_heads()) == set(classes)


def test_clips_of_one_class_have_softmax_and_others_sigmoid() -> None:
    assert {name for name, head in HEADS.items() if head.activation == "softmax"} == SINGLE


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_labels_are_as_many_as_classes_and_differ(head: PublishedHead) -> None:
    labels = head.labels()
    assert len({label.slug for label in labels}) == head.classes
    assert head.ordered == (head.name in NAMED)
    assert ("not published" in head.description) == (labels[0].name == "Class 0")


@pytest.mark.parametrize("name", NAMED)
def test_ids_of_the_audioset_ontology_are_well_formed_and_differ(name: str) -> None:
    ids = [label.ontology_id for label in HEADS[name].labels() if label.ontology_id]
    assert len(ids) == len(set(ids))
    assert all(identifier.startswith(("/m/", "/t/dd")) for identifier in ids)
    assert len(ids) == {"esc50": 46, "fsd50k": 200, "openmic": 19}[name]


@pytest.mark.parametrize(
    ("head", "index", "name", "ontology_id"),
    [
        ("esc50", 0, "Dog", "/m/0bt9lr"),
        ("esc50", 11, "Sea waves", "/m/034srq"),
        ("esc50", 31, "Mouse click", ""),
        ("esc50", 49, "Hand saw", "/m/01b82r"),
        ("fsd50k", 0, "Accelerating and revving and vroom", "/m/07q2z82"),
        ("fsd50k", 7, "Bark", "/m/05tny_"),
        ("fsd50k", 146, "Screech", "/m/07q8k13"),
        ("fsd50k", 199, "Zipper (clothing)", "/m/01s0vc"),
        ("openmic", 0, "Accordion", "/m/0mkg"),
        ("openmic", 2, "Bass", ""),
        ("openmic", 18, "Violin", "/m/07y_7"),
    ],
)
def test_labels_stand_in_the_published_order(head: str, index: int, name: str, ontology_id: str) -> None:
    label = HEADS[head].labels()[index]
    assert (label.name, label.ontology_id) == (name, ontology_id)


def test_alphabetical_orders_are_alphabetical() -> None:
    for head in ("fsd50k", "openmic"):
        names = [label.name.replace(" ", "_") for label in HEADS[head].labels()]
        assert names == sorted(names)


def test_labels_of_a_file_need_names_alone(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("name\nDog bark\n Siren \n", encoding="utf-8")
    assert [(label.name, label.ontology_id) for label in read_labels(path)] == [("Dog bark", ""), ("Siren", "")]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read as CSV"),
        (b"", "expected a first line 'name' or 'name,ontology_id'"),
        (b"Dog bark\nSiren\n", "expected a first line 'name' or 'name,ontology_id'"),
        (b"name\nDog\n!!\n", "a label needs letters or digits, got '!!'"),
        (b"name\n\xff\xfe\n", "cannot be read as CSV"),
    ],
)
def test_labels_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "labels.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=expected) as error:
        read_labels(path)
    assert str(error.value).startswith(str(path))
