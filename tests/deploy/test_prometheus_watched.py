"""Every query of every rule and dashboard, answered by a real Prometheus that scraped real services with faults."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import yaml

from deploy.grafana.preview import draw, filled
from tests.deploy.parts_watched import PLACES, SHIPPED, Fleet, Series, fleet, server, wait
from tests.deploy.test_grafana import BOARDS, GRAFANA, dashboard
from tests.deploy.test_prometheus import rules
from tests.parts_metrics import CONTRACT

SPANS = {"__rate_interval": "10s", "__range": "5m", "__interval": "1s"}
ONE = {"node": "yard", "source": ".*", "label": ".*", **SPANS}
"""What a user chose: the sensor with every fault."""
ALL = ONE | {"node": ".*"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The fleet after every fault was seen."""
    with fleet(tmp_path_factory.mktemp("fleet"), speed=8.0) as found:
        found.lose_barn()
        found.lose_and_find_gate()
        found.prometheus.until('ssondo_source_flatline{source="pond"} == 1')
        found.prometheus.until('ssondo_spool_messages{node="yard"} > 0')
        found.prometheus.until("ssondo_events_refuted_total > 0")
        yield found


def queries() -> Iterator[tuple[str, str]]:
    """Dashboard and panel, and query, of all of them."""
    for name in BOARDS:
        board = dashboard(name)
        for mark in board["annotations"].get("list", []):
            yield f"{name}: mark {mark['name']}", mark["expr"]
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']} {target['refId']}", target["expr"]


def variables() -> list[tuple[str, str, str]]:
    """Dashboard, series and label of every choice that Prometheus offers."""
    found = []
    for name in BOARDS:
        for choice in dashboard(name)["templating"]["list"]:
            if choice["type"] == "query":
                series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", choice["query"]).groups()
                found.append((name, series, label))
    return found


@pytest.mark.parametrize(("place", "expression"), list(queries()), ids=[place for place, _ in queries()])
def test_query_of_a_dashboard_has_data(watched: Fleet, place: str, expression: str) -> None:
    chosen = filled(expression, ONE if place.startswith("sensor") else ALL)
    rare = place.startswith("sensor") and chosen.endswith(("> 0", ">= 0"))  # absent while nothing happens
    watched.prometheus.until(f"last_over_time(({chosen})[2m:1s])" if rare else chosen)


@pytest.mark.parametrize(("place", "series", "label"), variables())
def test_variable_offers_what_there_is(watched: Fleet, place: str, series: str, label: str) -> None:
    offered = watched.prometheus.get(f"label/{label}/values", **{"match[]": filled(series, ONE)})
    expected = {"node": set(PLACES), "source": {"eaves", "gate", "pond"}, "label": {"smoke_alarm", "siren"}}
    assert isinstance(offered, list)
    assert expected[label] <= set(offered)


@pytest.mark.parametrize("rule", rules("recording.yml"), ids=lambda rule: rule["record"])
def test_recorded_series_has_data(watched: Fleet, rule: dict[str, Any]) -> None:
    watched.prometheus.until(rule["record"])


@pytest.mark.parametrize("rule", rules("alerts.yml"), ids=lambda rule: rule["alert"])
def test_what_an_alert_looks_at_has_data(watched: Fleet, rule: dict[str, Any]) -> None:
    """Its expression without the condition; promtool's tests have the conditions."""
    watched.prometheus.until(re.sub(r" (==|>|<) [\d.]+| unless .*", "", rule["expr"]))


def test_states_are_those_of_the_faults(watched: Fleet) -> None:
    wait(
        lambda: [({}, 1.0)] if _states(watched) == {"kitchen": 0, "yard": 2, "barn": 3} else [],
        f"states of the fleet, the last being {_states(watched)}",
        60,
    )


def test_alerts_of_the_faults_are_on_their_way_and_say_what_is_meant(watched: Fleet) -> None:
    wanted = {
        ("SsondoSensorSilent", "barn"),
        ("SsondoBrokerDown", "yard"),
        ("SsondoCoverageLow", "yard"),
    }
    wait(lambda: [({}, 1.0)] if wanted <= _alerts(watched).keys() else [], f"{wanted}", 60)
    for (_, node), notes in _alerts(watched).items():
        text = notes["summary"] + notes["description"]
        assert notes["summary"].startswith(f"{node}: ")
        assert "<no value>" not in text
        assert "error" not in text


def test_metrics_of_dashboards_are_the_services(watched: Fleet) -> None:
    used = {name for _, text in queries() for name in re.findall(r"(?<![:\w])ssondo_\w+(?![:\w])", text)}
    used = {re.sub(r"_bucket$", "", name) for name in used}
    assert used
    assert used <= set(CONTRACT)


def test_a_centre_that_asks_the_sites_has_what_the_fleet_dashboard_needs(watched: Fleet, tmp_path: Path) -> None:
    settings = documented("/federate")
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{watched.prometheus.port}"]}]
    with server(tmp_path, settings) as centre:
        for place, expression in queries():
            if place.startswith("fleet"):
                centre.until(filled(expression, ALL))


def test_agents_that_write_to_a_centre_are_watched_by_its_rules(watched: Fleet, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sensors.yml").write_text(watched.sensors.read_text())
    shutil.copytree(SHIPPED / "rules", tmp_path / "centre" / "rules")
    rules_alone = {"rule_files": ["rules/*.yml"]}
    with server(tmp_path / "centre", rules_alone, "--web.enable-remote-write-receiver") as centre:
        settings = documented("remote_write")
        settings["remote_write"][0]["url"] = f"http://127.0.0.1:{centre.port}/api/v1/write"
        with server(tmp_path / "site", settings, "--enable-feature=agent", store="agent"):
            centre.until('node:ssondo_state:worst{site="a", node="barn"} == 3')
            centre.until('node:ssondo_state:worst{site="a", node="kitchen"} == 0')
        centre.until('ALERTS{alertname="SsondoSensorSilent", site="a", node="barn"}')


def test_rows_of_a_table_merge_because_their_labels_are_alike(watched: Fleet) -> None:
    tables = [
        panel for panel in dashboard("fleet")["panels"] if len(panel["targets"]) > 1 and "transformations" in panel
    ]
    assert {panel["type"] for panel in tables} == {"geomap", "table"}
    for panel in tables:
        answers = [watched.prometheus.until(filled(target["expr"], ALL)) for target in panel["targets"]]
        keys = {frozenset(labels) for series in answers for labels, _ in series}
        assert len(keys) == 1
        assert "__name__" not in keys.pop()


def test_previews_are_drawn(watched: Fleet, tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{watched.prometheus.port}"
    for name in BOARDS:
        draw(address, name, {"node": ONE["node"]} if name == "sensor" else {}, 1.0, tmp_path / f"{name}.png")
        assert matplotlib.image.imread(tmp_path / f"{name}.png").std() > 0.05, "nearly nothing is drawn"
        assert (GRAFANA / f"{name}.png").stat().st_size <= 300_000


def documented(what: str) -> dict[str, Any]:
    """The configuration in the notes that has something in it."""
    blocks = re.findall(r"```yaml\n(.*?)```", (SHIPPED / "README.md").read_text(encoding="utf-8"), re.S)
    return dict(yaml.safe_load(next(block for block in blocks if what in block)))


def _states(watched: Fleet) -> dict[str, float]:
    found: Series = watched.prometheus.now("node:ssondo_state:worst")
    return {labels["node"]: value for labels, value in found}


def _alerts(watched: Fleet) -> dict[tuple[str, str], dict[str, str]]:
    data = watched.prometheus.get("alerts")
    assert isinstance(data, dict)
    return {(alert["labels"]["alertname"], alert["labels"]["node"]): alert["annotations"] for alert in data["alerts"]}
