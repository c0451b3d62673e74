"""What no single setting can tell: whether the settings fit each other, the bundle, and the files that they name.

Found at start rather than at the first event, because a sensor is often out of reach when it goes wrong.
"""

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from monitor.config import FileSettings, MqttSettings, NetworkSettings, PipeSettings, Settings
from monitor.config_wording import Key, Mistake, suggest
from monitor.errors import ConfigError
from monitor.exposure import is_loopback
from monitor.homeassistant import object_id
from monitor.mqtt_parameters import parameters
from monitor.rules import thresholds
from monitor.secret_files import http_token
from ssondo_stream.bundle import StudentSpec, find_bundle, load_spec
from ssondo_stream.errors import BundleError


def check(settings: Settings) -> list[Mistake]:
    """Every mistake that takes more than one setting, or a look at the disk, to see."""
    mistakes = [mistake for rule in _RULES for mistake in rule(settings)]
    if not any(mistake.key[0] == "mqtt" for mistake in mistakes):
        mistakes += _connection(settings)
    return mistakes


def _connection(settings: Settings) -> Iterator[Mistake]:
    """What is wrong inside the files that the broker's connection needs."""
    try:
        if settings.mqtt.enabled:
            parameters(settings.mqtt, settings.node.name)
    except ConfigError as error:
        yield Mistake(("mqtt",), str(error).removeprefix("[mqtt] "))


def _position(settings: Settings) -> Iterator[Mistake]:
    given = {"latitude": settings.node.latitude, "longitude": settings.node.longitude}
    missing = [key for key, degrees in given.items() if degrees is None]
    if len(missing) == 1:
        yield Mistake(("node", missing[0]), "missing; expected both degrees of a position, or neither")


def _source_names(settings: Settings) -> Iterator[Mistake]:
    counts = Counter(source.name for source in settings.source)
    for index, source in enumerate(settings.source):
        if counts[source.name] > 1 and any(source.name == other.name for other in settings.source[:index]):
            yield Mistake(("source", index, "name"), f"got {source.name!r} a second time, expected a name of its own")


def _announced(settings: Settings) -> Iterator[Mistake]:
    """Home Assistant knows no dots, and takes two sources that differ in them alone for one."""
    ids = [object_id(settings.node.name, source.name) for source in settings.source]
    for index, source in enumerate(settings.source):
        first = ids.index(ids[index])
        if source.name != settings.source[first].name:
            text = (
                f"got {source.name!r} beside {settings.source[first].name!r}, expected more than '.' for '-' to differ"
            )
            yield Mistake(("source", index, "name"), text)


def _pipes(settings: Settings) -> Iterator[Mistake]:
    pipes = [(index, source) for index, source in enumerate(settings.source) if isinstance(source, PipeSettings)]
    stdin = [index for index, source in pipes if source.kind == "stdin"]
    for index in stdin[1:]:
        yield Mistake(("source", index, "kind"), f"got a second 'stdin', expected one; source[{stdin[0]}] reads it")
    for index, source in pipes:
        if source.kind == "pipe" and source.path is None:
            yield Mistake(("source", index, "path"), "missing; expected the path of a named pipe")
        if source.kind == "stdin" and source.path is not None:
            yield Mistake(("source", index, "path"), "not for kind 'stdin'; expected kind 'pipe' with it")


def _files(settings: Settings) -> Iterator[Mistake]:
    named: list[tuple[Key, Path | None]] = [
        (("source", index, "path"), source.path)
        for index, source in enumerate(settings.source)
        if isinstance(source, FileSettings)
    ]
    if settings.mqtt.enabled:
        keys = ("password_file", "ca_file", "cert_file", "key_file")
        named += [(("mqtt", key), getattr(settings.mqtt, key)) for key in keys]
    if settings.http.enabled:
        named.append((("http", "token_file"), settings.http.token_file))
    named += [
        (("source", index, "ca_file"), source.ca_file)
        for index, source in enumerate(settings.source)
        if isinstance(source, NetworkSettings)
    ]
    for key, path in named:
        if path is not None and (trouble := _unreadable(path)):
            yield Mistake(key, f"got '{path}', expected a file that can be read, but {trouble}")


def _unreadable(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"{error.strerror}".lower()
    if not stat.S_ISREG(mode):
        return "it is a folder" if stat.S_ISDIR(mode) else "it is not a regular file"
    return "" if os.access(path, os.R_OK) else "permission denied"


def _state(settings: Settings) -> Iterator[Mistake]:
    folder, spool = settings.node.state_dir, settings.spool.path
    if folder is not None and folder.exists() and not folder.is_dir():
        yield Mistake(("node", "state_dir"), f"got '{folder}', expected a folder, but it is a file")
    if spool is not None and spool.is_dir():
        yield Mistake(("spool", "path"), f"got '{spool}', expected a file, but it is a folder")


def _broker(settings: Settings) -> Iterator[Mistake]:
    mqtt = settings.mqtt
    if not mqtt.enabled:
        return
    if mqtt.host is None:
        yield from (
            Mistake(("mqtt", key), "given without mqtt.host; the embedded broker has no such thing")
            for key in ("port", "username", "password", "password_file", "tls")
            if getattr(mqtt, key) not in (None, False)
        )
    if mqtt.password is not None and mqtt.password_file is not None:
        yield Mistake(("mqtt", "password_file"), "given beside mqtt.password, expected one of the two")
    if mqtt.username is None and (mqtt.password or mqtt.password_file):
        yield Mistake(("mqtt", "username"), "missing; expected the user to whom the password belongs")
    yield from _tls(mqtt)


def _tls(mqtt: MqttSettings) -> Iterator[Mistake]:
    if not mqtt.tls:
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(mqtt, key) is not None:
                yield Mistake(("mqtt", key), "given without TLS, expected mqtt.tls = true")
    if mqtt.cert_file is not None and mqtt.key_file is None:
        yield Mistake(("mqtt", "key_file"), "missing; expected the key of mqtt.cert_file")
    if mqtt.key_file is not None and mqtt.cert_file is None:
        yield Mistake(("mqtt", "cert_file"), "missing; expected the certificate of mqtt.key_file")


def _http(settings: Settings) -> Iterator[Mistake]:
    http = settings.http
    if not http.enabled:
        return
    if http.token is not None and http.token_file is not None:
        yield Mistake(("http", "token_file"), "given beside http.token, expected one of the two")
        return
    try:
        token = http_token(http)
    except ConfigError as error:
        yield Mistake(("http",), str(error).removeprefix("[http] "))
        return
    if token is not None and not _TOKEN.fullmatch(token):
        key = "token" if http.token else "token_file"
        text = "expected 16 to 512 letters, digits, or any of ._~+/=-, such as `openssl rand -hex 32` makes"
        yield Mistake(("http", key), text)
    if token is None and not http.allow_anonymous and not is_loopback(http.host):
        text = f"got {http.host!r}, expected a loopback address, or http.token_file, or http.allow_anonymous = true"
        yield Mistake(("http", "host"), text)


_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,512}")


def _ports(settings: Settings) -> Iterator[Mistake]:
    mqtt, http = settings.mqtt, settings.http
    if mqtt.enabled and mqtt.host is None and http.enabled and mqtt.embedded_port == http.port:
        yield Mistake(("http", "port"), f"got {http.port}, expected another port than mqtt.embedded_port")


def _bundle(settings: Settings) -> Iterator[Mistake]:
    try:
        spec = load_spec(find_bundle(settings.model.bundle))
    except BundleError as error:
        yield Mistake(("model", "bundle"), str(error))
        return
    if not spec.labels:
        text = f"bundle {spec.name!r} has no labels, expected one with a head: `ssondo-monitor models convert --head`"
        yield Mistake(("model", "bundle"), text)
    yield from _hop(settings, spec)
    yield from _mode(settings, spec)
    slugs = [label.slug for label in spec.labels]
    for slug in settings.detection.labels:
        if slug not in slugs:
            text = f"bundle {spec.name!r} has no such label; {suggest(slug, slugs)}"
            yield Mistake(("detection", "labels", slug), text)
    yield from _thresholds(settings, spec)


def _hop(settings: Settings, spec: StudentSpec) -> Iterator[Mistake]:
    most = spec.columns_in(spec.window_frames)
    if settings.model.hop_columns > most:
        text = f"got {settings.model.hop_columns}, expected at most {most}, the window of bundle {spec.name!r}"
        yield Mistake(("model", "hop_columns"), text)


def _mode(settings: Settings, spec: StudentSpec) -> Iterator[Mistake]:
    model = settings.model
    if model.mode == "continuous" and not spec.streams_whole:
        text = f"got 'continuous', expected 'windowed': bundle {spec.name!r} looks at its whole window"
        yield Mistake(("model", "mode"), text)


def _engine(settings: Settings) -> Iterator[Mistake]:
    model = settings.model
    if model.engine == "onnx" and model.precision != "fp32":
        yield Mistake(("model", "precision"), f"got {model.precision!r}, expected 'fp32' with engine 'onnx'")
    if model.engine in ("onnx", "openvino") and model.device != "cpu":
        yield Mistake(("model", "device"), f"got {model.device!r}, expected 'cpu' with engine {model.engine!r}")


def _thresholds(settings: Settings, spec: StudentSpec) -> Iterator[Mistake]:
    """Labels that share a mistake in `[detection]` share its line."""
    wrong: dict[tuple[Key, str], list[str]] = {}
    for label in spec.labels:
        own = settings.detection.labels.get(label.slug)
        if own is not None and not own.enabled:
            continue
        values = thresholds(label, settings.detection)
        if not values["off"] <= values["threshold"] <= values["early"]:
            given = own is not None and any(getattr(own, name) is not None for name in values)
            key: Key = ("detection", "labels", label.slug) if given else ("detection",)
            got = " ".join(f"{name}={value}" for name, value in values.items())
            wrong.setdefault((key, got), []).append(label.slug)
    for (key, got), slugs in wrong.items():
        text = f"got {got} with what bundle {spec.name!r} sets for {', '.join(slugs)}"
        yield Mistake(key, f"{text}, expected off <= threshold <= early")


_RULES: tuple[Callable[[Settings], Iterator[Mistake]], ...] = (
    _position,
    _source_names,
    _announced,
    _pipes,
    _files,
    _state,
    _broker,
    _http,
    _ports,
    _engine,
    _bundle,
)
