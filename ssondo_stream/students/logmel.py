"""The front end in torch: `mel.log_mel` for batches, on any device, and differentiable.

Always in float32, since half precision has too few bits for a power spectrum; whoever needs less casts the result.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ssondo_stream.mel import MelConfig, filterbank


class LogMel(nn.Module):
    """Log-mel images: audio [..., n] -> [..., n_mels, t] float32, with t = 1 + (n - n_fft) // hop.

    Has no parameters, and nothing of it stands in a state dict. It follows the device of the module that holds it,
    never its precision.

    Args:
        config: the front end.

    Raises:
        ValueError: the filters are so narrow that some have no bin.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, config: MelConfig | None = None) -> None:
        super().__init__()
        self.config = config or MelConfig()
        self._place(torch.device("cpu"))

    def forward(self, audio: Tensor) -> Tensor:
        """Log-mel images of audio [..., n] with n >= n_fft; the shape of the leading axes stays."""
        config = self.config
        with torch.autocast(audio.device.type, enabled=False):
            frames = audio.float().unfold(-1, config.n_fft, config.hop)
            spectrum = torch.view_as_real(torch.fft.rfft(frames * self.window))
            power = spectrum.square().sum(-1)
            mel = (power @ self.filters + config.offset).log()
            return ((mel - config.mean) / config.std).transpose(-1, -2)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LogMel":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch does not type it
        self._place(self.window.device)
        return self

    def _place(self, device: torch.device) -> None:
        """Make the constants anew in float32, since a cast to half precision and back would have rounded them."""
        window = torch.hann_window(self.config.n_fft, periodic=True, dtype=torch.float64).float()
        self.register_buffer("window", window.to(device), persistent=False)
        self.register_buffer("filters", torch.tensor(filterbank(self.config), device=device), persistent=False)
