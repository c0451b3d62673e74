"""A bundle is a folder that holds a student as data: its network, what it expects to hear, and its labels.

`bundle.json` is the spec and lists a sha256 for every other file; nothing in a bundle is code.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeVar

from ssondo_stream.errors import BundleError
from ssondo_stream.mel import MelConfig

SPEC_FILE = "bundle.json"
NETWORK_FILE = "student.onnx"
PREFIX_FILE = "prefix.onnx"
FORMAT = 1
BUNDLES = Path(__file__).parent / "bundles"

Activation = Literal["sigmoid", "softmax"]
_T = TypeVar("_T")


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
    """

    name: str
    threshold: float = 0.5
    off: float = 0.3
    early: float = 0.7
    min_duration_seconds: float = 0.0
    hold_seconds: float = 1.0

    def __post_init__(self) -> None:
        if not self.slug:
            raise ValueError(f"a label needs letters or digits, got {self.name!r}")
        if not 0 <= self.off <= self.threshold <= self.early <= 1:
            raise ValueError(
                f"label {self.name!r}: need 0 <= off <= threshold <= early <= 1, "
                f"got off={self.off} threshold={self.threshold} early={self.early}"
            )
        if self.min_duration_seconds < 0 or self.hold_seconds < 0:
            raise ValueError(f"label {self.name!r}: durations must not be negative")

    @property
    def slug(self) -> str:
        """The label's name in topics and configuration."""
        return slugify(self.name)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The part of the network that is local in time and kept in a file of its own.

    Attributes:
        stride: frames per column of its feature map.
        reach: column i sees frames i * stride - reach to i * stride + reach.
    """

    stride: int
    reach: int

    def __post_init__(self) -> None:
        if self.stride < 1 or self.reach < 0:
            raise ValueError(f"prefix: need stride >= 1 and reach >= 0, got {self.stride} and {self.reach}")


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
        prefix: of a network that comes in two files.
        network_sha256: of the network file; empty if the student was never saved.
    """

    name: str
    labels: tuple[Label, ...]
    embedding_dim: int
    mel: MelConfig = field(default_factory=MelConfig)
    window_frames: int = 624
    column_frames: int = 32
    activation: Activation = "sigmoid"
    prefix: Prefix | None = None
    network_sha256: str = ""

    def __post_init__(self) -> None:
        slugs = [label.slug for label in self.labels]
        if len(set(slugs)) != len(slugs):
            raise ValueError(f"labels must differ, got {slugs}")
        if self.column_frames < 1 or self.window_frames < self.column_frames:
            raise ValueError(
                f"need 1 <= column_frames <= window_frames, got {self.column_frames} and {self.window_frames}"
            )
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

    def columns_in(self, frames: int) -> int:
        """Columns that the network makes of so many frames."""
        return -(-frames // self.column_frames)


def save_bundle(folder: Path, spec: StudentSpec, network: bytes, extra: Mapping[str, bytes] | None = None) -> None:
    """Write a bundle: the network (ONNX), the spec, and further files such as the model card."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {NETWORK_FILE: network, **(extra or {})}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    described = asdict(spec)
    described.pop("network_sha256")
    document = {
        "format": FORMAT,
        **described,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    (folder / SPEC_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def load_spec(folder: Path) -> StudentSpec:
    """Read a bundle's spec and verify the checksum of every file in it.

    Raises:
        BundleError: a file is missing, unreadable or altered, or the spec does not make sense.
    """
    path = folder / SPEC_FILE
    document = _read_document(path)
    files = _checked(path, "files", document, dict)
    for name, sha256 in files.items():
        _verify(folder, str(name), str(sha256))
    needed = [NETWORK_FILE, PREFIX_FILE] if document.get("prefix") else [NETWORK_FILE]
    for name in needed:
        if name not in files:
            raise BundleError(f"{path}: 'files' must list {name}")
    try:
        return _parse_spec(path, document, str(files[NETWORK_FILE]))
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error


def find_bundle(name: str) -> Path:
    """The folder of a bundle, by the name of a shipped one or by path.

    Raises:
        BundleError: there is no such bundle.
    """
    for folder in (BUNDLES / name, Path(name)):
        if (folder / SPEC_FILE).is_file():
            return folder
    shipped = ", ".join(list_bundles()) or "none"
    raise BundleError(f"no bundle {name!r}: expected a folder with {SPEC_FILE}, or a shipped bundle ({shipped})")


def list_bundles() -> list[str]:
    """Names of the shipped bundles."""
    return sorted(path.parent.name for path in BUNDLES.glob(f"*/{SPEC_FILE}"))


def _read_document(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(f'{path}: expected a JSON object with "format": {FORMAT}')
    return document


def _verify(folder: Path, name: str, sha256: str) -> None:
    if Path(name).name != name:
        raise BundleError(f"{folder / SPEC_FILE}: file {name!r} must be a plain name inside the bundle")
    try:
        actual = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"{folder / name}: cannot be read: {error.strerror}") from error
    if actual != sha256:
        raise BundleError(
            f"{folder / name}: sha256 is {actual}, but {SPEC_FILE} expects {sha256}: the file was altered or is "
            "incomplete; copy the bundle again"
        )


def _parse_spec(path: Path, document: Mapping[str, object], network_sha256: str) -> StudentSpec:
    labels = _checked(path, "labels", document, list)
    mel = _checked(path, "mel", document, dict)
    prefix = _checked(path, "prefix", document, dict) if document.get("prefix") else None
    known = {item.name for item in fields(StudentSpec)} - {"labels", "mel", "prefix", "network_sha256"}
    unknown = set(document) - known - {"format", "labels", "mel", "prefix", "files"}
    if unknown:
        raise BundleError(f"{path}: unknown keys {sorted(unknown)}")
    plain = {key: document[key] for key in known if key in document}
    return StudentSpec(
        **plain,  # type: ignore[arg-type]  # types are those of the JSON; __post_init__ and use refuse others
        labels=tuple(Label(**label) for label in _objects(path, labels)),  # type: ignore[arg-type]  # as above
        mel=MelConfig(**mel),
        prefix=Prefix(**prefix) if prefix else None,
        network_sha256=network_sha256,
    )


def _objects(path: Path, items: Sequence[object]) -> list[dict[str, object]]:
    if not all(isinstance(item, dict) for item in items):
        raise BundleError(f"{path}: every label must be an object")
    return [dict(item) for item in items if isinstance(item, dict)]


def _checked(path: Path, key: str, document: Mapping[str, object], kind: type[_T]) -> _T:
    value = document.get(key)
    if not isinstance(value, kind):
        raise BundleError(f"{path}: {key!r} must be a JSON {'array' if kind is list else 'object'}")
    return value
