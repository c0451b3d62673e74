from pathlib import Path

import numpy as np
import pytest
import soundfile

from training.annotations import (
    Annotated,
    Heard,
    annotated_recordings,
    annotation_path,
    merged,
    named,
    read_annotations,
    write_annotations,
)
from training.errors import ManifestError

BARKS = (Heard(0.25, 1.5, "Dog bark"), Heard(1.0, 2.0, "Dog bark"), Heard(0.5, 0.75, "Siren"))


def test_annotations_survive_being_written(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.tsv", BARKS)
    assert read_annotations(tmp_path / "a.tsv") == tuple(sorted(BARKS))
    assert (tmp_path / "a.tsv").read_text().splitlines()[:2] == [
        "onset\toffset\tlabel",
        "0.250000\t1.500000\tDog bark",
    ]


def test_times_are_exact_to_the_sample(tmp_path: Path) -> None:
    write_annotations(tmp_path / "a.tsv", [Heard(1234567 / 48_000, 7654321 / 48_000, "x")])
    (read,) = read_annotations(tmp_path / "a.tsv")
    assert (round(read.onset * 48_000), round(read.offset * 48_000)) == (1234567, 7654321)


def test_other_columns_and_the_name_event_label_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("filename\tonset\toffset\tevent_label\nx.wav\t1\t2\tSiren\n")
    assert read_annotations(tmp_path / "a.tsv") == (Heard(1.0, 2.0, "Siren"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("onset\tlabel\n1\tSiren\n", "found no offset"),
        ("", "found no onset"),
        ("onset\toffset\tlabel\n1\t2\tSiren\n2\t1\tSiren\n", "line 3: need 0 <= onset < offset"),
        ("onset\toffset\tlabel\nx\t2\tSiren\n", "line 2: could not convert"),
        ("onset\toffset\tlabel\n1\t2\n", "line 2: need a label"),
        ("onset\toffset\tlabel\nnan\t2\tSiren\n", "line 2: need 0 <="),
    ],
)
def test_malformed_annotations_are_refused_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(ManifestError, match=said):
        read_annotations(tmp_path / "a.tsv")


def test_recordings_are_found_with_what_is_heard_in_them(tmp_path: Path) -> None:
    for name in ("b.wav", "below/a.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(100), 8000)
        write_annotations(annotation_path(path), BARKS[:1])
    found = annotated_recordings(tmp_path)
    assert [recording.audio.name for recording in found] == ["b.wav", "a.flac"]
    assert found[0].heard == BARKS[:1]


def test_recording_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="found no audio"):
        annotated_recordings(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    with pytest.raises(ManifestError, match=r"a\.tsv: No such file"):
        annotated_recordings(tmp_path)


def test_without_annotations_nothing_is_heard_where_none_are_demanded(tmp_path: Path) -> None:
    for name in ("quiet.wav", "dog.wav"):
        (tmp_path / name).touch()
    write_annotations(tmp_path / "dog.tsv", [Heard(1.0, 2.0, "Dog bark")])
    found = annotated_recordings(tmp_path, demanded=False)
    assert [len(one.heard) for one in found] == [1, 0]


def test_labels_may_be_written_as_programs_write_them(tmp_path: Path) -> None:
    recording = Annotated(tmp_path / "a.wav", (Heard(0, 1, "dog_bark"), Heard(1, 2, "Siren")))
    (one,) = named([recording], ["Dog bark", "Siren"])
    assert [event.label for event in one.heard] == ["Dog bark", "Siren"]
    with pytest.raises(ManifestError, match=r"a\.tsv: 'Siren' is no label of the student; known: dog_bark"):
        named([recording], ["Dog bark"])
    with pytest.raises(ManifestError, match=r"a\.tsv: 'Siren' is no label of the student; it has none: put a head"):
        named([recording], [])


def test_what_overlaps_or_follows_soon_is_one_sound() -> None:
    heard = [*BARKS, Heard(2.5, 3.0, "Dog bark")]
    assert merged(heard, "Dog bark") == [(0.25, 2.0), (2.5, 3.0)]
    assert merged(heard, "Dog bark", 0.5) == [(0.25, 3.0)]
    assert merged(heard, "Rain") == []


@pytest.mark.parametrize("wrong", [(-1.0, 1.0, "x"), (1.0, 1.0, "x"), (0.0, float("inf"), "x"), (0.0, 1.0, "a\tb")])
def test_impossible_sounds_are_refused(wrong: tuple[float, float, str]) -> None:
    with pytest.raises(ValueError, match="need"):
        Heard(*wrong)
