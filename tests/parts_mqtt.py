"""A real mosquitto on loopback, with passwords, ACL and TLS as wanted, and someone who listens to it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt

from tests.parts import PATIENCE, free_port, require, within


@dataclass
class Certificates:
    """Files of a certificate and its key, and of the authority that signed it."""

    authority: Path
    certificate: Path
    key: Path


class Authority:
    """A certificate authority of our own, made by openssl."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "ca.crt"
        self._key = folder / "ca.key"
        _openssl(
            *("req", "-x509", "-days", "2", "-subj", f"/CN={name}", "-out", self.file, "-keyout", self._key),
            *_NEW_KEY,
        )

    def issue(self, name: str, address: str = "IP:127.0.0.1") -> Certificates:
        stem = self._folder / name
        key, request, certificate, extra = (stem.with_suffix(end) for end in (".key", ".csr", ".crt", ".ext"))
        extra.write_text(f"subjectAltName={address}\n")
        _openssl("req", "-subj", f"/CN={name}", "-out", request, "-keyout", key, *_NEW_KEY)
        _openssl(
            *("x509", "-req", "-days", "2", "-in", request, "-CA", self.file, "-CAkey", self._key, "-CAcreateserial"),
            *("-extfile", extra, "-out", certificate),
        )
        return Certificates(self.file, certificate, key)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run([require("openssl"), *map(str, arguments)], check=True, capture_output=True)


class Mosquitto:
    """A broker that can be started again on the same port; a context manager that ends it."""

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        acl: str | None = None,
        tls: Certificates | None = None,
        client_certificates: bool = False,
        address: str = "127.0.0.1",
        port: int | None = None,
        plain: bool = False,
    ) -> None:
        self._program = require("mosquitto")
        self.address, self.port, self.plain_port = address, port or free_port(), free_port()
        self._ports = (self.port, self.plain_port) if plain else (self.port,)
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        self.log = folder / "mosquitto.log"
        lines = [f"listener {self.port} {address}", "persistence false", "log_type all"]
        if os.geteuid() == 0:
            lines.append("user root")
        if users is None:
            lines.append("allow_anonymous true")
        else:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            for user, password in users.items():
                command = [require("mosquitto_passwd"), "-b", str(passwords), user, password]
                subprocess.run(command, check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        if acl is not None:
            (folder / "acl").write_text(acl)
            (folder / "acl").chmod(0o600)
            lines.append(f"acl_file {folder / 'acl'}")
        if tls is not None:
            lines += [f"cafile {tls.authority}", f"certfile {tls.certificate}", f"keyfile {tls.key}"]
            lines.append(f"require_certificate {str(client_certificates).lower()}")
        if plain:  # for readers without TLS
            lines.append(f"listener {self.plain_port} {address}")
        self._config.write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        process = self._spawn()
        async with within(10):
            while not all([await _listens(self.address, port) for port in self._ports]):
                if process.poll() is not None:
                    raise RuntimeError(f"mosquitto ended: {self.log.read_text()}")
                await asyncio.sleep(0.01)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as log:
            command = [self._program, "-c", str(self._config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return self._process

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process
        return self._process.pid

    def reload(self) -> None:
        """Let it read its passwords and access rules again."""
        os.kill(self.pid, signal.SIGHUP)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self.thaw()
            self._process.send_signal(number)
            self._process.wait(PATIENCE * 5)
            self._process = None

    async def __aenter__(self) -> "Mosquitto":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()


async def _listens(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


@dataclass
class Inbox:
    """What a subscriber has received, oldest first; `ended` once its connection is lost and all has been read."""

    messages: list[aiomqtt.Message] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, message: aiomqtt.Message) -> None:
        self.messages.append(message)
        self._arrived.set()

    def on(self, topic: str) -> list[bytes]:
        """Payloads received on topics that match."""
        return [bytes(message.payload) for message in self.messages if message.topic.matches(topic)]

    async def until(self, done: Callable[["Inbox"], bool], seconds: float = 10.0) -> None:
        """Wait until what has arrived is enough."""
        async with within(seconds):
            while not done(self):
                self._arrived.clear()
                await self._arrived.wait()

    async def see(self, topic: str, payload: bytes, seconds: float = 10.0) -> None:
        """Wait until the latest message on a topic says this."""
        await self.until(lambda inbox: inbox.on(topic)[-1:] == [payload], seconds)


@asynccontextmanager
async def subscriber(
    port: int,
    topic: str = "#",
    *,
    user: str | None = None,
    password: str | None = None,
    qos: int = 1,
    host: str = "127.0.0.1",
) -> AsyncIterator[Inbox]:
    """Someone who listens, without TLS, for as long as the block and the broker last."""
    inbox = Inbox()
    async with aiomqtt.Client(host, port, username=user, password=password) as client:
        await client.subscribe(topic, qos=qos)
        task = asyncio.create_task(_collect(client, inbox))
        try:
            yield inbox
        finally:
            task.cancel()
            await asyncio.wait({task})


async def _collect(client: aiomqtt.Client, inbox: Inbox) -> None:
    with suppress(aiomqtt.MqttError):
        async for message in client.messages:
            inbox.put(message)
    inbox.ended.set()
