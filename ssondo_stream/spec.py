"""What a student hears and says: the values that a bundle's `bundle.json` holds.

They refuse what makes no sense, so that whoever has a spec need not check it again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ssondo_stream.mel import MelConfig
from ssondo_stream.plain import check_number, check_plain

Activation = Literal["sigmoid", "softmax"]

_LONGEST_WINDOW = 100_000  # frames, half an hour of the published front end
_MOST_MAPS = 1000


def slugify(name: str) -> str:
    """`Dog bark` -> `dog_bark`: what a label is called in topics and configuration."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@dataclass(frozen=True, slots=True)
class Label:
    """A label with the settings that its student was calibrated to.

    Attributes:
        name: for people.
        threshold, off: an event needs scores at `threshold` or above and lasts while they stay above `off`.
        early: stricter threshold of the first evidence, on which `started` is announced.
        min_duration_seconds, hold_seconds: shorter events are dropped, shorter pauses bridged.
        confirm: an event needs such a certainty, of its mean score and its verifier together; 0 if the score decides.
        bias: added to what the verifier says of it, in log odds, so that a certainty means the same of each label.
        ontology_id: of the AudioSet class that means the same, such as "/m/0bt9lr"; empty if there is none.
    """

    name: str
    threshold: float = 0.5
    off: float = 0.3
    early: float = 0.7
    min_duration_seconds: float = 0.0
    hold_seconds: float = 1.0
    ontology_id: str = ""
    confirm: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        check_plain(self)
        if not self.slug:
            raise ValueError(f"a label needs letters or digits, got {self.name!r}")
        if not 0 <= self.off <= self.threshold <= self.early <= 1:
            raise ValueError(
                f"label {self.name!r}: need 0 <= off <= threshold <= early <= 1, "
                f"got off={self.off} threshold={self.threshold} early={self.early}"
            )
        if not 0 <= self.confirm <= 1:
            raise ValueError(f"label {self.name!r}: need confirm from 0 to 1, got {self.confirm}")
        if self.min_duration_seconds < 0 or self.hold_seconds < 0:
            raise ValueError(f"label {self.name!r}: durations must not be negative")

    @property
    def slug(self) -> str:
        """The label's name in topics and configuration."""
        return slugify(self.name)


@dataclass(frozen=True, slots=True)
class LocalPart:
    """A part of the network that is local in time and kept in a file of its own, `local_1.onnx` and so on.

    Attributes:
        stride: frames per column of its feature maps.
        reach: column i sees frames i * stride - reach to i * stride + reach, all parts before it included.
        context: columns at the end of a stretch, on either side, that are wrong if its inputs are cut off there.
        inputs: numbers of the maps that it takes; 0 are the frames, the parts' outputs follow in order.
        outputs: number of maps that it makes.
    """

    stride: int
    reach: int
    context: int
    inputs: tuple[int, ...] = (0,)
    outputs: int = 1

    def __post_init__(self) -> None:
        check_plain(self)
        for number in self.inputs:
            check_number("LocalPart.inputs", number, whole=True)
        if self.outputs > _MOST_MAPS:
            raise ValueError(f"local part: need outputs <= {_MOST_MAPS}, got {self.outputs}")
        if self.stride < 1 or min(self.reach, self.context) < 0 or self.outputs < 1 or not self.inputs:
            raise ValueError(f"local part: need stride, outputs >= 1, reach, context >= 0 and inputs, got {self}")


@dataclass(frozen=True, slots=True)
class Architecture:
    """The network of a bundle in our own definition, for the torch engine and further training.

    Attributes:
        name: in `students.ARCHITECTURES`.
        options: its keyword arguments.
        hidden_sizes: hidden layers of its head; none for a linear one.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    hidden_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_plain(self)
        for size in self.hidden_sizes:
            check_number("Architecture.hidden_sizes", size, whole=True)
        if not isinstance(self.options, Mapping):
            raise TypeError(f"Architecture.options must be a JSON object, got {self.options!r:.60}")


@dataclass(frozen=True, slots=True)
class StudentSpec:
    """What a student hears and says.

    Attributes:
        name: of the bundle.
        labels: in the order of the scores.
        embedding_dim: width of the embedding.
        mel: the front end.
        window_frames: most frames in an inference.
        column_frames: frames per column of the last feature map.
        activation: from logits to scores.
        local: parts of the network in files of their own, in order; the network file takes the map of the last.
        computed_dim: how many of the embedding's last dimensions come from a file of their own, `computed.onnx`, and
            from the window's frames; no score depends on them.
        verifies: whether it has a verifier, `verifier.onnx`, which hears a sound's whole extent once it is known.
        architecture: what `weights.safetensors` belongs to, where the bundle has it.
        source: where the weights come from, such as the file and sha256 of a checkpoint.
        network_sha256: of the network file; empty if the student was never saved.
    """

    name: str
    labels: tuple[Label, ...]
    embedding_dim: int
    mel: MelConfig = field(default_factory=MelConfig)
    window_frames: int = 624
    column_frames: int = 32
    activation: Activation = "sigmoid"
    local: tuple[LocalPart, ...] = ()
    computed_dim: int = 0
    verifies: bool = False
    architecture: Architecture | None = None
    source: Mapping[str, str] = field(default_factory=dict)
    network_sha256: str = ""

    def __post_init__(self) -> None:
        check_plain(self)
        if not all(isinstance(text, str) for text in self.source.values()):
            raise TypeError(f"the source must hold text alone, got {dict(self.source)!r:.200}")
        if self.window_frames > _LONGEST_WINDOW or self.embedding_dim < 1:
            raise ValueError(
                f"need window_frames <= {_LONGEST_WINDOW} and embedding_dim >= 1, "
                f"got {self.window_frames} and {self.embedding_dim}"
            )
        if any(label.confirm or label.bias for label in self.labels) and not self.verifies:
            raise ValueError("a label's confirm and bias need a verifier, and there is none")
        if not 0 <= self.computed_dim < self.embedding_dim:
            raise ValueError(f"need 0 <= computed_dim < embedding_dim, got {self.computed_dim} of {self.embedding_dim}")
        slugs = [label.slug for label in self.labels]
        if len(set(slugs)) != len(slugs):
            raise ValueError(f"labels must differ, got {slugs}")
        if self.column_frames < 1 or self.window_frames < self.column_frames:
            raise ValueError(
                f"need 1 <= column_frames <= window_frames, got {self.column_frames} and {self.window_frames}"
            )
        maps = 1
        for part in self.local:
            if not all(0 <= number < maps for number in part.inputs):
                raise ValueError(f"local part: inputs {part.inputs} must be of the {maps} maps before it")
            maps += part.outputs
        if not isinstance(self.verifies, bool):
            raise TypeError(f"verifies must be true or false, got {self.verifies!r:.60}")
        if self.activation not in ("sigmoid", "softmax"):
            raise ValueError(f"activation must be 'sigmoid' or 'softmax', got {self.activation!r}")

    @property
    def column(self) -> int:
        """Samples in a column."""
        return self.column_frames * self.mel.hop

    @property
    def column_lead(self) -> int:
        """Samples by which the first column begins before the window does.

        Strided convolutions with symmetric padding centre column i on frame i * column_frames, so its audio is
        centred half a frame after that frame's start.
        """
        return self.column // 2 - self.mel.n_fft // 2

    @property
    def streams_whole(self) -> bool:
        """Whether the network is local in time up to its pooling, so that mode "continuous" can run it."""
        return bool(self.local) and self.local[-1].stride == self.column_frames

    def columns_in(self, frames: int) -> int:
        """Columns that the network makes of so many frames."""
        return -(-frames // self.column_frames)
