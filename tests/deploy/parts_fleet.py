"""A fleet's folder as `fleet.sh` makes it, and a mosquitto with the shipped configuration that serves it."""

import os
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from monitor.config import MqttSettings
from tests.parts import PATIENCE, free_port, require
from tests.parts_mqtt_sink import until

DEPLOY = Path(__file__).parents[2] / "deploy"
SCRIPT = DEPLOY / "fleet" / "fleet.sh"
BROKER = "localhost"


def fleet(*arguments: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Run `fleet.sh`."""
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=PATIENCE * 300)


class Fleet:
    """A fleet's folder, and the ports that its broker will have: for readers, and for sensors by certificate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.readers_port, self.sensors_port = free_port(), free_port()
        fleet("init", folder, BROKER, "127.0.0.1")

    def enrol(self, *names: str) -> None:
        fleet("enrol", self.folder, *names)

    def sensor(self, name: str) -> Path:
        return self.folder / "sensors" / name

    def by_certificate(self, name: str, **settings: object) -> MqttSettings:
        """What makes a sensor's connection from the files that were made for it."""
        files = {"ca_file": "ca.crt", "cert_file": "sensor.crt", "key_file": "secrets/sensor.key"}
        paths = {key: self.sensor(name) / file for key, file in files.items()}
        given = {"host": BROKER, "port": self.sensors_port, "tls": True, **paths, **settings}
        return MqttSettings.model_validate(given)

    def reader(self, user: str = "reader", identifier: str | None = None) -> aiomqtt.Client:
        """A client with a password."""
        return aiomqtt.Client(
            BROKER,
            self.readers_port,
            username=user,
            password=(self.folder / "passwords" / user).read_text().strip(),
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V5,
            tls_params=aiomqtt.TLSParameters(ca_certs=str(self.folder / "broker" / "ca.crt")),
        )


def mapped(text: str, places: dict[str, str]) -> str:
    """A shipped file with other places; each of them must be in it."""
    for shipped, here in places.items():
        assert shipped in text, f"no {shipped!r} in the shipped file"
        text = text.replace(shipped, here)
    return text


def configuration(of: Fleet) -> Path:
    """The two shipped files, with only ports and places changed."""
    broker = of.folder / "broker"
    certificates = {"/etc/mosquitto/certs": str(broker)}
    readers = {
        "listener 8883": f"listener {of.readers_port} 127.0.0.1",
        **certificates,
        "password_file /etc/mosquitto/passwords": f"password_file {broker}/passwords",
        "acl_file /etc/mosquitto/acl": f"acl_file {broker}/acl",
        "/var/lib/mosquitto/": f"{of.folder}/",
    }
    sensors = {"listener 8884": f"listener {of.sensors_port} 127.0.0.1", **certificates}
    text = mapped((DEPLOY / "mosquitto" / "mosquitto.conf").read_text(), readers)
    text += mapped((DEPLOY / "fleet" / "mosquitto.conf").read_text(), sensors)
    file = of.folder / "mosquitto.conf"
    file.write_text(text + ("user root\n" if os.geteuid() == 0 else ""))
    return file


@asynccontextmanager
async def broker_of(of: Fleet) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """mosquitto with the shipped configuration, for as long as the block lasts."""
    process = _start(of)
    try:
        ports = (of.readers_port, of.sensors_port)
        await until(lambda: process.poll() is not None or all(map(listens, ports)), 20)
        assert process.poll() is None, (of.folder / "mosquitto.log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def _start(of: Fleet) -> "subprocess.Popen[bytes]":
    with (of.folder / "mosquitto.log").open("ab") as log:
        command = [require("mosquitto"), "-c", str(configuration(of))]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def listens(port: int) -> bool:
    """Whether anything accepts connections at a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
