"""What is said of a configuration file, or of a file it names, that cannot be used."""

import os
from pathlib import Path

import pytest

from monitor.config_loading import load_settings
from monitor.errors import ConfigError
from tests.parts_config import bundle, load
from tests.parts_mqtt import Authority

__all__ = ["bundle", "load"]


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
