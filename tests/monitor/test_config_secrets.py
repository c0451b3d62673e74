"""Secrets of a configuration are shown nowhere."""

import pytest

from monitor.config import NetworkSettings, redacted
from tests.parts_config import bundle, load, mistakes

__all__ = ["bundle", "load", "mistakes"]

SECRETS = """
    [[source]]
    kind = "network"
    name = "cam"
    url = "rtsp://user:hunter2@cam/audio"
    [mqtt]
    host = "x"
    username = "u"
    password = "hunter2"
"""


def test_redacted_settings_and_their_text_hold_no_secret(load) -> None:
    settings = load(SECRETS)
    assert isinstance(settings.source[0], NetworkSettings)
    assert settings.source[0].url.get_secret_value() == "rtsp://user:hunter2@cam/audio"
    assert "hunter2" not in f"{redacted(settings)} {settings!r} {settings}"
    assert redacted(settings)["http"]["token"] is None


@pytest.mark.parametrize(
    "text",
    [
        SECRETS.replace('password = "hunter2"', 'password = ["hunter2"]'),
        SECRETS.replace('password = "hunter2"', 'pasword = "hunter2"'),
        SECRETS.replace('url = "rtsp', 'gain_db = "rtsp'),
        SECRETS.replace('host = "x"', ""),
        SECRETS + '\n"hunter',
    ],
)
def test_no_mistake_shows_a_secret(mistakes, text: str) -> None:
    assert "hunter2" not in " ".join(mistakes(text))


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ({"SSONDO_MQTT": "null"}, "SSONDO_MQTT: mqtt: got None, expected a table"),
        ({"SSONDO_MQTT": '{"embedded_port": null}'}, "mqtt.embedded_port: got None, expected a whole number"),
        ({"SSONDO_NODE__NAME": "caf\udce9"}, "SSONDO_NODE__NAME: not UTF-8 text"),
        ({"SSONDO_N\udce9": "x"}, "SSONDO_N\\udce9: not UTF-8 text"),
        ({"SSONDO_NODE": '{"name": "\\ud800"}'}, "SSONDO_NODE: not valid JSON: not UTF-8 text"),
    ],
)
def test_variable_of_no_use_is_named(mistakes, variable: dict[str, str], told: str) -> None:
    assert told in mistakes(**variable)[0]
