"""Reads a clip of any rate, length and number of channels as the stretch of mono audio that models see.

Teacher and student must hear the same seconds, so both read through here: the first ones, with silence behind what is
shorter.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from ssondo_stream.types import Samples
from training.errors import AudioFileError
from training.files import write_file

SECONDS = 10.0
_BEYOND_SECONDS = 0.1  # more than a resampler's filter needs, so that the cut sounds as if the file went on


@dataclass(frozen=True, slots=True)
class ClipAudio:
    """What is heard of a clip.

    Attributes:
        samples: [round(seconds * sample_rate)] mono.
        duration: of the whole file, in seconds.
    """

    samples: Samples
    duration: float


def read_clip(path: Path, sample_rate: int, seconds: float = SECONDS) -> ClipAudio:
    """The first seconds of a file: channels averaged, resampled, cut or zero-padded.

    Args:
        path: anything that libsndfile reads.
        sample_rate: wanted, in Hz.
        seconds: wanted.

    Raises:
        AudioFileError: the file is missing, no audio, empty, or holds NaN or infinity.
    """
    if not path.is_file():
        raise AudioFileError(f"{path}: there is no such file")
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = file.samplerate, file.frames
            heard = file.read(round((seconds + _BEYOND_SECONDS) * rate), dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError, ValueError, TypeError) as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({error})") from error
    if not len(heard):
        raise AudioFileError(f"{path}: holds no samples")
    with np.errstate(over="ignore", invalid="ignore"):
        mono = heard.mean(axis=1)
    if not np.isfinite(mono).all():
        raise AudioFileError(f"{path}: holds NaN or infinity")
    wanted = round(seconds * sample_rate)
    return ClipAudio(_fitted(_resampled(path, mono, rate, sample_rate), wanted), frames / rate)


def read_whole(path: Path, sample_rate: int) -> Samples:
    """All of a file, as `read_clip` reads its beginning.

    Raises:
        AudioFileError: as for `read_clip`.
    """
    try:
        seconds = soundfile.info(path).duration
    except (OSError, soundfile.LibsndfileError) as error:
        raise AudioFileError(f"{path}: cannot be read as audio ({error})") from error
    return read_clip(path, sample_rate, seconds).samples


def write_clip(path: Path, samples: Samples, rate: int) -> None:
    """Write mono samples [n] as 16 bit WAV; the file is there completely or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    wav = io.BytesIO()
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    write_file(path, lambda file: file.write(wav.getvalue()))


def _resampled(path: Path, samples: Samples, rate: int, wanted: int) -> Samples:
    try:
        return np.asarray(soxr.resample(samples, rate, wanted), np.float32)
    except (ValueError, RuntimeError) as error:
        raise AudioFileError(f"{path}: cannot be resampled from {rate} to {wanted} Hz ({error})") from error


def _fitted(samples: Samples, wanted: int) -> Samples:
    out = np.zeros(wanted, np.float32)
    out[: min(wanted, len(samples))] = samples[:wanted]
    return out
