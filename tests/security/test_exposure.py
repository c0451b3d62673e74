"""What opens the service to others is said at every start, in the status and by `check`."""

import json
from pathlib import Path

import pytest

from monitor.config import Settings
from monitor.exposure import exposures
from tests.parts import free_port
from tests.parts_config import bundle, load
from tests.parts_mqtt import Mosquitto, subscriber
from tests.parts_service import running

__all__ = ["bundle", "load"]

CAMERA = '[[source]]\nkind = "network"\nname = "cam"\nurl = "rtsps://cam.example/audio"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", None),
        ('[mqtt]\nhost = "localhost"\n', None),
        ('[mqtt]\nhost = "broker.example"\ntls = true\n', None),
        ('[mqtt]\nhost = "broker.example"\n', "mqtt: events can be read and altered on the way to broker.example"),
        ('[mqtt]\nhost = "broker.example"\nusername = "u"\npassword = "p"\n', "mqtt: password and events can be read"),
        ('[mqtt]\nenabled = false\nhost = "broker.example"\n', None),
        ('[http]\nhost = "::"\nallow_anonymous = true\n', "http: whoever reaches :: port 9108 reads metrics"),
        ('[http]\nhost = "::"\ntoken = "0123456789abcdef"\n', None),
        ("[http]\nallow_anonymous = true\n", None),
        (CAMERA, None),
        (CAMERA + "tls_verify = false\n", "source cam: the certificate of its server is not verified"),
    ],
)
def test_each_opening_is_told_with_its_remedy(load, text: str, told: str | None) -> None:
    found = exposures(load(text))
    assert len(found) == (told is not None)
    assert told is None or (told in found[0] and ": set " in found[0])


def test_default_configuration_opens_nothing() -> None:
    assert exposures(Settings()) == []


def test_secret_that_everyone_can_read_is_told(load, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    settings = load('[http]\ntoken_file = "token"\n')
    assert exposures(settings) == [f"http: everyone on this machine can read token_file {token}: chmod o-r"]
    token.chmod(0o640)
    assert exposures(settings) == []


async def test_service_warns_at_start_and_in_its_status(tmp_path: Path) -> None:
    camera = CAMERA.replace("cam.example", f"127.0.0.1:{free_port()}") + "tls_verify = false\n"
    async with Mosquitto(tmp_path / "broker") as broker, subscriber(broker.port) as inbox:
        config = f'{camera}[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        with running(tmp_path / "s", config) as service:
            await inbox.until(lambda inbox: bool(inbox.on("ssondo/test/status")), 30)
            status = json.loads(inbox.on("ssondo/test/status")[0])
            assert "certificate of its server is not verified" in status["exposed"][0]
            service.wait(lambda s: s.get("/health")[0] == 200, "HTTP")
            assert service.log().count("exposed by configuration") == 1
