"""Users, topics and certificates, as a real broker accepts or refuses them."""

import gc
from pathlib import Path
from typing import Any

import pytest

from tests.parts_events import event
from tests.parts_mqtt import Authority, Mosquitto, subscriber
from tests.parts_mqtt_sink import (
    EVENTS,
    authority,
    broker,
    connected,
    first_failure,
    mqtt_sink,
    running,
    stranger,
    until,
)

__all__ = ["authority", "broker", "stranger"]


@pytest.mark.parametrize(
    "login", [{}, {"username": "pi"}, {"username": "pi", "password": "wrong"}, {"username": "x", "password": "right"}]
)
async def test_refused_user_or_password_is_told(
    tmp_path: Path, login: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with Mosquitto(tmp_path, users={"pi": "right"}) as broker:
        detail = await first_failure(mqtt_sink(broker.port, **login))

    assert "refuses user or password: check [mqtt] username and password" in detail
    assert "wrong" not in caplog.text + detail


async def test_password_file_is_read_at_each_connection(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    async with (
        Mosquitto(tmp_path / "broker", users={"pi": "right"}) as broker,
        running(mqtt_sink(broker.port, username="pi", password_file=password)) as sink,
    ):
        await until(lambda: "refuses" in (sink.detail or ""))
        password.write_text("right\n")
        await until(lambda: sink.connected)


async def test_broker_that_allows_each_node_its_own_topics_suffices(tmp_path: Path) -> None:
    acl = "user pi\ntopic readwrite ssondo/pi1/#\nuser reader\ntopic read #\n"
    async with (
        Mosquitto(tmp_path, users={"pi": "p", "reader": "r"}, acl=acl) as broker,
        subscriber(broker.port, user="reader", password="r") as inbox,
        connected(broker.port, username="pi", password="p") as sink,
    ):
        await sink.send(event())
        await inbox.see("ssondo/pi1/availability", b"online")
        await inbox.until(lambda inbox: len(inbox.on(EVENTS)) == 1)


async def test_tls_with_our_authority_and_a_client_certificate_connects(tmp_path: Path, authority: Authority) -> None:
    client = authority.issue("client")
    async with (
        Mosquitto(tmp_path, tls=authority.issue("server"), client_certificates=True) as broker,
        connected(
            broker.port, tls=True, ca_file=authority.file, cert_file=client.certificate, key_file=client.key
        ) as sink,
    ):
        await sink.send(event())
        assert sink.acked == 1


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the library leaves a failed handshake's socket to gc
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("system's authorities", "certificate that does not hold: self-signed certificate in certificate chain"),
        ("another authority", "check [mqtt] host, and ca_file, which names the authority to trust"),
        ("another name", "certificate is not valid for '127.0.0.1'"),
        ("no TLS", "ended the connection at once: check [mqtt] port and tls"),
        ("no client certificate", "refuses us at TLS"),
        ("a stranger's client certificate", "check [mqtt] port, tls, cert_file and key_file"),
    ],
)
async def test_certificate_that_does_not_hold_on_either_side_is_told_at_once(
    tmp_path: Path, authority: Authority, stranger: Authority, fault: str, told: str
) -> None:
    client = stranger.issue("client")
    secure = {"tls": True, "ca_file": authority.file}
    settings: dict[str, dict[str, Any]] = {
        "system's authorities": {"tls": True},
        "another authority": {"tls": True, "ca_file": stranger.file},
        "another name": {**secure},
        "no TLS": {},
        "no client certificate": {**secure},
        "a stranger's client certificate": {**secure, "cert_file": client.certificate, "key_file": client.key},
    }
    server = authority.issue("server", "DNS:elsewhere.example" if fault == "another name" else "IP:127.0.0.1")
    async with Mosquitto(tmp_path, tls=server, client_certificates="client" in fault) as broker:
        detail = await first_failure(mqtt_sink(broker.port, **settings[fault]), seconds=5)
        gc.collect()

    assert told in detail
    assert str(broker.port) in detail


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_tls_to_a_port_without_it_is_told(broker: Mosquitto) -> None:
    assert "check [mqtt] port and tls" in await first_failure(mqtt_sink(broker.port, tls=True))
    gc.collect()
