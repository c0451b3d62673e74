"""The encoder of MATPAC, MATPAC++ and M2D: a ViT-B/16 over log-mel frames.

Written from the published figures, so that users' own files of the three load into one network; modules are named as
the tensors in those files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, pad, scaled_dot_product_attention

from ssondo_stream.mel import MelConfig
from training.teachers.frontend import LogMel, check_audio

_HEAD_DIM = 64
_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of an encoder.

    Attributes:
        dim: of a token.
        depth: blocks.
        hidden: width of the MLPs.
        patch: frames and mel bins on a side of a patch.
        bands: patches over the mel bins.
        columns: patches over time that it has positions for.
    """

    dim: int = 768
    depth: int = 12
    hidden: int = 3072
    patch: int = 16
    bands: int = 5
    columns: int = 38

    def __post_init__(self) -> None:
        if self.dim % _HEAD_DIM or min(self.dim, self.depth, self.hidden, self.patch, self.bands, self.columns) < 1:
            raise ValueError(f"need sizes of at least 1 and dim a multiple of {_HEAD_DIM}, got {self}")

    @property
    def chunk_frames(self) -> int:
        """Most frames that are encoded together."""
        return self.columns * self.patch


class _Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[b, tokens, dim] -> the same."""
        query, key, value = self.qkv(x).unflatten(2, (3, -1, _HEAD_DIM)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # modules are untyped calls


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[b, tokens, dim] -> the same."""
        return self.fc2(gelu(self.fc1(x)))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = _Attention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = _Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """[b, tokens, dim] -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class _Patches(nn.Module):
    """A convolution by name; as a matrix product it stays in float32 on accelerators, whose convolutions do not."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(1, dim, patch, stride=patch)

    def forward(self, frames: Tensor) -> Tensor:
        """[b, t, n_mels] -> [b, bands, t / patch, dim]."""
        batch, length, mels = frames.shape
        cut = frames.reshape(batch, length // self.patch, self.patch, mels // self.patch, self.patch)
        return linear(cut.permute(0, 3, 1, 4, 2).flatten(3), self.proj.weight.flatten(1), self.proj.bias)


class Encoder(nn.Module):
    """One chunk of frames to one vector for each column of patches."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        dim = geometry.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + geometry.bands * geometry.columns, dim))
        self.patch_embed = _Patches(dim, geometry.patch)
        self.blocks = nn.ModuleList(_Block(dim, geometry.hidden) for _ in range(geometry.depth))
        self.norm = nn.LayerNorm(dim, eps=_EPS)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [b, t, n_mels], t a multiple of the patch and at most a chunk -> [b, t / patch, bands * dim].

        Tokens are ordered by band, then by time; a column is its bands' tokens one after another, low to high.
        """
        patches = self.patch_embed(frames)
        grid = patches.shape[1:3]
        start, positions = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        positions = positions.view(1, self.geometry.bands, self.geometry.columns, -1)[:, :, : grid[1]]
        first = (self.cls_token + start).expand(len(frames), -1, -1)
        x = torch.cat((first, (patches + positions).flatten(1, 2)), dim=1)
        for block in self.blocks:
            x = block(x)
        tokens = self.norm(x)[:, 1:].unflatten(1, grid)
        return tokens.transpose(1, 2).flatten(2)  # type: ignore[no-any-return]


class AudioViT(nn.Module):
    """A teacher of this family: audio in, embeddings out, without gradients.

    Chunks of frames are encoded each for itself and their columns put one after another; the end is padded with zeros,
    the mean of normalised frames, to whole patches ("precise" in the published code).

    Args:
        encoder: with its weights.
        mel: its front end.
        centred: see `LogMel`.
    """

    def __init__(self, encoder: Encoder, mel: MelConfig, *, centred: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.log_mel = LogMel(mel, centred=centred)
        self.eval().requires_grad_(False)

    @property
    def sample_rate(self) -> int:
        """Of the audio that it takes, in Hz."""
        return self.log_mel.config.sample_rate

    @property
    def embedding_dim(self) -> int:
        """Width of an embedding: that of a token for each band."""
        return self.encoder.geometry.bands * self.encoder.geometry.dim

    def embed(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, dim], the mean over time.

        Raises:
            AudioError: the audio has another shape or type, is shorter than a frame, or is not finite.
        """
        return self.embed_frames(audio).mean(1)

    @torch.no_grad()
    def embed_frames(self, audio: Tensor) -> Tensor:
        """Audio [b, n] -> [b, t, dim], a column per 16 frames (0.16 s).

        Raises:
            AudioError: as for `embed`.
        """
        check_audio(audio, self.log_mel.config.n_fft)
        frames = self.log_mel(audio.to(self.log_mel.window.device))
        geometry = self.encoder.geometry
        frames = pad(frames, (0, 0, 0, -frames.shape[1] % geometry.patch))
        chunks = torch.split(frames, geometry.chunk_frames, dim=1)
        return torch.cat([self.encoder(chunk) for chunk in chunks], dim=1)
