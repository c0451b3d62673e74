"""The command `ssondo-monitor`.

Libraries are imported by the commands that need them, so that `--help` and a wrong option answer at once.
"""
# ruff: noqa: PLC0415  # for that reason

import asyncio
import logging
import os
import resource
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from monitor import cli_models
from monitor.errors import ConfigError, MonitorError
from ssondo_stream.errors import StreamError

if TYPE_CHECKING:
    from monitor.config import Settings

app = typer.Typer(
    name="ssondo-monitor",
    help="Listen to audio, recognise sounds, publish them as events.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(cli_models.app, name="models")

ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Configuration, in TOML.")]


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 2 bad usage or configuration, 1 anything else."""
    try:
        app()
    except (MonitorError, StreamError) as error:
        _fail(error)
    except ExceptionGroup as group:  # of tasks; where a bug is among them, the traceback is wanted
        if group.split((MonitorError, StreamError))[1] is not None:
            raise
        _fail(_first(group))
    except BrokenPipeError:
        # Whoever read the output has gone, as `head` does; the interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(0)


@app.command()
def run(
    config: ConfigFile = None,
    speed: Annotated[
        float, typer.Option("--speed", min=1, max=1000, help="Rehearse: let time, and what is heard, pass faster.")
    ] = 1.0,
    since: Annotated[
        float | None, typer.Option("--since", metavar="UNIX", help="When time began to pass faster; now by default.")
    ] = None,
) -> None:
    """Listen until told to stop."""
    from monitor import service
    from monitor.clock import ScaledClock
    from monitor.memory import give_back_what_is_freed

    give_back_what_is_freed()
    settings = _settings(config)
    resource.setrlimit(
        resource.RLIMIT_CORE, (0, 0)
    )  # a dump would store the audio of the last half minute, and secrets
    runner = asyncio.Runner()
    runner.run(service.run(settings, clock=None if speed == 1 else ScaledClock(speed, since)))
    # Everything is closed and flushed; a library's thread that hangs in a connection or a write must not hold it up.
    logging.shutdown()
    os._exit(0)


@app.command()
def replay(
    audio: Annotated[list[Path], typer.Argument(metavar="AUDIO...", help="Sound files, one after the other.")],
    config: ConfigFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line instead of a table.")] = False,
    realtime: Annotated[bool, typer.Option("--realtime", help="No faster than the files play.")] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw spectrogram, scores and events.")
    ] = None,
) -> None:
    """Find the events in sound files."""
    from monitor.replay import replay as replay_files

    code = replay_files(audio, _settings(config), as_json=as_json, realtime=realtime, plot=plot)
    raise typer.Exit(code)


@app.command()
def devices() -> None:
    """List the sound devices that can be recorded from."""
    from monitor.sources.devices import list_devices

    header = ("index", "name", "host API", "channels", "rate in Hz", "stable id")
    rows = [
        (
            str(device.index),
            device.name + (" (default)" if device.is_default else ""),
            device.host_api,
            str(device.channels),
            str(device.sample_rate),
            device.stable_id,
        )
        for device in list_devices()
    ]
    if rows:
        _print_table(header, rows)
    else:
        typer.echo("No sound device to record from. Without a configuration, `run` makes up a stream.")


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="Configuration, in TOML.")]) -> None:
    """Validate a configuration together with the environment, and list every mistake."""
    settings = _load(file)
    typer.echo(f"{file}: ok")
    for name, text in _summary(settings):
        typer.echo(f"  {name:<8} {text}")


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(installed_version("ssondo-monitor"))


def _settings(config: Path | None) -> "Settings":
    """Load the settings and start the log as they say."""
    from monitor import logs

    settings = _load(config)
    logs.configure(settings.log)
    return settings


def _load(config: Path | None) -> "Settings":
    from monitor.config_loading import load_settings

    return load_settings(config, os.environ)


def _summary(settings: "Settings") -> list[tuple[str, str]]:
    from monitor.exposure import exposures
    from monitor.mqtt_parameters import broker_address
    from ssondo_stream.bundle import find_bundle, load_spec

    spec = load_spec(find_bundle(settings.model.bundle))
    off = {slug for slug, label in settings.detection.labels.items() if not label.enabled}
    sources = ", ".join(f"{source.name} ({source.kind})" for source in settings.source)
    mqtt, http = settings.mqtt, settings.http
    host, port = broker_address(mqtt)
    remote = f"{host} port {port}{' with TLS' if mqtt.tls else ''}"
    broker = remote if mqtt.host else f"embedded, on loopback port {port}"
    guarded = " with a token" if http.token or http.token_file else ""
    return [
        ("sources", sources or "none: the default microphone, or a generated stream where there is none"),
        ("broker", broker if mqtt.enabled else "none: events go to standard output alone"),
        ("model", spec.name),
        ("labels", ", ".join(label.slug for label in spec.labels if label.slug not in off) or "none"),
        ("http", f"{http.host} port {http.port}{guarded}" if http.enabled else "off"),
        *(("exposed", what) for what in exposures(settings)),
    ]


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(error: Exception) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(f"ssondo-monitor: {line}", err=True)
    sys.exit(2 if isinstance(error, ConfigError) else 1)
