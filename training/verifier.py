"""Makes a verifier: what it hears of a sound's whole extent are statistics, and a small head speaks for each label.

It is fitted to annotated scenes, and to stretches of them in which nothing is annotated. Statistics learn nothing but
what is usual, so its opinion of a recording that it has not heard is worth nearly as much as of one that it has.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ssondo_stream.mel import log_mel
from ssondo_stream.students import classifier
from ssondo_stream.students.textures import Textures, standardised
from ssondo_stream.types import Frames
from ssondo_stream.verifier import extent
from training.annotations import Annotated, Heard
from training.augment import colour
from training.clips import read_whole
from training.errors import TrainingError
from training.files import make_folder, write_file
from training.labels import OTHER
from training.probe_data import ProbeData
from training.probe_fit import Recipe, fit
from training.progress import bar
from training.teachers.textures import MEL

VERIFIER_FILE = "verifier.safetensors"
HEAD = Recipe((128,), strength=0.3, epochs=60, dropout=0.6)
_LEAST_SECONDS, _MOST_SECONDS = 0.5, 5.0  # of what nothing is annotated in, and of a part of a long sound
_AUDIBLE_SECONDS = 0.15
_JITTER_SECONDS = 0.3  # by which the extents that scores find are off, more or less
_EVERY_SECONDS = 10.0  # of a recording, a stretch in which nothing is annotated
_TIMES = 4  # that each sound is cut and altered anew; more than four add nothing
_MISTAKEN_TIMES = 8  # the same for what a student mistakes: half of all that it finds where nothing is annotated
_TRIES = 6
_SHARED = 0.1  # of a stretch that may be annotated
_COLOURED, _COLOUR_DB = 0.5, 6.0
_NARROW, _NARROW_BANDS = 0.25, (24, 64)  # the first 38 bands reach to 4 kHz
_STILL = 1e-3  # deviation of statistics that hardly vary
_FARTHEST = 10.0  # log odds


class VerifierError(TrainingError):
    """A verifier cannot be made or read."""


class Verifier(nn.Module):
    """Frames of a sound [batch, time, n_mels] -> evidence [batch, labels]: each label's log odds, up to ten.

    Args:
        mean: of statistics, [count].
        deviation: of statistics, [count].
        head: standardised statistics -> a logit for each label, and the last for anything else.
    """

    def __init__(self, mean: Tensor, deviation: Tensor, head: nn.Module) -> None:
        super().__init__()
        self.textures, self.head = Textures(MEL.n_mels), head
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("_own", torch.eye(_outputs(head))[:-1] * -1e9, persistent=False)
        self._own: Tensor

    def forward(self, frames: Tensor) -> Tensor:
        """Evidence of each sound."""
        logits = self.head(standardised(self.textures(frames).mean(2), self.mean, self.deviation))
        others = (logits.unsqueeze(1) + self._own).logsumexp(2)  # the log odds of a softmax, without its rounding
        evidence: Tensor = (logits[:, :-1] - others).clamp(-_FARTHEST, _FARTHEST)
        return evidence


def fit_verifier(
    recordings: Sequence[Annotated],
    labels: tuple[str, ...],
    out: Path,
    *,
    mistaken: Sequence[Annotated] = (),
    head: Recipe = HEAD,
    seed: int = 0,
    progress: bool = True,
) -> Verifier:
    """Fit a verifier, and write it as `verifier.safetensors`.

    Args:
        recordings: with annotations.
        labels: in the order of the student's.
        out: its folder.
        mistaken: recordings, annotated with what a student finds in them and should not, see `mistakes`.
        head: how it is fitted.
        seed: of where sounds are cut, and of the head.
        progress: whether a bar is shown.

    Raises:
        VerifierError: a label is never heard, or something else than the labels is.
        AudioFileError: a recording cannot be read.
        StorageError: the file cannot be written.
    """
    rows, targets = _rows(recordings, mistaken, labels, seed, progress)
    mean, deviation = rows.mean(0), rows.std(0) + _STILL
    usual = standardised(*map(torch.from_numpy, (rows, mean, deviation))).numpy()
    data = ProbeData(usual, targets, np.zeros(len(rows), np.int64), (*labels, OTHER))
    verifier = Verifier(torch.from_numpy(mean), torch.from_numpy(deviation), fit(data, "single", head, seed)).eval()
    content = save({name: tensor.contiguous() for name, tensor in _tensors(verifier).items()})
    make_folder(out)
    write_file(out / VERIFIER_FILE, lambda file: file.write(content))
    return verifier


def load_verifier(path: Path) -> Verifier:
    """What `fit_verifier` wrote, by its folder.

    Raises:
        VerifierError: there is none, or it is damaged.
    """
    path = path / VERIFIER_FILE
    try:
        found = load_file(path)
        mean, deviation = found.pop("mean"), found.pop("deviation")
        *hidden, outputs = (len(bias) for name, bias in sorted(found.items()) if name.endswith("bias"))
        head = classifier(len(mean), outputs, hidden)
        head.load_state_dict(found)
        return Verifier(mean, deviation, head).eval()
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise VerifierError(f"{path}: cannot be read as a verifier ({error})") from error


def extents(heard: Sequence[Heard], seconds: float, rng: np.random.Generator) -> Iterator[tuple[float, float, str]]:
    """Stretches of a recording as scores might find them, as (onset, offset, label), and some of nothing.

    Args:
        heard: its annotations.
        seconds: its length.
        rng: where they are cut.
    """
    for sound in heard:
        length = sound.offset - sound.onset
        if length > _MOST_SECONDS:
            onset = sound.onset + rng.uniform(0, length - _MOST_SECONDS)
            yield onset, onset + rng.uniform(2.0, _MOST_SECONDS), sound.label
        elif length >= _AUDIBLE_SECONDS:
            yield _jittered(sound, rng)
    for _ in range(max(1, round(seconds / _EVERY_SECONDS))):
        if found := _of_nothing(heard, seconds, rng):
            yield *found, OTHER


def _of_nothing(heard: Sequence[Heard], seconds: float, rng: np.random.Generator) -> tuple[float, float] | None:
    for _ in range(_TRIES):
        length = min(seconds, float(np.exp(rng.uniform(np.log(_LEAST_SECONDS), np.log(_MOST_SECONDS)))))
        onset = float(rng.uniform(0, seconds - length))
        shared = max((min(onset + length, one.offset) - max(onset, one.onset) for one in heard), default=0.0)
        if shared < _SHARED * length:
            return onset, onset + length
    return None


def _rows(
    recordings: Sequence[Annotated],
    mistaken: Sequence[Annotated],
    labels: tuple[str, ...],
    seed: int,
    progress: bool,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Statistics [stretches, count] and what they are of [stretches, labels + 1], each sound as often as it is cut."""
    textures, rows, targets, order = Textures(MEL.n_mels), [], [], {name: i for i, name in enumerate((*labels, OTHER))}
    shown = bar("verifier", len(recordings) + len(mistaken), unit="recording", shown=progress)
    for number, recording in enumerate((*recordings, *mistaken)):
        known, cut = (labels, _cut) if number < len(recordings) else ((OTHER,), _cut_mistaken)
        if strange := [sound.label for sound in recording.heard if sound.label not in known]:
            raise VerifierError(f"{recording.audio}: label {strange[0]!r} is none of the {len(labels)} of the student")
        samples = read_whole(recording.audio, MEL.sample_rate)
        frames, rng = log_mel(samples, MEL), np.random.default_rng([seed, number])
        for onset, offset, label in cut(recording.heard, len(samples) / MEL.sample_rate, rng):
            span = round(onset * MEL.sample_rate), round(offset * MEL.sample_rate)
            if heard := extent(*span, MEL, range(len(frames))):
                rows.append(_statistics(textures, _altered(frames[heard], rng)))
                targets.append(order[label])
        shown.update()
    shown.close()
    if missing := [name for name, number in order.items() if number not in set(targets)]:
        raise VerifierError(f"a verifier needs every label in the recordings: {missing[0]!r} is never heard")
    return np.stack(rows), np.eye(len(order), dtype=np.bool_)[targets]


def _cut(heard: Sequence[Heard], seconds: float, rng: np.random.Generator) -> Iterator[tuple[float, float, str]]:
    return chain.from_iterable(extents(heard, seconds, rng) for _ in range(_TIMES))


def _cut_mistaken(heard: Sequence[Heard], _: float, rng: np.random.Generator) -> Iterator[tuple[float, float, str]]:
    """As scores found them, more or less: where they end is known, however long they are."""
    return (_jittered(sound, rng) for sound in heard for _ in range(_MISTAKEN_TIMES))


def _jittered(sound: Heard, rng: np.random.Generator) -> tuple[float, float, str]:
    early, late = rng.uniform(-_JITTER_SECONDS, _JITTER_SECONDS, 2)
    return max(0.0, sound.onset + early), sound.offset + late, sound.label


def _altered(frames: Frames, rng: np.random.Generator) -> Frames:
    """Half of the sounds as another microphone gives them, and a quarter without their upper bands, as from a phone."""
    if rng.random() < _COLOURED:
        frames = colour(torch.from_numpy(frames)[None], rng, MEL, _COLOUR_DB)[0].numpy()
    if rng.random() < _NARROW:
        silence = np.float32((np.log(MEL.offset) - MEL.mean) / MEL.std)
        frames = np.where(np.arange(MEL.n_mels) < rng.integers(*_NARROW_BANDS), frames, silence)
    return frames


@torch.inference_mode()
def _statistics(textures: Textures, frames: Frames) -> NDArray[np.float32]:
    found: NDArray[np.float32] = textures(torch.from_numpy(frames)[None])[0].mean(1).numpy()
    return found


def _tensors(verifier: Verifier) -> dict[str, Tensor]:
    return {**verifier.head.state_dict(), "mean": verifier.mean, "deviation": verifier.deviation}


def _outputs(head: nn.Module) -> int:
    return [part for part in head.modules() if isinstance(part, nn.Linear)][-1].out_features
