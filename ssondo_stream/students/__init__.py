"""Student networks in torch, by name. Only training and conversion import this package."""

from collections.abc import Callable

from ssondo_stream.students.heads import ColumnTagger
from ssondo_stream.students.mobilenetv3 import MobileNetV3


def mn10() -> MobileNetV3:
    """The published MobileNetV3 student: 2,971,664 parameters, embedding of 960."""
    return MobileNetV3()


def mn04() -> MobileNetV3:
    """Two fifths of the width: half a million parameters, and a batch norm that settles in a short training."""
    return MobileNetV3(width_mult=0.4, momentum=0.1)


def tagger(name: str, labels: int, *, dropout: float = 0.0) -> ColumnTagger:
    """A student of this name with a linear head over its columns."""
    backbone = STUDENTS[name]()
    return ColumnTagger(backbone, backbone.dim, labels, dropout=dropout)


STUDENTS: dict[str, Callable[[], MobileNetV3]] = {"mn10": mn10, "mn04": mn04}

__all__ = ["STUDENTS", "ColumnTagger", "MobileNetV3", "mn04", "mn10", "tagger"]
