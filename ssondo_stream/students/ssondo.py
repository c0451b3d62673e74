"""A student over raw audio, as the published package gives it: for embeddings, logits and fine-tuning.

Same shapes and numbers for clips of whole segments. Where the published package crashes, drops audio or trains what
should be frozen, this does what its documentation promises.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssondo_stream.bundle import Activation, Label
from ssondo_stream.mel import MelConfig
from ssondo_stream.students.heads import MLPHead
from ssondo_stream.students.layers import Backbone
from ssondo_stream.students.logmel import LogMel
from ssondo_stream.students.segments import cut, mono

_AT_ONCE = 32  # segments through the network in one go: an hour of audio must not need an hour's activations


@dataclass(frozen=True, slots=True)
class StudentParts:
    """What a checkpoint or a bundle gives.

    Attributes:
        backbone: the network.
        mel: its front end.
        window: samples in a segment.
        step: samples from one segment to the next.
        projection: the mapping head, where its outputs are wanted.
        head: from embeddings to logits.
        labels: of those logits.
        activation: from those logits to scores.
    """

    backbone: Backbone
    mel: MelConfig
    window: int
    step: int
    projection: MLPHead | None = None
    head: nn.Module | None = None
    labels: tuple[Label, ...] = ()
    activation: Activation | None = None


class Ssondo(nn.Module):
    """A student over raw audio, for inference and for fine-tuning.

    Audio is [n], [batch, n] or [batch, channels, n], floating point of any precision, full scale -1 to 1, on any
    device. It is cut into segments of 10 s. What is left over is heard in a last segment that ends with the clip; a
    clip under 10 s is heard with silence after it, as in the published training.

    Attributes:
        backbone: images [batch, 1, n_mels, time] -> feature maps.
        embedding_dim: width of the embeddings.
        head: from the clip's embedding to logits, where there is one.
        projection: the mapping head into the teacher's space, only where `forward` returns it.
        labels: of the head's logits, in order; none for a new head.
        activation: from the head's logits to scores; none for a new head.
        sample_rate: that the student hears, in Hz.
    """

    def __init__(
        self, student: StudentParts, *, return_logits: bool = False, keep_tail: bool = True, pad: bool = True
    ) -> None:
        super().__init__()
        self.backbone: Backbone = student.backbone
        self.projection, self.head = student.projection, student.head
        self.labels, self.activation = student.labels, student.activation
        self.embedding_dim = student.backbone.embedding_dim
        self.sample_rate = student.mel.sample_rate
        self.return_logits = return_logits
        self._front_end = LogMel(student.mel)
        self._window, self._step, self._keep_tail, self._pad = student.window, student.step, keep_tail, pad
        self._frozen = False

    def forward(self, x: Tensor, *, sample_rate: int | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Run the student.

        Args:
            x: audio.
            sample_rate: of the audio in Hz, resampled if it is not the student's; none means the student's.

        Returns:
            With a head: logits [batch, classes], or (logits, clip embeddings [batch, embedding_dim]) with
            `return_logits`. Without: embeddings [batch, segments, embedding_dim], or with `return_logits` (embeddings,
            mean over the segments of what the mapping head makes of them [batch, dimensions of the teacher]).

        Raises:
            AudioError: the audio's shape, type, rate or values cannot be used.
        """
        embeddings, weights = self._segment_embeddings(x, sample_rate)
        if self.head is not None:
            clip = _mean(embeddings, weights)
            logits: Tensor = self.head(clip)
            return (logits, clip) if self.return_logits else logits
        if self.projection is not None:
            return embeddings, _mean(self.projection(embeddings), weights)
        return embeddings

    def preprocess(self, x: Tensor, *, sample_rate: int | None = None) -> Tensor:
        """Log-mel images of the audio's segments, [batch, segments, n_mels, time] float32.

        Raises:
            AudioError: the audio's shape, type, rate or values cannot be used.
        """
        segments, _ = self._segments(x, sample_rate)
        images = [self._front_end(part) for part in torch.split(segments.flatten(0, 1), _AT_ONCE)]
        return _per_clip(torch.cat(images), segments)

    def get_embeddings(self, x: Tensor, *, sample_rate: int | None = None) -> Tensor:
        """Embeddings of whole clips [batch, embedding_dim]: the segments' mean, weighted by the audio that each adds.

        Raises:
            AudioError: the audio's shape, type, rate or values cannot be used.
        """
        return _mean(*self._segment_embeddings(x, sample_rate))

    def freeze_backbone(self) -> None:
        """Train the head alone: no weight of the backbone and no statistic of its batch norms changes any more.

        The mapping head is left trainable where `forward` returns what it says.
        """
        self._frozen = True
        self.backbone.requires_grad_(False)
        self.backbone.eval()

    def unfreeze_backbone(self) -> None:
        """Train the backbone too, its batch norms' statistics included."""
        self._frozen = False
        self.backbone.requires_grad_()
        self.backbone.train(self.training)

    def train(self, mode: bool = True) -> "Ssondo":
        """Switch between training and evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        return self

    def _segments(self, x: Tensor, sample_rate: int | None) -> tuple[Tensor, Tensor]:
        audio = mono(x, self._front_end.config, sample_rate).to(self._front_end.window.device)
        return cut(audio, self._window, self._step, keep_tail=self._keep_tail, pad=self._pad)

    def _segment_embeddings(self, x: Tensor, sample_rate: int | None) -> tuple[Tensor, Tensor]:
        segments, weights = self._segments(x, sample_rate)
        together = segments.flatten(0, 1)
        at_once = len(together) if self.backbone.training else _AT_ONCE  # batch norms must see the whole batch
        embeddings = torch.cat([self._embed(part) for part in torch.split(together, at_once)])
        return _per_clip(embeddings, segments), weights

    def _embed(self, segments: Tensor) -> Tensor:
        images = self._front_end(segments).unsqueeze(1).to(next(self.backbone.parameters()).dtype)
        return self.backbone.columns(self.backbone(images)).mean(1)


def _per_clip(values: Tensor, segments: Tensor) -> Tensor:
    """Of all segments [batch * segments, ...] -> [batch, segments, ...]."""
    return values.reshape(*segments.shape[:2], *values.shape[1:])


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Over the segments: [batch, segments, dim], [segments] -> [batch, dim]; the sum is in float32 at least."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return (values.to(wide) * weights.to(wide)[:, None]).sum(1).to(values.dtype)
