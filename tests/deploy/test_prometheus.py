"""The rules and alerts that are shipped, by promtool; each alert fires when it should, and only then."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import PATIENCE, require
from tests.parts_metrics import CONTRACT

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "deploy" / "prometheus"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE * 120
    )


def loaded(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def rules(name: str) -> list[dict[str, Any]]:
    return [rule for group in loaded(SHIPPED / "rules" / name)["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    return [str(rule["expr"]) for name in ("recording.yml", "alerts.yml") for rule in rules(name)]


def told() -> dict[str, set[bool]]:
    """By alert: whether some expectation is that it fires, and some that it does not."""
    found: dict[str, set[bool]] = {}
    for test in (test for path in CASES for test in loaded(path)["tests"]):
        for case in test["promql_expr_test"]:
            if alert := re.search(r'ALERTS{alertname="(\w+)"', case["expr"]):
                expected = len(case["exp_samples"])
                silent = expected < len(test["input_series"])  # what is fed and not expected does not fire
                found.setdefault(alert[1], set()).update({True} if expected else set(), {False} if silent else set())
    return found


def test_configuration_is_valid() -> None:
    done = promtool("check", "config", str(SHIPPED / "prometheus.yml"))
    assert done.returncode == 0, done.stderr
    assert "2 rule files found" in done.stdout


def test_files_are_clean_yaml() -> None:
    folders = [str(SHIPPED), str(ROOT / "deploy" / "grafana"), str(Path(__file__).parent / "rules")]
    command = [sys.executable, "-m", "yamllint", "--strict", "-c", str(ROOT / "deploy" / ".yamllint"), *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE * 60)
    assert done.stdout == ""


def test_rules_are_valid_and_none_is_there_twice() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *(str(p) for p in (SHIPPED / "rules").iterdir()))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_rules_give_what_is_expected(path: Path) -> None:
    done = promtool("test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", [rule["alert"] for rule in rules("alerts.yml")])
def test_alert_was_seen_to_fire_and_not_to_fire(alert: str) -> None:
    assert told()[alert] == {True, False}


@pytest.mark.parametrize("rule", rules("alerts.yml"), ids=lambda rule: rule["alert"])
def test_alert_says_where_and_what_to_do(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert notes["summary"].startswith("{{ $labels.node }}: ")
    assert re.search(r"\b([Ll]ook|[Rr]aise|[Rr]ead|Bring|Unmute|silence)\b", notes["description"])
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_rules_use_metrics_that_the_service_exposes_and_series_that_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules("recording.yml")}
    for expression in expressions():
        text = re.sub(r'"[^"]*"', '""', expression)
        names = set(re.findall(r"(?<![\w:])(?:\w+:)?ssondo_\w+(?::\w+)?", text))
        assert names <= recorded | set(CONTRACT) | {""}, names - recorded - set(CONTRACT)
