"""Every setting, with its default, unit and limits: the one place that knows what a configuration may say.

How a file and the environment become these values, and what is said of mistakes, is `config_loading`.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from ssondo_stream.bundle import slugify

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
TOPIC_PATTERN = r"^[^#+\s/]+(/[^#+\s/]+)*$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Score = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Rate = Annotated[int, Field(ge=4_000, le=384_000)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NodeSettings(Section):
    """This sensor."""

    name: Name = Field(default_factory=lambda: slugify(platform.node())[:64] or "sensor")
    state_dir: Path | None = None  # default: $STATE_DIRECTORY, else $XDG_STATE_HOME/ssondo-monitor


class SourceBase(Section):
    """What every source has."""

    name: Name
    gain_db: float = Field(default=0.0, ge=-120, le=120)
    channel: Literal["mix"] | Annotated[int, Field(ge=0, le=255)] = "mix"
    calibration_db: float | None = Field(default=None, ge=-200, le=300)  # dB SPL of a full-scale sine; none: no LAeq
    flatline_seconds: Seconds = 20.0  # constant samples for so long: not listening
    silence_seconds: Seconds = 3.0  # no samples for so long: reopen


class MicrophoneSettings(SourceBase):
    """A sound device; `device` is part of its name, its index, or its stable id as `devices` prints it."""

    kind: Literal["microphone"]
    device: str | int | None = None
    sample_rate: Rate | None = None  # default: the device's own
    latency_seconds: float = Field(default=0.1, gt=0, le=2)


class FileSettings(SourceBase):
    """A sound file, in real time or as fast as it is read."""

    kind: Literal["file"]
    path: Path
    realtime: bool = True
    loop: bool = False


class PipeSettings(SourceBase):
    """Raw PCM from standard input or a named pipe."""

    kind: Literal["stdin", "pipe"]
    path: Path | None = None  # of the pipe
    sample_rate: Rate
    channels: int = Field(default=1, ge=1, le=256)
    format: Literal["s16le", "s32le", "f32le"] = "s16le"


class NetworkSettings(SourceBase):
    """An RTSP, HTTP or Icecast stream."""

    kind: Literal["network"]
    url: SecretStr  # may hold a password
    tls_verify: bool = True  # of https and rtsps
    ca_file: Path | None = None  # default: the system's authorities
    open_seconds: float = Field(default=5.0, gt=0, le=120)
    read_seconds: float = Field(default=3.0, gt=0, le=120)


class DemoSettings(SourceBase):
    """A generated stream with a known schedule."""

    kind: Literal["demo"]
    seed: int = 0
    realtime: bool = True


SourceSettings = Annotated[
    MicrophoneSettings | FileSettings | PipeSettings | NetworkSettings | DemoSettings, Field(discriminator="kind")
]


class ModelSettings(Section):
    """The student, and the engine that runs it."""

    bundle: str = "default"  # name of a shipped bundle, or a folder
    hop_columns: int = Field(default=1, ge=1, le=40)
    engine: Literal["auto", "onnx", "openvino", "torch"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"  # of engine torch
    threads: int = Field(default=1, ge=1, le=64)
    mode: Literal["windowed", "continuous"] = "windowed"
    span_seconds: float = Field(default=10.0, ge=0.2, le=600)  # pooled over in mode continuous


class LabelSettings(Section):
    """Detection settings of one label; what is not set comes from `[detection]`, then from the bundle."""

    enabled: bool = True
    threshold: Score | None = None
    off: Score | None = None
    early: Score | None = None
    min_duration_seconds: Seconds | None = None
    hold_seconds: Seconds | None = None
    cool_down_seconds: Seconds | None = None
    smooth_columns: int | None = Field(default=None, ge=1, le=20)
    gate_dbfs: float | None = Field(default=None, ge=-200, le=0)


class DetectionSettings(Section):
    """Detection settings of every label."""

    threshold: Score | None = None
    off: Score | None = None
    early: Score | None = None
    min_duration_seconds: Seconds | None = None
    hold_seconds: Seconds | None = None
    cool_down_seconds: Seconds = 0.0
    smooth_columns: int = Field(default=1, ge=1, le=20)
    gate_dbfs: float | None = Field(default=None, ge=-200, le=0)
    early_windows: int = Field(default=1, ge=1, le=20)
    settle_seconds: float = Field(default=10.0, gt=0, le=60)
    labels: dict[str, LabelSettings] = Field(default_factory=dict)  # by slug

    @field_validator("labels")
    @classmethod
    def _by_slug(cls, labels: dict[str, LabelSettings]) -> dict[str, LabelSettings]:
        by_slug = {slugify(name): label for name, label in labels.items()}
        if len(by_slug) < len(labels):
            raise ValueError("each label once; two of these names mean the same label")
        return by_slug


class MqttSettings(Section):
    """The broker. Without a host, an embedded one starts on loopback."""

    enabled: bool = True
    host: str | None = None
    port: Port | None = None  # default: 8883 with TLS, else 1883
    embedded_port: Port = 1883
    version: Literal["5", "3.1.1"] = "5"  # of the protocol; the embedded broker speaks 3.1.1 alone
    base_topic: str = Field(default="ssondo", pattern=TOPIC_PATTERN)
    client_id: str | None = None  # default: base topic and node
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    ca_file: Path | None = None  # default: the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_seconds: int = Field(default=15, ge=5, le=3600)
    timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    retry_max_seconds: float = Field(default=4.0, ge=1, le=3600)
    late_seconds: Seconds = 30.0


class SpoolSettings(Section):
    """Where events wait until they are acknowledged."""

    path: Path | None = None  # default: spool.sqlite in the state directory
    max_messages: int = Field(default=100_000, ge=100, le=10_000_000)


class HttpSettings(Section):
    """Metrics and health; beyond loopback only with a token, or where anonymous readers are allowed outright."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 9108
    token: SecretStr | None = None
    token_file: Path | None = None
    allow_anonymous: bool = False


class LogSettings(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    events: bool = True  # show each event on standard output


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
