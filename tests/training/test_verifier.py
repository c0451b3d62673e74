"""Verifiers that are made of annotated recordings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssondo_stream.mel import log_mel
from ssondo_stream.onnx_student import OnnxVerifier
from ssondo_stream.spec import StudentSpec
from ssondo_stream.students.export_verifier import verifier_onnx
from tests.training.parts_verifier import LABELS, RATE, recordings
from training.annotations import Annotated, Heard
from training.errors import AudioFileError
from training.labels import OTHER
from training.teachers.textures import MEL
from training.verifier import Verifier, VerifierError, extents, fit_verifier, load_verifier


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Verifier, Path]:
    folder = tmp_path_factory.mktemp("verifier")
    return fit_verifier(recordings(folder, 25), LABELS, folder / "out", progress=False), folder / "out"


def test_verifier_speaks_for_what_is_heard_and_against_the_rest(made: tuple[Verifier, Path], tmp_path: Path) -> None:
    for recording in recordings(tmp_path, 6, seed=1):
        frames = log_mel(soundfile.read(recording.audio, dtype="float32")[0], MEL)
        for heard in recording.heard:
            part = frames[round(heard.onset * RATE / MEL.hop) : round(heard.offset * RATE / MEL.hop)]
            with torch.no_grad():
                evidence = made[0](torch.from_numpy(part)[None])[0]
            own = LABELS.index(heard.label)
            assert evidence[own] > 1 > -1 > evidence[1 - own]
        with torch.no_grad():
            nothing = made[0](torch.from_numpy(frames[-60:])[None])[0]
        assert (nothing < 0).all()


def test_verifier_is_read_as_it_was_written(made: tuple[Verifier, Path]) -> None:
    frames, again = torch.randn(2, 100, MEL.n_mels), load_verifier(made[1])
    with torch.no_grad():
        assert torch.equal(made[0](frames), again(frames))


def test_verifier_in_a_bundle_says_what_it_says_in_torch(made: tuple[Verifier, Path], tmp_path: Path) -> None:
    spec = StudentSpec("a", (), 1, mel=MEL)
    (tmp_path / "verifier.onnx").write_bytes(verifier_onnx(made[0], spec))
    frames = torch.randn(1, 200, MEL.n_mels)
    with torch.no_grad():
        expected = made[0](frames)[0].numpy()
    np.testing.assert_allclose(OnnxVerifier(tmp_path).run(frames[0].numpy()), expected, rtol=1e-3, atol=1e-3)


def test_evidence_is_the_log_odds_of_a_softmax(made: tuple[Verifier, Path]) -> None:
    frames = torch.randn(3, 64, MEL.n_mels)
    with torch.no_grad():
        found = made[0](frames)
        usual = (made[0].textures(frames).mean(2) - made[0].mean) / made[0].deviation
        share = made[0].head(usual.clamp(-3, 3)).double().softmax(1)[:, :-1]
    torch.testing.assert_close(found.double(), share.logit().clamp(-10, 10), rtol=1e-3, atol=1e-3)


def test_stretches_are_near_the_sounds_and_others_keep_off_them() -> None:
    heard = (Heard(2.0, 4.0, "Hiss"), Heard(10.0, 30.0, "Tone"), Heard(40.0, 40.1, "Hiss"))
    for seed in range(20):
        found = list(extents(heard, 60.0, np.random.default_rng(seed)))
        (hiss,) = [one for one in found if one[2] == "Hiss"]
        assert abs(hiss[0] - 2.0) <= 0.3 and abs(hiss[1] - 4.0) <= 0.3
        (tone,) = [one for one in found if one[2] == "Tone"]
        assert 10.0 <= tone[0] < tone[1] <= 30.0 and 2.0 <= tone[1] - tone[0] <= 5.0, "a part of a long one"
        others = [one for one in found if one[2] == OTHER]
        assert 4 <= len(others) <= 6
        for onset, offset, _ in others:
            assert 0 <= onset < offset <= 60
            assert all(min(offset, one.offset) - max(onset, one.onset) < 0.1 * (offset - onset) for one in heard)


def test_what_a_student_mistakes_is_refused(tmp_path: Path) -> None:
    """Two tones at once were never heard, and are one to a verifier until it is told."""

    def chords(name: str, seed: int) -> list[Annotated]:
        rng, made = np.random.default_rng(seed), []
        for number in range(6):
            (path := tmp_path / name).mkdir(exist_ok=True)
            pitch = rng.uniform(500, 3000) * np.array([[1.0], [1.25]]) / RATE
            samples = rng.normal(0, 1e-4, 10 * RATE)
            samples[2 * RATE : 5 * RATE] += 0.1 * np.sin(2 * np.pi * pitch * np.arange(3 * RATE)).sum(0)
            soundfile.write(path / f"{number}.wav", samples.astype(np.float32), RATE, subtype="FLOAT")
            made.append(Annotated(path / f"{number}.wav", (Heard(2.0, 5.0, OTHER),)))
        return made

    heard, mistaken, fresh = recordings(tmp_path, 10), chords("mistaken", 1), chords("fresh", 2)

    def evidence(verifier: Verifier) -> float:
        frames = [log_mel(soundfile.read(one.audio, dtype="float32")[0], MEL)[125:310] for one in fresh]
        with torch.no_grad():
            return float(verifier(torch.from_numpy(np.stack(frames)))[:, LABELS.index("Tone")].mean())

    naive = fit_verifier(heard, LABELS, tmp_path / "naive", progress=False)
    told = fit_verifier(heard, LABELS, tmp_path / "told", mistaken=mistaken, progress=False)
    assert evidence(naive) > 0 > evidence(told)


def test_label_that_is_never_heard_is_named(tmp_path: Path) -> None:
    few = recordings(tmp_path, 5)
    with pytest.raises(VerifierError, match="'Bark' is never heard"):
        fit_verifier(few, (*LABELS, "Bark"), tmp_path / "out", progress=False)
    with pytest.raises(VerifierError, match=r"\.wav: label '(Hiss|Tone)' is none of the 1 of the student"):
        fit_verifier(few, ("Bark",), tmp_path / "out", progress=False)
    with pytest.raises(VerifierError, match="'Other' is none of the 2 of the student"):
        fit_verifier([Annotated(few[0].audio, (Heard(1.0, 2.0, OTHER),))], LABELS, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_what_is_no_audio_and_what_is_no_verifier_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"none")
    with pytest.raises(AudioFileError, match=r"a\.wav"):
        fit_verifier([Annotated(tmp_path / "a.wav", ())], LABELS, tmp_path, progress=False)
    (tmp_path / "verifier.safetensors").write_bytes(b"none")
    with pytest.raises(VerifierError, match="cannot be read as a verifier"):
        load_verifier(tmp_path)
