"""Short clips, and a teacher whose embeddings are known."""

from pathlib import Path

import numpy as np
import soundfile
import torch


def tone(path: Path, seconds: float = 0.5, rate: int = 16_000, pitch: float = 440.0, channels: int = 1) -> None:
    """Write a tone; all channels are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1).astype(np.float32), rate, subtype="FLOAT")


def tones(folder: Path, count: int) -> Path:
    """A folder of short tones of rising pitch."""
    for number in range(count):
        tone(folder / f"clip{number:03d}.wav", pitch=200.0 + 20 * number)
    return folder


class LevelTeacher:
    """A deterministic teacher: the level of each of `embedding_dim` equal stretches."""

    sample_rate = 8000

    def __init__(self, embedding_dim: int = 8) -> None:
        self.embedding_dim = embedding_dim
        self.heard = 0

    def embed(self, audio: torch.Tensor) -> torch.Tensor:
        """Audio [b, n] -> [b, dim]."""
        self.heard += len(audio)
        stretches = audio.reshape(len(audio), self.embedding_dim, -1)
        return stretches.diff(dim=2).square().mean(dim=2).sqrt()
