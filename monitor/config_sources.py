"""The settings of every kind of source, and the values that all settings are made of."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]
Rate = Annotated[int, Field(ge=4_000, le=384_000)]


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SourceBase(Section):
    """What every source has."""

    name: Name = Field(description="Name in topics, events and metrics; each source has its own.")
    gain_db: float = Field(default=0.0, ge=-120, le=120, description="Gain, in dB.")
    channel: Literal["mix"] | Annotated[int, Field(ge=0, le=255)] = Field(
        default="mix", description="`mix` of all channels, or one by number, from 0."
    )
    calibration_db: float | None = Field(
        default=None,
        ge=-200,
        le=300,
        description="Sound pressure level of a full-scale 1 kHz sine, after the gain, in dB re 20 µPa. "
        "Without it no LAeq is published.",
    )
    flatline_seconds: Seconds = Field(
        default=20.0,
        description="After so many seconds of constant samples the source counts as not listening; 0: never.",
    )
    silence_seconds: Seconds = Field(
        default=3.0, description="After so many seconds without samples the source is opened again; 0: never."
    )


class MicrophoneSettings(SourceBase):
    """A sound device."""

    kind: Literal["microphone"]
    device: str | int | None = Field(
        default=None,
        description="Part of the device's name, its index, or its stable id, as `ssondo-monitor devices` prints them. "
        "Default: the system's.",
    )
    sample_rate: Rate | None = Field(default=None, description="Samples per second. Default: the device's own.")
    latency_seconds: float = Field(
        default=0.1, gt=0, le=2, description="Seconds of buffer in the sound system: more is safer, less is quicker."
    )


class FileSettings(SourceBase):
    """A sound file: WAV, FLAC, OGG or MP3."""

    kind: Literal["file"]
    path: Path = Field(description="The file.")
    realtime: bool = Field(default=True, description="Play it in real time, or as fast as it can be read.")
    loop: bool = Field(default=False, description="Begin again at its end.")


class PipeSettings(SourceBase):
    """Raw PCM from standard input or a named pipe."""

    kind: Literal["stdin", "pipe"]
    path: Path | None = Field(default=None, description="The named pipe; none for `stdin`.")
    sample_rate: Rate = Field(description="Samples per second and channel.")
    channels: int = Field(default=1, ge=1, le=256, description="Interleaved channels.")
    format: Literal["s16le", "s32le", "f32le"] = Field(default="s16le", description="Of a sample.")


class NetworkSettings(SourceBase):
    """An RTSP, HTTP or Icecast stream; needs the extra `network`."""

    kind: Literal["network"]
    url: SecretStr = Field(description="Address of the stream; where it holds a password, rather in the environment.")
    tls_verify: bool = Field(
        default=True, description="Verify the server's certificate where the address is `https://` or `rtsps://`."
    )
    ca_file: Path | None = Field(
        default=None,
        description="Certificate authority of the server, or its own certificate if it signed itself. "
        "Default: those that the system trusts.",
    )
    open_seconds: float = Field(default=5.0, gt=0, le=120, description="Seconds to wait for the connection.")
    read_seconds: float = Field(default=3.0, gt=0, le=120, description="Seconds to wait for data.")


class DemoSettings(SourceBase):
    """A generated stream with a known schedule, to try things out."""

    kind: Literal["demo"]
    seed: int = Field(default=0, description="Another seed, another stream.")
    realtime: bool = Field(default=True, description="In real time, or as fast as it is analysed.")


SourceSettings = Annotated[
    MicrophoneSettings | FileSettings | PipeSettings | NetworkSettings | DemoSettings, Field(discriminator="kind")
]
