"""Student networks in torch, by name. Only training, conversion and the torch engine import this package."""

import inspect
from collections.abc import Callable, Mapping, Sequence

from ssondo_stream.students.dymn import DyMN
from ssondo_stream.students.eres2net import ERes2Net
from ssondo_stream.students.heads import ColumnTagger, MLPHead, classifier
from ssondo_stream.students.layers import Backbone
from ssondo_stream.students.mobilenetv3 import MobileNetV3
from ssondo_stream.students.resnet import ResNet
from ssondo_stream.students.textured import TexturedMobileNetV3


def mn10() -> MobileNetV3:
    """The published MobileNetV3 student: 2,971,664 parameters, embedding of 960."""
    return MobileNetV3()


def mn04() -> MobileNetV3:
    """Two fifths of the width: half a million parameters, and a batch norm that settles in a short training."""
    return MobileNetV3(width_mult=0.4, momentum=0.1)


def dymn10() -> DyMN:
    """The published DyMN student: 8,643,312 parameters, embedding of 960."""
    return DyMN()


def eres2net() -> ERes2Net:
    """The published ERes2Net student: 1,368,068 parameters, embedding of 1024."""
    return ERes2Net()


ARCHITECTURES: dict[str, type[Backbone]] = {
    "mobilenetv3": MobileNetV3,
    "textured_mobilenetv3": TexturedMobileNetV3,
    "dymn": DyMN,
    "eres2net": ERes2Net,
    "resnet": ResNet,
}
STUDENTS: dict[str, Callable[[], Backbone]] = {"mn10": mn10, "mn04": mn04, "dymn10": dymn10, "eres2net": eres2net}


def build(architecture: str, options: Mapping[str, object] | None = None) -> Backbone:
    """A student's network by the name of its architecture and its keyword arguments.

    Raises:
        ValueError: there is no such architecture, it has no such option, or the option makes no sense.
    """
    factory = ARCHITECTURES.get(architecture)
    if factory is None:
        raise ValueError(f"no architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}")
    known = set(inspect.signature(factory).parameters)
    unknown = sorted(set(options or {}) - known)
    if unknown:
        raise ValueError(f"architecture {architecture!r} has no option {unknown[0]!r}: expected {sorted(known)}")
    return factory(**(options or {}))


def tagger(name: str, labels: int, *, hidden_sizes: Sequence[int] = (), dropout: float = 0.0) -> ColumnTagger:
    """A student of this name with a new head over its columns."""
    backbone = STUDENTS[name]()
    return ColumnTagger(backbone, classifier(backbone.embedding_dim, labels, hidden_sizes), dropout=dropout)


__all__ = [
    "ARCHITECTURES",
    "STUDENTS",
    "Backbone",
    "ColumnTagger",
    "DyMN",
    "ERes2Net",
    "MLPHead",
    "MobileNetV3",
    "ResNet",
    "TexturedMobileNetV3",
    "build",
    "classifier",
    "dymn10",
    "eres2net",
    "mn04",
    "mn10",
    "tagger",
]
