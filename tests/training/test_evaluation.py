from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssondo_stream.bundle import StudentSpec
from ssondo_stream.windowed import WindowedStream
from tests.training.parts_streams import RATE, Fickle, bursts
from training.annotations import Heard, annotated_recordings, annotation_path, write_annotations
from training.errors import AudioFileError, SettingsError
from training.evaluation import EvaluationError, evaluate, read_scores, score_recordings
from training.report import PLOT_FILE, write_report
from training.stream_metrics import MetricSettings
from training.stream_scores import StreamSettings, score_file


class Counting(Fickle):
    """Counts its streams, one a recording."""

    streams = 0

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        self.streams += 1
        return super().stream(hop_columns)


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Two recordings of which the second is a negative."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, heard in enumerate(([Heard(3.0, 5.0, "Loud")], [])):
        path = folder / f"{number}.wav"
        soundfile.write(path, bursts(number, 12), RATE, subtype="FLOAT")
        write_annotations(annotation_path(path), heard)
    return folder


def test_recordings_are_scored_once(audio: Path, tmp_path: Path) -> None:
    student, found = Counting(2.0), annotated_recordings(audio)
    first = score_recordings(student, found, tmp_path / "scores", progress=False)
    again = score_recordings(student, found, tmp_path / "scores", progress=False)
    assert student.streams == 2
    assert [recording.name for recording in again] == ["0.wav", "1.wav"]
    assert [len(recording.heard) for recording in again] == [1, 0]
    direct = score_file(Fickle(2.0), found[1].audio)
    for scores in (first[1].scores, again[1].scores):
        np.testing.assert_array_equal(scores.means, direct.means)
        np.testing.assert_array_equal(scores.ready, direct.ready)
        assert replace(scores, means=0, ready=0, settled=0) == replace(direct, means=0, ready=0, settled=0)


def test_frames_are_kept_for_a_verifier(audio: Path, tmp_path: Path) -> None:
    """Also where scores were kept before there was one."""
    found, direct = annotated_recordings(audio), score_file(Fickle(verifies=True), audio / "0.wav")
    score_recordings(Fickle(), found, tmp_path / "scores", progress=False)
    for student, streams in ((Counting(verifies=True), 2), (Counting(verifies=True), 0)):
        first, _ = score_recordings(student, found, tmp_path / "scores", progress=False)
        assert student.streams == streams
        assert first.scores.verdicts and direct.verdicts
        np.testing.assert_array_equal(first.scores.verdicts.frames, direct.verdicts.frames)
        np.testing.assert_array_equal(first.scores.verdicts.of(3.0, 5.0), direct.verdicts.of(3.0, 5.0))
    score_recordings(Counting(verifies=True), found, tmp_path / "unverified", verified=False, progress=False)
    assert not list((tmp_path / "unverified").glob("*.frames.npy"))
    (tmp_path / "scores" / "00000.frames.npy").write_bytes(b"no frames")
    with pytest.raises(EvaluationError, match=r"00000\.frames\.npy: missing or damaged frames"):
        score_recordings(Fickle(verifies=True), found, tmp_path / "scores", progress=False)


class Interrupted(Fickle):
    """Somebody presses Ctrl-C at its second recording."""

    begun = False

    def stream(self, hop_columns: int = 1) -> WindowedStream:
        if self.begun:
            raise KeyboardInterrupt
        self.begun = True
        return super().stream(hop_columns)


def test_run_that_was_cut_off_goes_on(audio: Path, tmp_path: Path) -> None:
    found, student = annotated_recordings(audio), Counting()
    with pytest.raises(KeyboardInterrupt):
        score_recordings(Interrupted(), found, tmp_path / "scores", progress=False)
    assert len(score_recordings(student, found, tmp_path / "scores", progress=False)) == 2
    assert student.streams == 1


def test_recording_that_cannot_be_streamed_is_named(audio: Path, tmp_path: Path) -> None:
    found = annotated_recordings(audio)
    found[1].audio.write_bytes(bytes(found[1].audio.stat().st_size))
    with pytest.raises(AudioFileError, match=r"1\.wav: cannot be streamed"):
        score_recordings(Fickle(), found, tmp_path / "scores", progress=False)


def test_recordings_made_anew_under_the_same_names_are_not_taken_for_the_old_ones(audio: Path, tmp_path: Path) -> None:
    score_recordings(Fickle(), annotated_recordings(audio), tmp_path / "scores", progress=False)
    before = (audio / "0.wav").stat().st_size
    soundfile.write(audio / "0.wav", bursts(7, 12), RATE, subtype="FLOAT")
    assert (audio / "0.wav").stat().st_size == before
    with pytest.raises(SettingsError, match="recordings_sha256"):
        score_recordings(Fickle(), annotated_recordings(audio), tmp_path / "scores", progress=False)


@pytest.mark.parametrize("other", ["student", "hop_columns", "recordings"])
def test_scores_of_something_else_are_not_mixed_in(audio: Path, tmp_path: Path, other: str) -> None:
    student, found = Fickle(), annotated_recordings(audio)
    score_recordings(student, found[:1], tmp_path / "scores", progress=False)
    settings = StreamSettings(hop_columns=2) if other == "hop_columns" else None
    if other == "student":
        student.spec = StudentSpec("another", student.spec.labels, 1)
    with pytest.raises(SettingsError, match=other):
        score_recordings(student, found if other == "recordings" else found[:1], tmp_path / "scores", settings)


def test_damaged_scores_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "00000.npz").write_bytes(b"PK")
    for name in ("00000.npz", "absent.npz"):
        with pytest.raises(EvaluationError, match=name):
            read_scores(tmp_path / name)


def test_evaluation_goes_from_recordings_to_a_report(audio: Path, tmp_path: Path) -> None:
    student = Fickle()
    scored = score_recordings(student, annotated_recordings(audio), tmp_path / "scores", progress=False)
    evaluation = evaluate("Fickle", scored, student.spec.labels, MetricSettings(resamples=20), facts={"seed": "0"})
    write_report(tmp_path / "report", evaluation)
    assert evaluation.streams
    assert evaluation.streams.negative_hours == pytest.approx(12 / 3600)
    assert list(evaluation.curves) == ["Loud", "Quiet"]
    assert (tmp_path / "report" / PLOT_FILE).stat().st_size > 10_000
