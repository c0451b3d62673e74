"""What a configuration may say, and where its values come from."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from monitor.config import MicrophoneSettings, Settings, state_dir
from monitor.config_loading import load_settings
from tests.parts_config import bundle, load

__all__ = ["bundle", "load"]


def test_nothing_at_all_gives_the_defaults(bundle: Path) -> None:
    settings = load_settings(None, {"SSONDO_MODEL__BUNDLE": str(bundle), "PATH": "/bin"})
    assert settings.source == ()
    assert settings.http.port == 9108
    assert settings.mqtt.host is None


def test_file_overrides_defaults_and_environment_overrides_the_file(load) -> None:
    text = '[mqtt]\nhost = "file"\nport = 1000\n'
    settings = load(text, SSONDO_MQTT__HOST="environment")
    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.keepalive_seconds) == ("environment", 1000, 15)


@pytest.mark.parametrize(
    ("variable", "value", "read"),
    [
        ("SSONDO_HTTP__PORT", "9200", lambda s: s.http.port == 9200),
        ("SSONDO_HTTP__ENABLED", "false", lambda s: s.http.enabled is False),
        ("SSONDO_DETECTION__SETTLE_SECONDS", "4.5", lambda s: s.detection.settle_seconds == 4.5),
        ("SSONDO_LOG", '{"level": "debug"}', lambda s: s.log.level == "debug"),
        ("SSONDO_DETECTION__CONFIRM", "0.4", lambda s: s.detection.confirm == 0.4),
        ("SSONDO_DETECTION__LABELS__DOG_BARK__ENABLED", "no", lambda s: not s.detection.labels["dog_bark"].enabled),
        ("SSONDO_DETECTION__LABELS", '{"dog_bark": {"early": 1}}', lambda s: s.detection.labels["dog_bark"].early == 1),
        ("SSONDO_SOURCE", '[{"kind": "demo", "name": "d"}]', lambda s: s.source[0].name == "d"),
        ("SSONDO_MQTT__HOST", "", lambda s: s.mqtt.host is None),
    ],
)
def test_environment_sets(load, variable: str, value: str, read) -> None:
    assert read(load("", **{variable: value}))


def test_environment_reaches_into_a_source_by_its_number(load) -> None:
    text = '[[source]]\nkind = "demo"\nname = "a"\n'
    settings = load(
        text, SSONDO_SOURCE__0__GAIN_DB="3", SSONDO_SOURCE__1__KIND="microphone", SSONDO_SOURCE__1__NAME="b"
    )
    assert settings.source[0].gain_db == 3
    assert isinstance(settings.source[1], MicrophoneSettings)


def test_label_may_be_named_as_people_write_it(load) -> None:
    assert load('[detection.labels."Dog Bark"]\nthreshold = 0.6').detection.labels["dog_bark"].threshold == 0.6


def test_paths_are_relative_to_the_file_or_for_variables_to_the_working_directory(
    load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "yard.wav").touch()
    monkeypatch.chdir(elsewhere)
    text = '[spool]\npath = "spool.sqlite"\n[[source]]\nkind = "file"\nname = "yard"\npath = "yard.wav"'
    settings = load(text, SSONDO_NODE__STATE_DIR="state")
    assert settings.spool.path == tmp_path / "spool.sqlite"
    assert settings.source[0].path == tmp_path / "yard.wav"
    assert settings.node.state_dir == elsewhere / "state"


def test_bundle_given_as_a_path_is_relative_to_the_file(tmp_path: Path, bundle: Path) -> None:
    path = tmp_path / "monitor.toml"
    path.write_text('[model]\nbundle = "./bundle"')
    assert load_settings(path, {}).model.bundle == str(bundle)


def test_disabled_label_may_have_any_thresholds(load) -> None:
    load("[detection.labels.dog_bark]\nenabled = false\nthreshold = 0.99")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a", "XDG_STATE_HOME": "/x"}, "/var/lib/a"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/u"}, "/x/ssondo-monitor"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/u"}, "/home/u/.local/state/ssondo-monitor"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/ssondo-monitor"),
    ],
)
def test_state_directory_comes_from_the_environment(environ: Mapping[str, str], expected: str) -> None:
    assert state_dir(Settings(), environ) == Path(expected)


def test_state_directory_of_the_settings_comes_first(load) -> None:
    assert state_dir(load('[node]\nstate_dir = "/s"'), {"STATE_DIRECTORY": "/var/lib/a"}) == Path("/s")
