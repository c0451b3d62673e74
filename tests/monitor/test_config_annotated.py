"""The annotated configuration that is shipped is valid and complete."""

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from monitor.config import LabelSettings, Settings
from monitor.config_wording import _kinds
from tests.parts_config import bundle, load
from tests.parts_mqtt import Authority

__all__ = ["bundle", "load"]

ANNOTATED = Path(__file__).parents[2] / "deploy" / "monitor.toml"


def test_annotated_file_is_valid_as_it_stands(load) -> None:
    assert [source.kind for source in load(ANNOTATED.read_text(encoding="utf-8")).source] == ["microphone"]


def test_annotated_file_is_valid_with_everything_commented_in(load, tmp_path: Path) -> None:
    text = commented_in().replace("/etc/ssondo-monitor", str(tmp_path)).replace('password = "secret"', "")
    text = text.replace('token = "not-so-secret-token"', "")
    for name in re.findall(rf'"{tmp_path}/(.*?)"', text):
        (tmp_path / name).write_text("x" * 16)
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
