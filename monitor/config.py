"""Every setting, with its default, unit and limits: the one place that knows what a configuration may say.

How a file and the environment become these values, and what is said of mistakes, is `config_loading`.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from monitor.config_detection import DetectionSettings, LabelSettings
from monitor.config_sources import (
    NAME_PATTERN,
    DemoSettings,
    FileSettings,
    MicrophoneSettings,
    Name,
    NetworkSettings,
    PipeSettings,
    Seconds,
    Section,
    SourceBase,
    SourceSettings,
)
from ssondo_stream.bundle import slugify

__all__ = [
    "NAME_PATTERN",
    "TOPIC_PATTERN",
    "DemoSettings",
    "DetectionSettings",
    "FileSettings",
    "HttpSettings",
    "LabelSettings",
    "LogSettings",
    "MicrophoneSettings",
    "ModelSettings",
    "MqttSettings",
    "NetworkSettings",
    "NodeSettings",
    "PipeSettings",
    "Settings",
    "SourceBase",
    "SourceSettings",
    "SpoolSettings",
    "redacted",
    "state_dir",
]

TOPIC_PATTERN = r"^[^#+\s/]+(/[^#+\s/]+)*$"

Port = Annotated[int, Field(ge=1, le=65_535)]


class NodeSettings(Section):
    """This sensor."""

    name: Name = Field(
        default_factory=lambda: slugify(platform.node())[:64] or "sensor",
        description="Name of this sensor in topics and events. Default: the host's name.",
    )
    state_dir: Path | None = Field(
        default=None,
        description="Folder for what must survive a restart. Default: `$STATE_DIRECTORY` under systemd, else "
        "`$XDG_STATE_HOME/ssondo-monitor`, else `~/.local/state/ssondo-monitor`.",
    )
    latitude: float | None = Field(
        default=None,
        ge=-90,
        le=90,
        description="Where the sensor stands, in degrees north, for the map of sensors. Default: untold.",
    )
    longitude: float | None = Field(
        default=None, ge=-180, le=180, description="The same in degrees east; both or neither."
    )


class ModelSettings(Section):
    """The student, and the engine that runs it."""

    bundle: str = Field(default="default", description="A shipped student by name, or the path of a bundle's folder.")
    hop_columns: int = Field(
        default=1,
        ge=1,
        le=40,
        description="Columns (0.512 s, with ERes2Net 0.256 s) between analyses: 1 reacts soonest, more takes less CPU.",
    )
    engine: Literal["auto", "onnx", "openvino", "torch"] = Field(
        default="auto", description="What runs the network; `openvino` and `torch` are extras."
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="`bf16` takes half the time where `openvino` finds a processor that has it; scores move slightly.",
    )
    device: str = Field(default="cpu", description="Of engine `torch`: `cpu` or `cuda`.")
    threads: int = Field(default=1, ge=1, le=64, description="Threads for the network.")
    mode: Literal["windowed", "continuous"] = Field(
        default="windowed",
        description="`continuous`, for ERes2Net alone: convolutions see the whole past, for two thirds of the time.",
    )
    span_seconds: float = Field(
        default=10.0, ge=0.2, le=600, description="Seconds that mode `continuous` pools over, in whole columns."
    )


class MqttSettings(Section):
    """The broker. Without a host, an embedded one starts on loopback."""

    enabled: bool = Field(default=True, description="Deliver events over MQTT at all.")
    host: str | None = Field(default=None, description="Name or address. Default: an embedded broker, on loopback.")
    port: Port | None = Field(default=None, description="Default: 8883 with TLS, else 1883.")
    embedded_port: Port = Field(default=1883, description="Of the broker that is started where no host is given.")
    version: Literal["5", "3.1.1"] = Field(
        default="5",
        description="Of MQTT: by `5` a broker can tell that it refuses a message. One that answers that it does not "
        "speak 5 is asked again in 3.1.1; set that for one that does not answer.",
    )
    base_topic: str = Field(default="ssondo", pattern=TOPIC_PATTERN, description="First part of every topic.")
    client_id: str | None = Field(default=None, description="Default: base topic and node name.")
    username: str | None = Field(default=None, description="Of this sensor at the broker.")
    password: SecretStr | None = Field(default=None, description="Rather in the environment, or in `password_file`.")
    password_file: Path | None = Field(default=None, description="A file that holds the password and nothing else.")
    tls: bool = Field(
        default=False, description="Encrypt the connection, and verify the broker's certificate and name."
    )
    ca_file: Path | None = Field(
        default=None, description="Certificate authority of the broker. Default: those that the system trusts."
    )
    cert_file: Path | None = Field(default=None, description="Client certificate, with `key_file`.")
    key_file: Path | None = Field(default=None, description="Key of the client certificate.")
    keepalive_seconds: int = Field(
        default=15,
        ge=5,
        le=3600,
        description="Seconds between signs of life; a dead link is noticed within two of them.",
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=120, description="Seconds to wait for an answer of the broker."
    )
    retry_max_seconds: float = Field(
        default=4.0, ge=1, le=3600, description="Longest pause, in seconds, between attempts to connect."
    )
    late_seconds: Seconds = Field(
        default=30.0, description="Events delivered more than so many seconds after their time are marked `late`."
    )
    discovery: bool = Field(default=True, description="Announce the sources to Home Assistant.")
    discovery_prefix: str = Field(
        default="homeassistant", pattern=TOPIC_PATTERN, description="First part of the topics of announcements."
    )


class SpoolSettings(Section):
    """Where events wait until they are acknowledged."""

    path: Path | None = Field(default=None, description="Default: `spool.sqlite` in the state directory.")
    max_messages: int = Field(
        default=100_000, ge=100, le=10_000_000, description="Beyond so many the oldest are dropped, and counted."
    )


class HttpSettings(Section):
    """Metrics and health; beyond loopback only with a token, or where anonymous readers are allowed outright."""

    enabled: bool = Field(default=True, description="Serve `/metrics`, `/health` and `/ready`.")
    host: str = Field(default="127.0.0.1", description="Address to listen at; another than loopback needs a token.")
    port: Port = Field(default=9108, description="TCP port.")
    token: SecretStr | None = Field(
        default=None,
        description="What readers must send as `Authorization: Bearer`; rather in the environment, or in `token_file`.",
    )
    token_file: Path | None = Field(default=None, description="A file that holds the token and nothing else.")
    allow_anonymous: bool = Field(default=False, description="Serve other addresses than loopback without a token.")


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least that is written."
    )
    format: Literal["text", "json"] = Field(default="text", description="For people, or for programs.")
    events: bool = Field(default=True, description="Show each event on standard output.")


class Settings(Section):
    """Everything; made by `config_loading.load_settings`, or by hand in tests."""

    node: NodeSettings = Field(default_factory=NodeSettings)
    source: tuple[SourceSettings, ...] = ()
    model: ModelSettings = Field(default_factory=ModelSettings)
    detection: DetectionSettings = Field(default_factory=DetectionSettings)
    mqtt: MqttSettings = Field(default_factory=MqttSettings)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)


def redacted(settings: Settings) -> dict[str, object]:
    """The settings as plain JSON values, secrets starred out: fit for a log."""
    return settings.model_dump(mode="json")


def state_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Where the service keeps its state; not created here.

    In order: `node.state_dir`, `$STATE_DIRECTORY` (systemd), `$XDG_STATE_HOME/ssondo-monitor`,
    `~/.local/state/ssondo-monitor`.
    """
    if settings.node.state_dir is not None:
        return settings.node.state_dir
    if given := environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd separates several by colons
    home = environ.get("XDG_STATE_HOME", "")
    base = Path(home) if home.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    return base / "ssondo-monitor"
