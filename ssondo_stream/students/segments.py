"""From the audio that a caller hands in to the segments that a student takes.

The published code cuts a clip into 10 s segments, drops what is left over and fails on shorter clips; here every sample
is heard, and what cannot be audio is refused with its shape, type or rate.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ssondo_stream.errors import AudioError
from ssondo_stream.mel import MelConfig
from ssondo_stream.resample import Resampler

_EXPECTED = "[n], [batch, n] or [batch, channels, n]"


def mono(audio: Tensor, config: MelConfig, sample_rate: int | None = None) -> Tensor:
    """Check audio, mix it down and bring it to the student's rate.

    Args:
        audio: [n], [batch, n] or [batch, channels, n], floating point, full scale -1 to 1. Two axes are a batch of
            mono clips always; channels need an axis of their own, and their mean is taken, as in training.
        config: the front end, at whose rate the result is.
        sample_rate: of the audio in Hz; none means the front end's. Another rate is resampled by soxr on the CPU,
            which gradients do not pass.

    Returns:
        [batch, n] float32 on the audio's device.

    Raises:
        AudioError: the shape, type, rate or values are not of audio; it says what was found and what was expected.
    """
    _refuse_other_things(audio)
    audio = audio.float()
    if audio.ndim == 3:
        audio = audio.mean(1)
    audio = _at_rate(audio.reshape(-1, audio.shape[-1]), sample_rate, config.sample_rate)
    if audio.shape[-1] < config.n_fft:
        raise AudioError(
            f"audio has {audio.shape[-1]} samples at {config.sample_rate} Hz in each of {audio.shape[0]} clips, need "
            f"{config.n_fft} or more; samples are the last axis of {_EXPECTED}"
        )
    return audio


def cut(audio: Tensor, window: int, step: int, *, keep_tail: bool = True, pad: bool = True) -> tuple[Tensor, Tensor]:
    """Cut clips into segments, and weigh each by the audio that it adds.

    Whole segments are as published. What is left after the last of them is heard in one more, which ends with the clip
    and so begins within the segment before; it weighs as much as it adds. A clip shorter than a segment is one, with
    silence after it as in the published training.

    Args:
        audio: [batch, n].
        window: samples in a segment.
        step: samples from one segment to the next.
        keep_tail: false drops what is left over, as published.
        pad: false leaves a short clip as it is.

    Returns:
        Segments [batch, segments, window], and their weights [segments], which sum to 1.
    """
    samples = audio.shape[-1]
    if samples < window:
        short = functional.pad(audio, (0, window - samples)) if pad else audio
        return short.unsqueeze(1), torch.ones(1, device=audio.device)
    segments = audio.unfold(-1, window, step)
    weights = [float(window)] * segments.shape[1]
    left = samples - (len(weights) - 1) * step - window
    if left and keep_tail:
        segments = torch.cat((segments, audio[:, None, -window:]), 1)
        weights.append(float(left))
    return segments, torch.tensor(weights, device=audio.device) / sum(weights)


def _refuse_other_things(audio: Tensor) -> None:
    if not isinstance(audio, Tensor):
        raise AudioError(f"audio is a {type(audio).__name__}, expected a torch tensor {_EXPECTED}")
    if not audio.is_floating_point():
        raise AudioError(
            f"audio is {audio.dtype} {list(audio.shape)}, expected floating point with full scale -1 to 1: divide "
            "16 bit samples by 32768"
        )
    if not 1 <= audio.ndim <= 3 or not audio.numel():
        raise AudioError(f"audio has the shape {list(audio.shape)}, expected {_EXPECTED} with something in it")
    if not audio.isfinite().all():
        raise AudioError(f"audio {list(audio.shape)} holds NaN or infinite values, expected numbers from -1 to 1")


def _at_rate(audio: Tensor, rate: int | None, wanted: int) -> Tensor:
    if rate is None or rate == wanted:
        return audio
    if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
        raise AudioError(f"sample_rate is {rate!r}, expected a whole number of Hz above 0")
    clips = [Resampler(rate, wanted).push(clip, last=True) for clip in audio.detach().cpu().numpy()]
    return torch.stack([torch.from_numpy(clip) for clip in clips]).to(audio.device)
