"""What is said of a configuration that is wrong."""

from pathlib import Path

import pytest

from ssondo_stream.bundle import Label, StudentSpec, save_bundle
from tests.parts_config import bundle, load, mistakes

__all__ = ["bundle", "load", "mistakes"]

WRONG = {
    "unknown section": ('[mqqt]\nhost = "x"', "mqqt: unknown key; did you mean 'mqtt'?"),
    "unknown key": ('[mqtt]\nhots = "x"', "mqtt.hots: unknown key; did you mean 'host'?"),
    "unknown key like none": ("[spool]\nzzz = 1", "spool.zzz: unknown key; known: path, max_messages"),
    "whole number": ('[http]\nport = "high"', "http.port: got 'high', expected a whole number"),
    "fraction": ("[http]\nport = 1.5", "http.port: got 1.5, expected a whole number"),
    "too large": ("[http]\nport = 70000", "http.port: got 70000, expected at most 65535"),
    "too small": ("[model]\nthreads = 0", "model.threads: got 0, expected at least 1"),
    "not above": ("[detection]\nsettle_seconds = 0", "detection.settle_seconds: got 0, expected more than 0.0"),
    "not certain": ("[detection]\nconfirm = 1.5", "detection.confirm: got 1.5, expected at most 1.0"),
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
    "latitude without longitude": (
        "[node]\nlatitude = 48.1",
        "node.longitude: missing; expected both degrees of a position, or neither",
    ),
    "longitude without latitude": (
        "[node]\nlongitude = 11.6",
        "node.latitude: missing; expected both degrees of a position, or neither",
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


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ('mode = "continuous"', "model.mode: got 'continuous', expected 'windowed': bundle 'tiny' looks at its"),
        ('engine = "onnx"\nprecision = "bf16"', "model.precision: got 'bf16', expected 'fp32' with engine 'onnx'"),
        ('engine = "openvino"\ndevice = "cuda"', "model.device: got 'cuda', expected 'cpu' with engine 'openvino'"),
        ('engine = "tensorflow"', "model.engine: got 'tensorflow', expected 'auto', 'onnx', 'openvino' or 'torch'"),
    ],
)
def test_engine_that_cannot_run_the_bundle_so_is_told(mistakes, settings: str, line: str) -> None:
    (found,) = mistakes(f"[model]\n{settings}")
    assert found.startswith(f"monitor.toml: {line}")


def test_bundle_without_labels_is_told(mistakes, tmp_path: Path) -> None:
    save_bundle(tmp_path / "bare", StudentSpec("bare", (), embedding_dim=4), b"")
    (line,) = mistakes("", SSONDO_MODEL__BUNDLE=str(tmp_path / "bare"))
    assert "bundle 'bare' has no labels, expected one with a head" in line
