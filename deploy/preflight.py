"""What would keep the service from running on this machine, found before anything is touched.

Run by `install.sh`, before there is anything to import: the standard library alone.
"""

import errno
import os
import shlex
import socket
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

_UNSEEN = ("/home", "/root", "/run/user")  # by the service, see ProtectHome= in its unit
_SOUND = Path("/proc/asound")


def troubles(
    settings: Mapping[str, object], environ: Mapping[str, str], *, sound: bool, service: bool
) -> Iterator[str]:
    """A line for each thing that is in the way, with what to do about it.

    Args:
        settings: the configuration file, parsed.
        environ: `SSONDO_...` variables, which go over the file.
        sound: whether a microphone must be there already.
        service: whether this Python will run as a service, which sees no homes.
    """
    for name in sorted(name for name, value in environ.items() if "'" in value or "\n" in value):
        yield f"{name}: a value with ' or more than one line cannot be kept; set it in monitor.toml instead"
    if service and sys.base_prefix.startswith(_UNSEEN):
        yield (
            f"Python: the service cannot see {sys.base_prefix}, because it lies in a user's home. "
            "Name another: make install PYTHON=/usr/bin/python3"
        )
    if sound and _wants_microphone(settings, environ) and not any(_SOUND.glob("card*/pcm*c")):
        yield (
            "Sound: there is no device to record from. Plug in a microphone; or install before it is there with "
            "`make install ARGS=--no-sound`; or configure other sources in /etc/ssondo-monitor/monitor.toml first"
        )
    yield from _ports(settings, environ)


def environment(path: Path) -> dict[str, str]:
    """Variables of a file of `NAME=value` lines; none if there is no such file."""
    if not path.exists():
        return {}
    lines = (shlex.split(line, comments=True) for line in path.read_text(encoding="utf-8").splitlines())
    return dict(words[0].split("=", 1) for words in lines if words and "=" in words[0])


def _wants_microphone(settings: Mapping[str, object], environ: Mapping[str, str]) -> bool:
    if any(name.startswith("SSONDO_SOURCE") for name in environ):
        return False  # whatever they are, they were chosen for this machine
    sources = settings.get("source") or [{"kind": "microphone"}]
    return isinstance(sources, list) and any(source.get("kind") == "microphone" for source in sources)


def _ports(settings: Mapping[str, object], environ: Mapping[str, str]) -> Iterator[str]:
    def setting(section: str, key: str, default: object) -> object:
        table = settings.get(section, {})
        given = table.get(key, default) if isinstance(table, dict) else default
        return environ.get(f"SSONDO_{section}__{key}".upper()) or given

    def on(section: str) -> bool:
        return str(setting(section, "enabled", True)).lower() not in ("false", "0", "no", "off")

    if on("http"):
        port = int(str(setting("http", "port", 9108)))
        if _taken(str(setting("http", "host", "127.0.0.1")), port):
            yield (
                f"Port {port}, for metrics and health, is taken; `ss -ltnp 'sport = :{port}'` tells by whom. "
                f"End that, or choose another: make install SSONDO_HTTP__PORT={port + 1}"
            )
    if on("mqtt") and not setting("mqtt", "host", None):
        port = int(str(setting("mqtt", "embedded_port", 1883)))
        if _taken("127.0.0.1", port):
            yield (
                f"Port {port}, for the broker that comes along, is taken, probably by a broker. "
                "Use that one: make install SSONDO_MQTT__HOST=127.0.0.1; "
                f"or choose another port: make install SSONDO_MQTT__EMBEDDED_PORT={port + 1}"
            )


def _taken(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port)):
            return False
    except OSError as error:
        return error.errno == errno.EADDRINUSE


def main() -> int:
    """Usage: preflight.py CONFIG ENVIRONMENT [--no-sound] [--service]; prints the troubles, fails if there are any."""
    config, variables = Path(sys.argv[1]), Path(sys.argv[2])
    given = {name: value for name, value in os.environ.items() if name.startswith("SSONDO_")}
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{config}: {error}\n")
        return 1
    sound, service = "--no-sound" not in sys.argv, "--service" in sys.argv
    found = list(troubles(settings, {**given, **environment(variables)}, sound=sound, service=service))
    sys.stderr.writelines(f"{line}.\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
