"""What the training config inside a published checkpoint says of its network, its front end and its mapping head.

Every value is looked up by its dotted key and checked, so that a file of another kind is told apart at once, and an
option that our networks lack is refused instead of ignored.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssondo_stream.errors import CheckpointError
from ssondo_stream.mel import MelConfig, filterbank

CONFIG_KEY = "training_config"

_LONGEST = 600.0  # seconds of a window
_LARGEST = 4096  # of any count; beyond it a file is damaged, not large
_NEVER_PRETRAINED = 30.0  # the published training's Dy-Conv temperature where nothing else is said


class Section:
    """A table of the config; remembers which keys were asked for.

    Errors name the file, the dotted key, what was found and what was expected.
    """

    def __init__(self, path: Path, key: str, values: object) -> None:
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{path}: {key}: {_found(values)}, expected a table")
        self._path, self._key, self._values = path, key, values
        self._asked: set[object] = set()

    def section(self, key: str) -> "Section":
        """A table within this one."""
        return Section(self._path, f"{self._key}.{key}", self.get(key))

    def get(self, key: str) -> object:
        """A value as it is; none where it is missing."""
        self._asked.add(key)
        return self._values.get(key)

    def number(self, key: str, default: float | None = None, *, low: float = 0.0, high: float = math.inf) -> float:
        """A finite number within the bounds; missing is an error unless there is a default."""
        value = self.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.error(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def count(self, key: str) -> int:
        """A whole number above 0."""
        return self._count(key, self.get(key))

    def rate(self, key: str) -> int:
        """A sample rate in Hz."""
        return round(self.number(key, low=1_000, high=768_000))

    def counts(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers above 0."""
        values = self.get(key)
        if not isinstance(values, list | tuple):
            raise self.error(key, "a list of whole numbers")
        return tuple(self._count(key, value) for value in values)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.get(key)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value

    def text(self, key: str) -> str:
        """A string."""
        value = self.get(key)
        if not isinstance(value, str):
            raise self.error(key, "a string")
        return value

    def only(self, key: str, *allowed: object) -> None:
        """Refuse any value but these; None allows a missing key."""
        value = self.get(key)
        if not isinstance(value, str | int | None) or value not in allowed:
            raise self.error(key, " or ".join(repr(value) for value in allowed if value is not None))

    def no_others(self, left_over: frozenset[str]) -> None:
        """Refuse keys that were not asked for and are not known to have no effect."""
        for key in self._values:
            if key not in self._asked and key not in left_over:
                raise CheckpointError(
                    f"{self._path}: {self._key}.{key}: unknown option, so the network would not be the one that was "
                    f"trained; known are {', '.join(sorted({*map(str, self._asked), *left_over}))}"
                )

    def error(self, key: str, expected: str) -> CheckpointError:
        """What to raise where a value is not as expected."""
        return CheckpointError(f"{self._path}: {self._key}.{key}: {_found(self._values.get(key))}, expected {expected}")

    def _count(self, key: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST:
            raise self.error(key, f"whole numbers from 1 to {_LARGEST}")
        return value


@dataclass(frozen=True, slots=True)
class _Family:
    """How a family of published students is described.

    Attributes:
        architecture: in `students.ARCHITECTURES`.
        options: of our network, each with how it is read.
        fixed: keys with the values that all networks of ours have.
        left_over: keys without any effect on inference.
    """

    architecture: str
    options: Mapping[str, Callable[[Section], object]]
    fixed: Mapping[str, tuple[object, ...]]
    left_over: frozenset[str]


def _temperature(student: Section) -> float:
    """Of DyMN's dynamic convolutions, as in the published training: `pretrain_final_temp` if pretrained, else 30.

    The published inference code ignores the key and takes 30, which is what all released configs say; so it does
    where the key is missing, which the published training does not allow.
    """
    final = student.number("pretrain_final_temp", _NEVER_PRETRAINED, low=1e-3, high=1e6)
    pretrained = student.get("pretrained_name")
    return final if isinstance(pretrained, str) and pretrained else _NEVER_PRETRAINED


def _width(student: Section) -> float:
    return student.number("width_mult", low=0.01, high=16)


def _gates(student: Section) -> str:
    dims = "none" if student.get("se_dims") is None else student.text("se_dims")
    return "" if dims == "none" else dims


_COMMON = frozenset({"model_name", "sr", "pretrained_name"})
_FAMILIES = {
    "mobilenetv3": _Family(
        "mobilenetv3",
        {
            "width_mult": _width,
            "reduced_tail": lambda student: student.flag("reduced_tail"),
            "dilated": lambda student: student.flag("dilated"),
            "strides": lambda student: student.counts("strides"),
            "se_dims": _gates,
        },
        {"relu_only": (False, None), "se_r": (4, None)},
        # without gates over frequency or time, the sizes of the input and how gates are joined do not matter
        _COMMON | {"input_dim_f", "input_dim_t", "se_agg"},
    ),
    "dymn": _Family(
        "dymn",
        {"width_mult": _width, "strides": lambda student: student.counts("strides"), "temperature": _temperature},
        {},
        _COMMON,
    ),
    "eres2net": _Family(
        "eres2net",
        {
            "m_channels": lambda student: student.count("m_channels"),
            "feat_dim": lambda student: student.count("feat_dim"),
            "num_blocks": lambda student: student.counts("num_blocks"),
        },
        {"pooling_func": ("TSTP", None), "add_layer": (True, None)},
        _COMMON,
    ),
}


def read_architecture(config: Section) -> tuple[str, dict[str, object]]:
    """The network's name and options for `students.build`.

    Raises:
        CheckpointError: a key is missing or makes no sense, or the network is none that we have.
    """
    student = config.section("student_model")
    family = _FAMILIES[_family(student)]
    for key, allowed in family.fixed.items():
        student.only(key, *allowed)
    options = {name: read(student) for name, read in family.options.items()}
    student.no_others(family.left_over)
    return family.architecture, options


def read_mel(config: Section) -> MelConfig:
    """The front end, with the normalisation that the student was trained on.

    Raises:
        CheckpointError: a key is missing or makes no sense.
    """
    preprocess = config.section("preprocess")
    rate, logmel = config.section("student_model").rate("sr"), preprocess.section("logmelspec")
    normalize = preprocess.section("normalize") if preprocess.get("normalize") is not None else None
    try:
        mel = MelConfig(
            sample_rate=rate,
            n_fft=round(rate * logmel.number("win_len", high=1)),
            hop=round(rate * logmel.number("hop_len", high=1)),
            n_mels=logmel.count("n_mels"),
            f_min=logmel.number("f_min"),
            f_max=logmel.number("f_max", rate / 2),
            mean=normalize.number("mean", 0.0, low=-1e3, high=1e3) if normalize else 0.0,
            std=normalize.number("std", 1.0, high=1e3) if normalize else 1.0,
        )
        filterbank(mel)  # refuses filters that are too narrow
    except ValueError as error:
        raise preprocess.error("logmelspec", f"a front end that makes sense: {error}") from error
    student = config.section("student_model")
    if (bands := student.get("feat_dim")) not in (None, mel.n_mels):
        raise student.error("feat_dim", f"{mel.n_mels}, which preprocess.logmelspec.n_mels says, not {bands}")
    return mel


def read_window(config: Section, mel: MelConfig) -> tuple[int, int]:
    """Samples in a window and from one to the next.

    Raises:
        CheckpointError: a key is missing or makes no sense.
    """
    cut = config.section("preprocess").section("slice_audio")
    shortest = (mel.n_fft + 1) / mel.sample_rate
    window = int(cut.number("win_len", low=shortest, high=_LONGEST) * mel.sample_rate)
    return window, int(cut.number("step_size", low=shortest, high=_LONGEST) * mel.sample_rate)


def read_outputs(config: Section) -> int | None:
    """Width of the mapping head's space; none if the head is of a kind that is not the published one.

    Raises:
        CheckpointError: the head has a pooling or an activation that the published one has not.
    """
    head = config.section("classification_head")
    if head.text("head_type") != "mlp":
        return None
    head.only("pooling", "mean")
    head.only("last_activation", "", None)
    return head.count("n_classes")


def _family(student: Section) -> str:
    """Dispatch as published, but a name that fits no family is refused instead of taken for ERes2Net."""
    name = student.text("model_name").lower()
    if "dy" in name:
        return "dymn"
    if "mn" in name:
        return "mobilenetv3"
    if "eres2net" in name:
        return "eres2net"
    raise student.error("model_name", "a MobileNetV3 (mn…), a DyMN (dymn…) or ERes2Net")


def _found(value: object) -> str:
    return "missing" if value is None else f"got {str(value)[:60]!r}"
