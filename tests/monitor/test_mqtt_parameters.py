"""What the settings make of a connection, and what is said of files that cannot be used."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from monitor.config import MqttSettings
from monitor.errors import ConfigError
from monitor.mqtt_parameters import parameters
from tests.parts_mqtt import Authority
from tests.parts_mqtt_sink import authority, mqtt_settings

__all__ = ["authority"]


async def test_two_nodes_of_one_base_topic_have_different_names_for_the_broker() -> None:
    settings = MqttSettings(base_topic="home/sound")

    assert [parameters(settings, node).client_id for node in ("a", "b")] == ["home-sound-a", "home-sound-b"]


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "127.0.0.1:1883"),
        ({"embedded_port": 1999}, "127.0.0.1:1999"),
        ({"embedded_port": 1999, "port": 9}, "127.0.0.1:1999"),
        ({"host": "broker"}, "broker:1883"),
        ({"host": "broker", "tls": True}, "broker:8883"),
        ({"host": "broker", "tls": True, "port": 9}, "broker:9"),
    ],
)
def test_address_follows_from_host_port_and_tls(settings: dict[str, Any], address: str) -> None:
    assert parameters(MqttSettings(**settings), "pi1").address == address


def _mistakes(folder: Path, authority: Authority) -> dict[str, tuple[dict[str, Any], str]]:
    noise, client, other = folder / "noise", authority.issue("client"), authority.issue("other")
    noise.write_bytes(b"\xff no certificate")
    encrypted = folder / "encrypted.key"
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(client.key), "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    absent = folder / "absent"
    pair = {"tls": True, "cert_file": client.certificate, "key_file": client.key}
    return {
        "ca absent": ({"tls": True, "ca_file": absent}, f"ca_file {absent}: No such file"),
        "ca noise": ({"tls": True, "ca_file": noise}, f"ca_file {noise}: holds no PEM certificate"),
        "ca folder": ({"tls": True, "ca_file": folder}, f"ca_file {folder}: Is a directory"),
        "cert absent": ({**pair, "cert_file": absent}, f"cert_file {absent}: No such file"),
        "key absent": ({**pair, "key_file": absent}, f"key_file {absent}: No such file"),
        "key of another": ({**pair, "key_file": other.key}, f"key_file {other.key}: does not hold"),
        "key encrypted": ({**pair, "key_file": encrypted}, f"key_file {encrypted}: does not hold, unencrypted"),
        "cert noise": ({**pair, "cert_file": noise}, str(noise)),
        "key alone": ({"tls": True, "key_file": client.key}, "key_file needs cert_file"),
        "no host": ({"tls": True, "host": None}, "tls needs host"),
        "no tls": ({"ca_file": client.authority}, "ca_file needs tls = true"),
        "password absent": ({"password_file": absent}, f"password_file {absent}: No such file"),
        "password noise": ({"password_file": noise}, f"password_file {noise}"),
        "two passwords": ({"password": "secret", "password_file": absent}, "both set: keep one"),
    }


@pytest.mark.parametrize(
    "mistake",
    [
        *("ca absent", "ca noise", "ca folder", "cert absent", "key absent", "key of another", "key encrypted"),
        *("cert noise", "key alone", "no host", "no tls", "password absent", "password noise", "two passwords"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority, mistake: str) -> None:
    settings, told = _mistakes(tmp_path, authority)[mistake]

    with pytest.raises(ConfigError) as caught:
        parameters(mqtt_settings(**settings), "pi1")
    assert told in str(caught.value)
    assert str(caught.value).startswith("[mqtt] ")


def test_password_is_not_shown() -> None:
    shown = repr(parameters(MqttSettings(username="pi", password="secret"), "pi1"))

    assert "secret" not in shown
