"""What a connection to the broker needs, worked out from the settings, every file read.

Apart from the connection itself, so that a wrong file is told when the service starts.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from monitor.broker import HOST
from monitor.config import MqttSettings
from monitor.errors import ConfigError
from monitor.secret_files import read_secret


@dataclass(frozen=True, slots=True)
class Parameters:
    """All that a connection needs, with every file read."""

    host: str
    port: int
    client_id: str
    keepalive_seconds: int
    timeout_seconds: float
    version: str = "5"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.host}:{self.port}"


def parameters(settings: MqttSettings, node: str) -> Parameters:
    """Work out a connection, reading the password's and the certificates' files; may take some milliseconds.

    Raises:
        ConfigError: a file is missing or wrong, or settings contradict each other; the message names them.
    """
    if settings.host is None and settings.tls:
        raise ConfigError("[mqtt] tls needs host: the embedded broker speaks no TLS")
    host, port = broker_address(settings)
    return Parameters(
        host=host,
        port=port,
        client_id=settings.client_id or f"{settings.base_topic}-{node}".replace("/", "-"),
        keepalive_seconds=settings.keepalive_seconds,
        timeout_seconds=settings.timeout_seconds,
        version="3.1.1" if settings.host is None else settings.version,
        username=settings.username,
        password=_password(settings),
        tls=_tls(settings),
    )


def broker_address(settings: MqttSettings) -> tuple[str, int]:
    """Host and port of the broker; without a configured host, of the embedded one."""
    if settings.host is None:
        return HOST, settings.embedded_port
    return settings.host, settings.port or (8883 if settings.tls else 1883)


def _password(settings: MqttSettings) -> str | None:
    if settings.password is not None and settings.password_file is not None:
        raise ConfigError("[mqtt] password and password_file are both set: keep one")
    if settings.password_file is not None:
        return read_secret("[mqtt] password_file", settings.password_file)
    return settings.password.get_secret_value() if settings.password is not None else None


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    files = {key: getattr(settings, key) for key in ("ca_file", "cert_file", "key_file")}
    if not settings.tls:
        if given := [key for key, path in files.items() if path is not None]:
            raise ConfigError(f"[mqtt] {given[0]} needs tls = true")
        return None
    for name, file in files.items():
        _check_readable(name, file)
    try:
        context = ssl.create_default_context(cafile=files["ca_file"])
    except ssl.SSLError as error:
        raise _unusable("ca_file", files["ca_file"], "holds no PEM certificate") from error
    if settings.key_file is not None and settings.cert_file is None:
        raise ConfigError("[mqtt] key_file needs cert_file")
    if settings.cert_file is not None:
        try:  # an empty pass phrase, lest OpenSSL asks on the terminal
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except ssl.SSLError as error:
            key = settings.key_file or settings.cert_file
            what = f"does not hold, unencrypted, the PEM key of cert_file {settings.cert_file}"
            raise _unusable("key_file", key, what) from error
    return context


def _check_readable(key: str, path: Path | None) -> None:
    try:
        if path is not None:
            path.read_bytes()
    except OSError as error:
        raise _unusable(key, path, error) from error


def _unusable(key: str, path: Path | None, error: Exception | str) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else error
    return ConfigError(f"[mqtt] {key} {path}: {reason}")
