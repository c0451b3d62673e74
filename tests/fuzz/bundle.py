"""The `bundle.json` of a bundle whose network is sound."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ssondo_stream.bundle import BUNDLES, NETWORK_FILE, SPEC_FILE, Label, StudentSpec, load_spec, save_bundle
from ssondo_stream.errors import BundleError
from ssondo_stream.mel import MelStream
from ssondo_stream.spec import Architecture, LocalPart
from tests.fuzz import Case

NETWORK = b"not a network"


def seeds() -> list[bytes]:
    local = (LocalPart(1, 2, 0), LocalPart(2, 4, 1, inputs=(0, 1)))
    full = StudentSpec(
        "tiny",
        (Label("Dog bark", ontology_id="/m/0bt9lr"), Label("Siren", 0.6, 0.4, 0.8, 0.2, 2.0)),
        embedding_dim=4,
        local=local,
        architecture=Architecture("mobilenetv3", {"width": 1.0}, (8,)),
        source={"file": "x.ckpt", "sha256": "ab"},
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {"local_1.onnx": NETWORK, "local_2.onnx": NETWORK}
        save_bundle(Path(folder), full, NETWORK, files)
        written = (Path(folder) / SPEC_FILE).read_text()
    shipped = json.loads((BUNDLES / "default" / SPEC_FILE).read_text())
    own = {**shipped, "files": json.loads(written)["files"]}
    return [json.dumps(json.loads(written)).encode(), json.dumps(own).encode()]


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that reads it: there is a spec that can be used and told as JSON, or a `BundleError`."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        for file in (NETWORK_FILE, "local_1.onnx", "local_2.onnx"):
            (folder / file).write_bytes(NETWORK)

        def case(data: bytes) -> None:
            (folder / SPEC_FILE).write_bytes(data)
            try:
                spec = load_spec(folder)
            except BundleError as error:
                assert str(folder) in str(error), "an error names the file"
                return
            json.dumps(asdict(spec), allow_nan=False)
            MelStream(spec.mel)
            assert 0 < spec.columns_in(spec.window_frames) <= spec.window_frames
            assert all(label.slug and label.slug.isascii() for label in spec.labels)

        yield case
