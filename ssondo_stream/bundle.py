"""A bundle is a folder that holds a student as data: its network, what it expects to hear, and its labels.

`bundle.json` is the spec and lists a sha256 for every other file; nothing in a bundle is code.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TypeVar

from ssondo_stream.bundle_folder import replace_folder
from ssondo_stream.checksum import sha256_of
from ssondo_stream.errors import BundleError
from ssondo_stream.mel import MelConfig
from ssondo_stream.spec import Activation, Architecture, Label, LocalPart, StudentSpec, slugify

SPEC_FILE = "bundle.json"
NETWORK_FILE = "student.onnx"
COMPUTED_FILE = "computed.onnx"
VERIFIER_FILE = "verifier.onnx"
WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "MODEL_CARD.md"
FORMAT = 1
_LARGEST_SPEC = 4_000_000  # bytes
BUNDLES = Path(__file__).parent / "bundles"

_T = TypeVar("_T")

__all__ = [
    "Activation",
    "Architecture",
    "Label",
    "LocalPart",
    "StudentSpec",
    "bundle_files",
    "check_replaceable",
    "find_bundle",
    "list_bundles",
    "load_spec",
    "local_file",
    "network_files",
    "save_bundle",
    "slugify",
]


def local_file(part: int) -> str:
    """Name of a local part's file; parts count from 0, names from 1."""
    return f"local_{part + 1}.onnx"


def save_bundle(folder: Path, spec: StudentSpec, network: bytes, extra: Mapping[str, bytes] | None = None) -> None:
    """Write a bundle: the network (ONNX), the spec, and further files such as the model card.

    Whenever this is stopped, the folder holds what it held before, or the new bundle.

    Raises:
        BundleError: the folder cannot be written, or holds something else than a bundle.
    """
    check_replaceable(folder)
    replace_folder(folder, bundle_files(spec, network, extra))


def bundle_files(spec: StudentSpec, network: bytes, extra: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """All files of a bundle, with the spec that lists the others.

    Raises:
        ValueError: a further file has the name of the network or of the spec.
    """
    if clash := {NETWORK_FILE, SPEC_FILE} & set(extra or ()):
        raise ValueError(f"further files must have other names than {sorted(clash)}")
    contents = {NETWORK_FILE: network, **(extra or {})}
    described = asdict(spec)
    described.pop("network_sha256")
    document = {
        "format": FORMAT,
        **described,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    return {**contents, SPEC_FILE: (json.dumps(document, indent=2) + "\n").encode()}


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds something else than a bundle, for a new one would take the place of it all.

    Raises:
        BundleError: it does, or is no folder.
    """
    try:
        held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    except OSError as error:
        raise BundleError(f"{folder}: cannot become a bundle ({error.strerror}); name another folder") from error
    known = {SPEC_FILE, WEIGHTS_FILE, *_listed(folder)} if SPEC_FILE in held else set()
    if strange := sorted(name for name in held - known if not (known and is_network(name))):
        raise BundleError(
            f"{folder}: holds {strange[0]!r}, which is no part of a bundle and would be lost; name another folder"
        )


def network_files(spec: StudentSpec) -> list[str]:
    """What an engine opens."""
    parts = [NETWORK_FILE, *map(local_file, range(len(spec.local)))]
    return parts + [COMPUTED_FILE] * bool(spec.computed_dim) + [VERIFIER_FILE] * spec.verifies


def is_network(name: str) -> bool:
    """Whether a file of this name is one that an engine opens."""
    return name.endswith(".onnx")


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
    _check_complete(folder, [str(name) for name in files])
    try:
        spec = _parse_spec(path, document, str(files.get(NETWORK_FILE, "")))
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    for name in network_files(spec):
        if name not in files:
            raise BundleError(f"{path}: 'files' must list {name}")
    return spec


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
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST_SPEC), parse_constant=_refuse, parse_float=_finite)
        json.dumps(document, ensure_ascii=False).encode()  # lone surrogates are no text
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(f'{path}: expected a JSON object with "format": {FORMAT}')
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:60]} is too large a number")
    return number


def _listed(folder: Path) -> Collection[str]:
    try:
        return _checked(folder / SPEC_FILE, "files", _read_document(folder / SPEC_FILE), dict).keys()
    except BundleError:
        return ()


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check_complete(folder: Path, names: Collection[str]) -> None:
    """What an engine would read has a checksum: torch's weights, and what a network would keep beside its file."""
    if WEIGHTS_FILE not in names and (folder / WEIGHTS_FILE).exists():
        raise BundleError(f"{folder / WEIGHTS_FILE}: {SPEC_FILE} lists no sha256 for it; export the bundle again")
    for name in names:
        if is_network(name) and _OUTSIDE in (folder / name).read_bytes():
            raise BundleError(f"{folder / name}: keeps weights in another file, which has no checksum: save it in one")


_OUTSIDE = b"\x0a\x08location\x12"  # how ONNX begins to say in which file the values of a tensor are


def _verify(folder: Path, name: str, sha256: str) -> None:
    if Path(name).name != name or not (folder / name).name.isprintable():
        raise BundleError(f"{folder / SPEC_FILE}: file {name!r} must be a plain name inside the bundle")
    try:
        if (folder / name).exists() and not (folder / name).is_file():  # a pipe would never end
            raise BundleError(f"{folder / name}: cannot be read: expected a regular file")
        actual = sha256_of(folder / name)
    except OSError as error:
        raise BundleError(f"{folder / name}: cannot be read: {error.strerror}") from error
    if actual != sha256:
        raise BundleError(
            f"{folder / name}: sha256 is {actual}, but {SPEC_FILE} expects {sha256}: the file was altered or is "
            "incomplete; copy the bundle again"
        )


_NESTED = {"labels", "mel", "local", "architecture", "source", "network_sha256"}


def _parse_spec(path: Path, document: Mapping[str, object], network_sha256: str) -> StudentSpec:
    known = {item.name for item in fields(StudentSpec)}
    unknown = set(document) - (known - {"network_sha256"}) - {"format", "files"}
    if unknown:
        raise BundleError(f"{path}: unknown keys {sorted(unknown)}")
    plain = {key: document[key] for key in known - _NESTED if key in document}
    architecture = _checked(path, "architecture", document, dict) if document.get("architecture") else None
    # types are those of the JSON; __post_init__ and use refuse others
    return StudentSpec(
        **plain,  # type: ignore[arg-type]
        labels=tuple(Label(**label) for label in _objects(path, "labels", document)),  # type: ignore[arg-type]
        mel=MelConfig(**_checked(path, "mel", document, dict)),
        local=tuple(_local_part(part) for part in _objects(path, "local", {"local": [], **document})),
        architecture=_architecture(architecture) if architecture else None,
        source=_checked(path, "source", document, dict) if "source" in document else {},
        network_sha256=network_sha256,
    )


def _architecture(described: dict[str, object]) -> Architecture:
    hidden_sizes = described.pop("hidden_sizes", ())
    if not isinstance(hidden_sizes, list | tuple):
        raise TypeError("architecture.hidden_sizes must be a JSON array")
    return Architecture(**described, hidden_sizes=tuple(hidden_sizes))  # type: ignore[arg-type]  # as above


def _local_part(described: dict[str, object]) -> LocalPart:
    inputs = described.pop("inputs", (0,))
    if not isinstance(inputs, list | tuple):
        raise TypeError("the inputs of a local part must be a JSON array")
    return LocalPart(**described, inputs=tuple(inputs))  # type: ignore[arg-type]  # as above


def _objects(path: Path, key: str, document: Mapping[str, object]) -> list[dict[str, object]]:
    items = _checked(path, key, document, list)
    if not all(isinstance(item, dict) for item in items):
        raise BundleError(f"{path}: {key!r} must hold objects only")
    return [dict(item) for item in items]


def _checked(path: Path, key: str, document: Mapping[str, object], kind: type[_T]) -> _T:
    value = document.get(key)
    if not isinstance(value, kind):
        raise BundleError(f"{path}: {key!r} must be a JSON {'array' if kind is list else 'object'}")
    return value
