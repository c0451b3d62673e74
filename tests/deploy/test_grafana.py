"""The dashboards that are committed: what the code makes, valid by Grafana's own types, fit for its provisioning."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana.boards import BOARDS, rendered
from tests.parts import PATIENCE, require

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
TYPES = ROOT / ".venv" / "grafana-schema" / "node_modules"
CONFIGURED = {  # type of panel: the folder and file of its types, and whether they have an interface FieldConfig
    "geomap": ("geomap", "Geomap", False),
    "heatmap": ("heatmap", "Heatmap", True),
    "stat": ("stat", "Stat", False),
    "state-timeline": ("statetimeline", "StateTimeline", True),
    "table": ("table", "Table", True),
    "timeseries": ("timeseries", "TimeSeries", True),
}
PRELUDE = """
import type { AnnotationQuery, Dashboard } from '@grafana/schema';

// JSON has the values of enums, not their names
type Plain<T> = T extends string ? `${T}` : T extends (infer U)[] ? Plain<U>[] :
  T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// what the source of data adds to an annotation
type Marks = AnnotationQuery & { expr: string; step: string; titleFormat: string; textFormat: string; tagKeys: string };
type Board = Omit<Dashboard, 'annotations'> & { annotations?: { list?: Marks[] } };
"""


def dashboard(name: str) -> dict[str, Any]:
    text = (GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def typescript(board: dict[str, Any]) -> Iterator[str]:
    """A program that compiles if the dashboard has the types of Grafana's."""
    yield PRELUDE
    yield f"export const board: Plain<Board> = {json.dumps(board)};"
    for panel in board["panels"]:
        folder, file, fields = CONFIGURED[panel["type"]]
        module = f"./node_modules/@grafana/schema/dist/esm/raw/composable/{folder}/panelcfg/x/{file}PanelCfg_types.gen"
        yield f"export const options{panel['id']}: Plain<import('{module}').Options> = {json.dumps(panel['options'])};"
        if fields and (custom := panel.get("fieldConfig", {}).get("defaults", {}).get("custom")):
            yield f"export const field{panel['id']}: Plain<import('{module}').FieldConfig> = {json.dumps(custom)};"


def compiled(folder: Path, programs: dict[str, str]) -> list[str]:
    """What the compiler says of the programs."""
    for name, text in programs.items():
        (folder / f"{name}.ts").write_text(text, encoding="utf-8")
    (folder / "node_modules").symlink_to(TYPES)
    strict = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext"]
    command = [require("node"), str(TYPES / "typescript" / "bin" / "tsc"), *strict, "--target", "es2022"]
    files = [f"{name}.ts" for name in programs]
    done = subprocess.run(
        [*command, *files], cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE * 300
    )
    return done.stdout.splitlines() + done.stderr.splitlines()


@pytest.mark.parametrize("name", BOARDS)
def test_committed_dashboard_is_what_the_code_makes(name: str) -> None:
    committed = (GRAFANA / "dashboards" / f"{name}.json").read_text(encoding="utf-8")
    assert committed == rendered(BOARDS[name]), "run: python -m deploy.grafana"


def test_nothing_else_is_provisioned() -> None:
    assert {path.stem for path in (GRAFANA / "dashboards").iterdir()} == set(BOARDS)


def test_dashboards_have_the_types_of_grafana_and_mistakes_are_found(tmp_path: Path) -> None:
    programs = {name: "\n".join(typescript(dashboard(name))) for name in BOARDS}
    wrong = dashboard("sensor")
    curve = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    curve["options"]["legend"]["placement"] = "middle"
    curve["fieldConfig"]["defaults"]["custom"]["lineWidth"] = "1"
    wrong["graphTooltip"] = 7
    said = compiled(tmp_path, {**programs, "wrong": "\n".join(typescript(wrong))})
    errors = [line for line in said if not line.startswith(" ")]
    assert [line for line in errors if not line.startswith("wrong.ts")] == []
    for mistake in ("middle", "'string' is not assignable to type 'number'", "'7'"):
        assert any(mistake in line for line in errors), (mistake, errors)


def test_panels_fill_the_grid_without_overlap() -> None:
    for name in BOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(name)["panels"]:
            x, y, width, height = (panel["gridPos"][key] for key in "xywh")
            cells = {(column, row) for column in range(x, x + width) for row in range(y, y + height)}
            assert not cells & taken
            assert x + width <= 24
            taken |= cells
        assert len(taken) == 24 * (max(row for _, row in taken) + 1), f"{name} has holes"


def test_every_panel_says_what_it_shows_and_has_a_number_of_its_own() -> None:
    for name in BOARDS:
        panels = dashboard(name)["panels"]
        assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)
        assert len({panel["id"] for panel in panels}) == len(panels)


def test_provisioning_names_the_source_that_dashboards_choose_from() -> None:
    (source,) = _provisioned("datasources/prometheus.yml")["datasources"]
    assert source["type"] == dashboard("fleet")["templating"]["list"][0]["query"] == "prometheus"
    (provider,) = _provisioned("dashboards/ssondo.yml")["providers"]
    assert provider["type"] == "file"


def test_links_lead_to_dashboards_that_exist() -> None:
    known = {f"/d/{dashboard(name)['uid']}" for name in BOARDS}
    assert {link["url"] for name in BOARDS for link in dashboard(name)["links"]} == known


def _provisioned(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((GRAFANA / "provisioning" / name).read_text(encoding="utf-8")))
