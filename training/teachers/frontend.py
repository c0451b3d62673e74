"""The teachers' front end: audio to normalised log-mel frames, on any device.

`ssondo_stream.mel` is its equal for one clip in NumPy; teachers take batches, and pad at the edges where their training
did.
"""

import torch
from torch import Tensor, nn

from ssondo_stream.errors import AudioError
from ssondo_stream.mel import MelConfig, filterbank


def check_audio(audio: Tensor, least: int) -> None:
    """Refuse what no teacher can hear.

    Args:
        audio: [b, n] of floating type.
        least: samples.

    Raises:
        AudioError: it has another shape or type, is too short, or holds NaN or infinity.
    """
    if audio.dim() != 2 or not audio.is_floating_point():
        raise AudioError(f"need audio [b, n] of floating type, mono, got {audio.dtype} {list(audio.shape)}")
    if not len(audio) or audio.shape[1] < least:
        raise AudioError(f"need clips of at least {least} samples, got {list(audio.shape)}")
    if not torch.isfinite(audio).all():
        raise AudioError("the audio holds NaN or infinity")


class LogMel(nn.Module):
    """Normalised log-mel frames.

    Args:
        config: the front end, with mean and standard deviation of its normalisation.
        centred: whether frames are centred on multiples of the hop, the audio mirrored at its ends, or begin there
            with nothing padded.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig, *, centred: bool) -> None:
        super().__init__()
        self.config, self.centred = config, centred
        self.register_buffer("window", torch.hann_window(config.n_fft, periodic=True), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filterbank(config).copy()), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Audio [b, n], n >= n_fft -> frames [b, t, n_mels] float32, whatever the caller computes in."""
        config = self.config
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.float(),
                config.n_fft,
                config.hop,
                window=self.window,
                center=self.centred,
                pad_mode="reflect",
                return_complex=True,
            )
            energy = spectrum.abs().square().transpose(1, 2) @ self.filters
            return ((energy + config.offset).log() - config.mean) / config.std
