"""The example automations: they name entities that exist, ring for news, and not for what is old."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from monitor.config import Settings
from monitor.homeassistant import devices
from monitor.model import open_student
from ssondo_stream.bundle import slugify
from tests.parts_schema import DOCS

DEPLOY = DOCS.parent
FILE = DEPLOY / "homeassistant" / "automations.yaml"
PAGE = (DOCS / "home-assistant.md").read_text(encoding="utf-8")
AUTOMATIONS: dict[str, dict[str, Any]] = {item["id"]: item for item in yaml.safe_load(FILE.read_text(encoding="utf-8"))}
NOW = datetime(2026, 9, 1, 2, 13, 5, tzinfo=UTC)
FRESH, OLD = NOW.isoformat(), (NOW - timedelta(minutes=1)).isoformat()
START = {"event_type": "started", "slug": "siren", "label": "Siren", "source": "yard", "score": 0.9, "confirmed": None}
REFUTED = {**START, "event_type": "ended", "confirmed": False}


def rings(automation: str, before: str, after: str, attributes: dict[str, Any] | None = None) -> bool:
    """Whether a change of its entity's state sets an automation off, as Home Assistant decides it."""
    (trigger,) = AUTOMATIONS[automation]["triggers"]
    wanted = "from" not in trigger or before == trigger["from"]
    wanted &= "to" not in trigger or after == trigger["to"]
    wanted &= before not in _list(trigger.get("not_from")) and after not in _list(trigger.get("not_to"))
    conditions = AUTOMATIONS[automation].get("conditions", [])
    return wanted and all(true(item["value_template"], after, attributes or {}) for item in conditions)


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def true(template: str, state: str, attributes: dict[str, Any]) -> bool:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.globals.update(now=lambda: NOW, as_datetime=datetime.fromisoformat)
    trigger = {"to_state": {"state": state, "attributes": attributes}}
    return environment.from_string(template).render(trigger=trigger) == "True"


def test_every_entity_is_one_that_the_shipped_student_brings() -> None:
    settings = Settings.model_validate({"node": {"name": "pi1"}, "source": [{"kind": "demo", "name": "yard"}]})
    (device,) = devices(settings, settings.source, open_student(settings.model).spec).values()
    parts = device.components().values()
    there = {f"{part['platform']}." + slugify(f"pi1 yard {part['name']}") for part in parts}
    named = {trigger["entity_id"] for item in AUTOMATIONS.values() for trigger in item["triggers"]}
    named |= set(re.findall(r"\b(?:event|binary_sensor|sensor)\.pi1_\w+", PAGE))
    assert named <= there


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("off", "on", True),
        ("unavailable", "on", False),
        ("unknown", "on", False),
        ("on", "off", False),
        ("on", "unavailable", False),
    ],
)
def test_alarm_rings_from_off_to_on_alone(before: str, after: str, expected: bool) -> None:
    assert rings("ssondo_smoke_alarm", before, after) is expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (OLD, FRESH, True),
        ("unknown", FRESH, True),
        ("unavailable", OLD, False),
        ("unavailable", FRESH, False),
        ("unknown", OLD, False),
        (FRESH, "unavailable", False),
        ("unavailable", "unknown", False),
    ],
)
def test_event_rings_when_it_is_news_and_not_when_its_entity_comes_back(
    before: str, after: str, expected: bool
) -> None:
    assert rings("ssondo_sound", before, after, START) is expected
    assert rings("ssondo_refuted", before, after, REFUTED) is expected


@pytest.mark.parametrize(
    "other", [{"event_type": "ended"}, {"slug": "rain"}, {"score": 0.7}], ids=["an end", "another label", "unsure"]
)
def test_event_that_is_not_meant_rings_not(other: dict[str, Any]) -> None:
    assert not rings("ssondo_sound", OLD, FRESH, {**START, **other})


@pytest.mark.parametrize("confirmed", [True, None])
def test_notification_goes_for_refuted_starts_alone(confirmed: bool | None) -> None:
    assert not rings("ssondo_refuted", OLD, FRESH, {**REFUTED, "confirmed": confirmed})


def test_deafness_is_told_after_a_while() -> None:
    (trigger,) = AUTOMATIONS["ssondo_deaf"]["triggers"]
    assert trigger["for"] == "00:05:00"
    assert rings("ssondo_deaf", OLD, "unavailable")
    assert not rings("ssondo_deaf", "unavailable", OLD)


def test_pieces_on_the_page_are_those_of_the_file() -> None:
    alarm, event = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
    assert alarm["triggers"] == AUTOMATIONS["ssondo_smoke_alarm"]["triggers"]
    assert event["triggers"] == AUTOMATIONS["ssondo_sound"]["triggers"]
    assert event["conditions"] == AUTOMATIONS["ssondo_sound"]["conditions"][:1]


def test_file_is_clean_yaml() -> None:
    command = [sys.executable, "-m", "yamllint", "--strict", "-c", str(DEPLOY / ".yamllint"), str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_logged_phrases_and_files_that_the_page_names_exist() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (DEPLOY.parent / "monitor").glob("*.py"))
    logged = ("home assistant is not told", "home assistant gets no sensor per label")
    for phrase in (*logged, "mqtt broker hangs up on announcements", ".retained"):
        assert phrase in PAGE
        assert phrase in code
    assert Path(DEPLOY / "mosquitto" / "acl").read_text().count("# topic") == 2
