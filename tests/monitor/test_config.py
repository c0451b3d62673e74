"""What a configuration may say, and what is said of one that is wrong."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from monitor.config import LabelSettings, MicrophoneSettings, NetworkSettings, Settings, redacted, state_dir
from monitor.config_loading import load_settings
from monitor.config_wording import _kinds
from monitor.errors import ConfigError
from ssondo_stream.bundle import Label, StudentSpec, save_bundle
from tests.parts_mqtt import Authority

ANNOTATED = Path(__file__).parents[2] / "deploy" / "monitor.toml"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    labels = (Label("Dog bark"), Label("Smoke alarm", threshold=0.6, off=0.4, early=0.8))
    save_bundle(folder, StudentSpec("tiny", labels, embedding_dim=4), b"not a network")
    return folder


@pytest.fixture
def load(bundle: Path, tmp_path: Path):
    def load(text: str = "", **environ: str) -> Settings:
        path = tmp_path / "monitor.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, {"SSONDO_MODEL__BUNDLE": str(bundle), **environ})

    return load


@pytest.fixture
def mistakes(load, tmp_path: Path):
    def mistakes(text: str = "", **environ: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return mistakes


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


WRONG = {
    "unknown section": ('[mqqt]\nhost = "x"', "mqqt: unknown key; did you mean 'mqtt'?"),
    "unknown key": ('[mqtt]\nhots = "x"', "mqtt.hots: unknown key; did you mean 'host'?"),
    "unknown key like none": ("[spool]\nzzz = 1", "spool.zzz: unknown key; known: path, max_messages"),
    "whole number": ('[http]\nport = "high"', "http.port: got 'high', expected a whole number"),
    "fraction": ("[http]\nport = 1.5", "http.port: got 1.5, expected a whole number"),
    "too large": ("[http]\nport = 70000", "http.port: got 70000, expected at most 65535"),
    "too small": ("[model]\nthreads = 0", "model.threads: got 0, expected at least 1"),
    "not above": ("[detection]\nsettle_seconds = 0", "detection.settle_seconds: got 0, expected more than 0.0"),
    "nan": ("[detection]\nthreshold = nan", "detection.threshold: got nan, expected a finite number"),
    "infinity": ("[mqtt]\nlate_seconds = inf", "mqtt.late_seconds: got inf, expected a finite number"),
    "switch": ('[mqtt]\ntls = "maybe"', "mqtt.tls: got 'maybe', expected true or false"),
    "text": ("[mqtt]\nhost = 1", "mqtt.host: got 1, expected text in quotes"),
    "path": ("[spool]\npath = 1", "spool.path: got 1, expected a path in quotes"),
    "choice": ('[log]\nlevel = "loud"', "log.level: got 'loud', expected 'debug', 'info', 'warning' or 'error'"),
    "name": (
        '[node]\nname = "a/b"',
        "node.name: got 'a/b', expected 1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit",
    ),
    "topic": (
        '[mqtt]\nbase_topic = "a/#"',
        "mqtt.base_topic: got 'a/#', expected topic levels joined by '/', without spaces, '#' and '+'",
    ),
    "no table": ("mqtt = 5", "mqtt: got 5, expected a table"),
    "no array": ("source = 5", "source: got 5, expected tables headed [[source]]"),
    "one source": ('[source]\nname = "x"', "source: got a table, expected tables headed [[source]]"),
    "source without kind": (
        '[[source]]\nname = "x"',
        "source[0].kind: missing; expected one of 'microphone', 'file', 'stdin', 'pipe', 'network', 'demo'",
    ),
    "source of no kind": (
        '[[source]]\nname = "x"\nkind = "mike"',
        "source[0].kind: got 'mike', expected one of 'microphone', 'file', 'stdin', 'pipe', 'network', 'demo'",
    ),
    "source without path": (
        '[[source]]\nname = "x"\nkind = "file"',
        "source[0].path: missing; expected the path of a sound file",
    ),
    "key named as its kind": (
        '[[source]]\nname = "x"\nkind = "demo"\ndemo = 1',
        "source[0].demo: unknown key; known: name, gain_db, channel, calibration_db, flatline_seconds, "
        "silence_seconds, kind, seed, realtime",
    ),
    "channel": (
        '[[source]]\nname = "x"\nkind = "demo"\nchannel = "left"',
        "source[0].channel: got 'left', expected 'mix' or a whole number",
    ),
    "label twice": (
        '[detection.labels.dog_bark]\n[detection.labels."Dog bark"]',
        "detection.labels: got a table, expected each label once; two of these names mean the same label",
    ),
    "second of a name": (
        '[[source]]\nname = "x"\nkind = "demo"\n[[source]]\nname = "x"\nkind = "demo"',
        "source[1].name: got 'x' a second time, expected a name of its own",
    ),
    "second stdin": (
        '[[source]]\nname = "a"\nkind = "stdin"\nsample_rate = 8000\n'
        '[[source]]\nname = "b"\nkind = "stdin"\nsample_rate = 8000',
        "source[1].kind: got a second 'stdin', expected one; source[0] reads it",
    ),
    "pipe without path": (
        '[[source]]\nname = "a"\nkind = "pipe"\nsample_rate = 8000',
        "source[0].path: missing; expected the path of a named pipe",
    ),
    "stdin with path": (
        '[[source]]\nname = "a"\nkind = "stdin"\nsample_rate = 8000\npath = "x"',
        "source[0].path: not for kind 'stdin'; expected kind 'pipe' with it",
    ),
    "file that is not there": (
        '[[source]]\nname = "a"\nkind = "file"\npath = "none.wav"',
        "source[0].path: got 'none.wav', expected a file that can be read, but no such file or directory",
    ),
    "file that is a folder": (
        '[[source]]\nname = "a"\nkind = "file"\npath = "bundle"',
        "source[0].path: got 'bundle', expected a file that can be read, but it is a folder",
    ),
    "certificate without key": (
        '[mqtt]\nhost = "x"\ntls = true\ncert_file = "monitor.toml"',
        "mqtt.key_file: missing; expected the key of mqtt.cert_file",
    ),
    "key without certificate": (
        '[mqtt]\nhost = "x"\ntls = true\nkey_file = "monitor.toml"',
        "mqtt.cert_file: missing; expected the certificate of mqtt.key_file",
    ),
    "authority without TLS": (
        '[mqtt]\nhost = "x"\nca_file = "monitor.toml"',
        "mqtt.ca_file: given without TLS, expected mqtt.tls = true",
    ),
    "two passwords": (
        '[mqtt]\nhost = "x"\nusername = "u"\npassword = "p"\npassword_file = "monitor.toml"',
        "mqtt.password_file: given beside mqtt.password, expected one of the two",
    ),
    "password of nobody": (
        '[mqtt]\nhost = "x"\npassword = "p"',
        "mqtt.username: missing; expected the user to whom the password belongs",
    ),
    "user of the embedded broker": (
        '[mqtt]\nusername = "u"',
        "mqtt.username: given without mqtt.host; the embedded broker has no such thing",
    ),
    "one port twice": (
        "[http]\nport = 1883",
        "http.port: got 1883, expected another port than mqtt.embedded_port",
    ),
    "label that the bundle lacks": (
        "[detection.labels.dog_brak]",
        "detection.labels.dog_brak: bundle 'tiny' has no such label; did you mean 'dog_bark'?",
    ),
    "thresholds of all": (
        "[detection]\nthreshold = 0.5\nearly = 0.4",
        "detection: got off=0.3 threshold=0.5 early=0.4 with what bundle 'tiny' sets for dog_bark, "
        "expected off <= threshold <= early",
    ),
    "thresholds of one": (
        "[detection.labels.smoke_alarm]\noff = 0.7",
        "detection.labels.smoke_alarm: got off=0.7 threshold=0.6 early=0.8 with what bundle 'tiny' sets for "
        "smoke_alarm, expected off <= threshold <= early",
    ),
    "state in a file": (
        '[node]\nstate_dir = "monitor.toml"',
        "node.state_dir: got 'monitor.toml', expected a folder, but it is a file",
    ),
    "spool in a folder": (
        '[spool]\npath = "bundle"',
        "spool.path: got 'bundle', expected a file, but it is a folder",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistake_names_file_key_value_and_what_is_expected(mistakes, case: str) -> None:
    text, told = WRONG[case]
    assert f"monitor.toml: {told}" in mistakes(text)


def test_disabled_label_may_have_any_thresholds(load) -> None:
    load("[detection.labels.dog_bark]\nenabled = false\nthreshold = 0.99")


def test_all_mistakes_are_told_at_once_each_in_a_line(mistakes) -> None:
    text = """
        [[source]]
        kind = "demo"
        gain_db = 500
        [[source]]
        kind = "microphone"
        name = "b"
        [[source]]
        kind = "demo"
        name = "b"
        seed = "x"
        [http]
        port = 0
        [detection.labels.dog_brak]
        threshold = 7
        [mqtt]
        hots = "x"
        username = "u"
    """
    keys = [line.split(": ")[1] for line in mistakes(text)]
    assert sorted(keys) == [
        "detection.labels.dog_brak",
        "detection.labels.dog_brak.threshold",
        "http.port",
        "mqtt.hots",
        "mqtt.username",
        "source[0].gain_db",
        "source[0].name",
        "source[2].name",
        "source[2].seed",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("SSONDO_MQTT__HOTS", "x", "SSONDO_MQTT__HOTS: mqtt.hots: unknown key; did you mean 'host'?"),
        ("SSONDO_HTTP__PORT", "x", "SSONDO_HTTP__PORT: http.port: got 'x', expected a whole number"),
        ("SSONDO_NONSENSE", "1", "SSONDO_NONSENSE: nonsense: unknown key; known: node, source, model, detection, mqtt"),
        ("SSONDO_MQTT__HOST__NAME", "x", "SSONDO_MQTT__HOST__NAME: mqtt.host: got a table, expected text in quotes"),
        ("SSONDO_SOURCE__3__NAME", "x", "SSONDO_SOURCE__3__NAME: names no setting; sources are numbered from 0"),
        ("SSONDO_LOG", "{", "SSONDO_LOG: not valid JSON: "),
        ("SSONDO_LOG", '{"level": 1}', "SSONDO_LOG: log.level: got 1, expected 'debug'"),
    ],
)
def test_mistake_in_the_environment_names_the_variable(mistakes, variable: str, value: str, told: str) -> None:
    assert any(line.startswith(told) for line in mistakes("", **{variable: value}))


def test_bundle_that_is_not_there_is_a_mistake_beside_the_others(mistakes) -> None:
    lines = mistakes("[http]\nport = 0", SSONDO_MODEL__BUNDLE="/nowhere")
    assert lines[0].startswith("monitor.toml: http.port")
    assert lines[1].startswith("SSONDO_MODEL__BUNDLE: model.bundle: no bundle '/nowhere'")


def test_altered_bundle_is_told(mistakes, bundle: Path) -> None:
    (bundle / "student.onnx").write_bytes(b"something else")
    (line,) = mistakes()
    assert "model.bundle" in line
    assert "sha256" in line


def test_hop_longer_than_the_window_is_told(mistakes, tmp_path: Path) -> None:
    spec = StudentSpec("short", (Label("Dog bark"),), embedding_dim=4, window_frames=64)
    save_bundle(tmp_path / "short", spec, b"")
    lines = mistakes("[model]\nhop_columns = 3", SSONDO_MODEL__BUNDLE=str(tmp_path / "short"))
    assert lines == ["monitor.toml: model.hop_columns: got 3, expected at most 2, the window of bundle 'short'"]


def unreadable(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "no such file; expected a TOML configuration"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (unreadable, "byte 0 is not UTF-8; expected a TOML text file"),
        (lambda path: path.write_text("a = 1\nb = = 2"), "not valid TOML: Invalid value (at line 2, column 5)"),
        (
            lambda path: path.write_text("a = 1\na = 2\n"),
            "not valid TOML: Cannot overwrite a value (at line 2",
        ),
        (lambda path: path.write_text("a = " + "[" * 100_000), "not valid TOML: "),
    ],
)
def test_file_that_cannot_be_read_is_told_in_one_line(tmp_path: Path, make, told: str) -> None:
    path = tmp_path / "monitor.toml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)


def test_file_without_permission_is_told(tmp_path: Path) -> None:
    path = tmp_path / "monitor.toml"
    path.touch(mode=0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65_534)  # root may read everything
        with pytest.raises(ConfigError, match=rf"^{path}: cannot be read: Permission denied$"):
            load_settings(path, {})
    finally:
        os.seteuid(user)


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
    assert redacted(settings)["http"] == {"enabled": True, "host": "127.0.0.1", "port": 9108}


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


def test_annotated_file_is_valid_as_it_stands(load) -> None:
    assert [source.kind for source in load(ANNOTATED.read_text(encoding="utf-8")).source] == ["microphone"]


def test_annotated_file_is_valid_with_everything_commented_in(load, tmp_path: Path) -> None:
    text = commented_in().replace("/etc/ssondo-monitor", str(tmp_path)).replace('password = "secret"', "")
    for name in re.findall(rf'"{tmp_path}/(.*?)"', text):
        (tmp_path / name).write_text("x")
    own = Authority(tmp_path / "authority").issue("sensor")
    text = re.sub(r'ca_file = ".*?"', f'ca_file = "{own.authority}"', text)
    text = re.sub(r'cert_file = ".*?"', f'cert_file = "{own.certificate}"', text)
    text = re.sub(r'key_file = ".*?"', f'key_file = "{own.key}"', text)
    settings = load(text)
    assert [source.kind for source in settings.source] == ["microphone", "file", "pipe", "network", "demo"]
    assert list(settings.detection.labels) == ["dog_bark"]


def test_annotated_file_shows_every_key(tmp_path: Path) -> None:
    shown = set(re.findall(r"^([a-z_]+) = ", commented_in(), flags=re.M))
    sections: list[type[BaseModel]] = [type(section) for _, section in Settings() if isinstance(section, BaseModel)]
    keys = {key for model in [*sections, LabelSettings, *_kinds().values()] for key in model.model_fields}
    assert keys - {"labels"} == shown


def test_annotated_file_shows_the_defaults() -> None:
    shown = tomllib.loads(commented_in())
    for name, section in Settings():
        if isinstance(section, BaseModel):
            defaults = section.model_dump(exclude_none=True, exclude={"name", "labels"})
            assert {key: shown[name][key] for key in defaults if defaults[key] is not False} == {
                key: value for key, value in defaults.items() if value is not False
            }


def commented_in() -> str:
    """The annotated file with every `# key = value` and `# [table]` taken out of its comment."""
    text = ANNOTATED.read_text(encoding="utf-8")
    return re.sub(r"^# ?(?=(\[\[?[a-z_.]+\]\]?|[a-z_]+ = \S.*)$)", "", text, flags=re.M)


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "key_file"])
def test_file_that_holds_no_certificate_is_told_before_the_service_starts(load, tmp_path: Path, key: str) -> None:
    own = Authority(tmp_path / "authority").issue("sensor")
    files = {"ca_file": own.authority, "cert_file": own.certificate, "key_file": own.key}
    files[key] = tmp_path / "wrong.pem"
    files[key].write_text("nothing")
    lines = "".join(f'{name} = "{path}"\n' for name, path in files.items())
    with pytest.raises(ConfigError, match=r"monitor\.toml: mqtt: ") as caught:
        load(f'[mqtt]\nhost = "broker"\ntls = true\n{lines}')
    assert str(files["cert_file" if key == "key_file" else key]) in str(caught.value)
