"""Streams over TLS: a server that cannot prove who it is hears neither password nor path."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.config import NetworkSettings
from monitor.errors import CaptureError
from monitor.sources.network import NetworkSource
from tests.parts import within
from tests.parts_mqtt import Authority, Certificates
from tests.parts_mqtt_sink import authority, stranger

__all__ = ["authority", "stranger"]


class Listener:
    """A TLS server on loopback. State is what it was sent once the client was content with its certificate."""

    def __init__(self, own: Certificates) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(own.certificate, own.key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(20)
        self.port = self._socket.getsockname()[1]
        self.heard = b""

    def run(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(20)
            try:
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    self.heard = secure.recv(4096)
            except (ssl.SSLError, OSError):
                return

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(own: Certificates) -> Iterator[Listener]:
    listener = Listener(own)
    thread = threading.Thread(target=listener.run)
    thread.start()
    try:
        yield listener
    finally:
        thread.join(30)
        listener.close()


async def failure(url: str, **settings: object) -> str:
    source = NetworkSource(
        NetworkSettings.model_validate({"kind": "network", "name": "cam", "url": url, **settings}), SystemClock()
    )
    with pytest.raises(CaptureError) as caught:
        async with within(40):
            async for _ in source.blocks():
                pass
    return str(caught.value)


HEARD = {("us", "IP:127.0.0.1"), ("anyone", "DNS:elsewhere.example")}


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
@pytest.mark.parametrize(
    ("trusts", "address"),
    [
        ("nobody", "IP:127.0.0.1"),
        ("a stranger", "IP:127.0.0.1"),
        ("us", "DNS:elsewhere.example"),
        ("us", "IP:127.0.0.1"),
        ("anyone", "DNS:elsewhere.example"),
    ],
)
async def test_only_a_server_that_proves_its_name_hears_us(
    authority: Authority, stranger: Authority, scheme: str, trusts: str, address: str
) -> None:
    files: dict[str, dict[str, Path | bool]] = {
        "nobody": {},
        "a stranger": {"ca_file": stranger.file},
        "us": {"ca_file": authority.file},
        "anyone": {"tls_verify": False},
    }
    with listening(authority.issue("camera", address)) as listener:
        told = await failure(f"{scheme}://user:geheim@127.0.0.1:{listener.port}/geheim", **files[trusts])
    assert bool(listener.heard) == ((trusts, address) in HEARD)
    assert "geheim" not in told
