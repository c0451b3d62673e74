"""What a configuration opens to others: told at every start and in the status, so that it never stays unnoticed."""

import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path

from monitor.config import NetworkSettings, Settings
from monitor.mqtt_parameters import broker_address


def exposures(settings: Settings) -> list[str]:
    """A sentence, with its remedy, for each setting that trusts the network or the machine; none by default."""
    return [*_http(settings), *_mqtt(settings), *_sources(settings), *_files(settings)]


def is_loopback(host: str) -> bool:
    """Whether an address or name is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _http(settings: Settings) -> Iterator[str]:
    http = settings.http
    if http.enabled and http.allow_anonymous and not is_loopback(http.host):
        yield f"http: whoever reaches {http.host} port {http.port} reads metrics and troubles: set [http] token_file"


def _mqtt(settings: Settings) -> Iterator[str]:
    mqtt = settings.mqtt
    host, port = broker_address(mqtt)
    if mqtt.enabled and not mqtt.tls and not is_loopback(host):
        what = "password and events" if mqtt.password or mqtt.password_file else "events"
        yield f"mqtt: {what} can be read and altered on the way to {host} port {port}: set [mqtt] tls"


def _sources(settings: Settings) -> Iterator[str]:
    for source in settings.source:
        if isinstance(source, NetworkSettings) and not source.tls_verify:
            yield f"source {source.name}: the certificate of its server is not verified: set ca_file, not tls_verify"


def _files(settings: Settings) -> Iterator[str]:
    mqtt, http = settings.mqtt, settings.http
    files = (("mqtt", "password_file"), ("mqtt", "key_file"), ("http", "token_file"))
    for section, key in files:
        path: Path | None = getattr({"mqtt": mqtt, "http": http}[section], key)
        if path is not None and _readable_by_all(path):
            yield f"{section}: everyone on this machine can read {key} {path}: chmod o-r"


def _readable_by_all(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
