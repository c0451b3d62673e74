"""A configuration: the text of a file, then variables of the environment, with zero bytes between them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.config import redacted
from monitor.config_loading import load_settings
from monitor.errors import ConfigError
from ssondo_stream.bundle import Label, StudentSpec, save_bundle
from tests.fuzz import Case

ANNOTATED = Path(__file__).parents[2] / "deploy" / "monitor.toml"


def seeds() -> list[bytes]:
    annotated = ANNOTATED.read_bytes()
    tables = [table for table in annotated.replace(b"# ", b"").split(b"\n\n") if b" = " in table]
    return [
        annotated,
        *tables,
        b'[[source]]\nkind = "network"\nname = "cam"\nurl = "rtsp://user:pw@cam/audio"\n',
        b'[[source]]\nkind = "stdin"\nname = "in"\nsample_rate = 48000\n[detection.labels.dog_bark]\nthreshold = 0.7\n',
        b'[mqtt]\nhost = "x"\ntls = true\n\0SSONDO_MQTT__PORT=8883',
        b"\0SSONDO_SOURCE__0__KIND=demo\0SSONDO_SOURCE__0__NAME=a",
        b'\0SSONDO_MQTT={"host":"x","password":"p","username":"u"}\0SSONDO_SOURCE=[{"kind":"demo","name":"a"}]',
        b'\0SSONDO_DETECTION__LABELS={"dog_bark":{"off":0.1}}\0SSONDO_HTTP__HOST=0.0.0.0',
    ]


@contextmanager
def opened() -> Iterator[Case]:
    """Gives a function that loads it: there are settings, or one error of lines that people can read."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        bundle, file = Path(folder) / "bundle", Path(folder) / "monitor.toml"
        save_bundle(bundle, StudentSpec("tiny", (Label("Dog bark"),), embedding_dim=4), b"not a network")

        def case(data: bytes) -> None:
            text, *variables = data.split(b"\0")
            file.write_bytes(text)
            pairs = (variable.decode("utf-8", "surrogateescape").partition("=") for variable in variables)
            environ = {"SSONDO_MODEL__BUNDLE": str(bundle)} | {name: value for name, _, value in pairs}
            try:
                redacted(load_settings(file, environ))
            except ConfigError as error:
                assert str(error).strip(), "an error says what is wrong"

        yield case
