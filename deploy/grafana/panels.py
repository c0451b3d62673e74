"""The panels and variables that the dashboards are made of: one look, one source of data, one scale of states."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    geomap,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
STATES = {0: ("listening", "green"), 1: ("not delivering", "yellow"), 2: ("not hearing", "orange"), 3: ("lost", "red")}
"""What the values of node:ssondo_state:worst mean."""

Query = prometheus.Dataquery
Panel = TypeVar("Panel", stat.Panel, timeseries.Panel, table.Panel, heatmap.Panel, geomap.Panel, statetimeline.Panel)


def query(expression: str, legend: str = "") -> Query:
    """Values over time; the legend may name labels, as in `{{source}}`."""
    return Query().expr(expression).legend_format(legend).range()


def now(expression: str, legend: str = "") -> Query:
    """Values at the end of the dashboard's range."""
    return Query().expr(expression).legend_format(legend).instant()


def rows(expression: str) -> Query:
    """Values at the end of the range as a table, a row for each series."""
    return now(expression).format(PromQueryFormat.TABLE)


def number(title: str, description: str, unit: str, *queries: Query, width: int = 4) -> stat.Panel:
    """One large number for each series."""
    panel = stat.Panel().unit(unit).color_mode(common_models.BigValueColorMode.VALUE)
    panel = panel.graph_mode(common_models.BigValueGraphMode.NONE)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _filled(panel, title, description, queries, (width, 4))


def curves(title: str, description: str, unit: str, *queries: Query, width: int = 12) -> timeseries.Panel:
    """A line for each series."""
    panel = timeseries.Panel().unit(unit).line_width(1).fill_opacity(8)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM))
    return _filled(panel, title, description, queries, (width, 8))


def bars(title: str, description: str, unit: str, *queries: Query, width: int = 12) -> timeseries.Panel:
    """Stacked bars, of what happened in each interval."""
    panel = curves(title, description, unit, *queries, width=width).fill_opacity(70)
    stacking = common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A")
    return panel.draw_style(common_models.GraphDrawStyle.BARS).stacking(stacking).min(0)


def phases(
    title: str, description: str, states: Mapping[int, tuple[str, str]], *queries: Query, width: int = 12
) -> statetimeline.Panel:
    """A coloured band for each series."""
    panel = statetimeline.Panel().show_value(common_models.VisibilityMode.NEVER).merge_values(True).row_height(0.8)
    panel = panel.legend(common.VizLegendOptions().show_legend(True).placement(common_models.LegendPlacement.BOTTOM))
    return coloured(_filled(panel, title, description, queries, (width, 8)), states)


def listing(title: str, description: str, *queries: Query, width: int = 12) -> table.Panel:
    """A table."""
    return _filled(
        table.Panel().show_header(True).cell_options(common_models.TableAutoCellOptions()),
        title,
        description,
        queries,
        (width, 9),
    )


def hours(title: str, description: str, unit: str, *queries: Query, width: int = 12) -> heatmap.Panel:
    """A heat map with a row for each series."""
    colours = heatmap.HeatmapColorOptions().mode(heatmap_models.HeatmapColorMode.SCHEME).scheme("Oranges").steps(32)
    cells = heatmap.CellValues().unit(unit)
    panel = heatmap.Panel().color(colours).cell_values(cells).cell_gap(0).show_legend()
    return _filled(panel, title, description, queries, (width, 9))


def sites(title: str, description: str, *queries: Query, state: str, width: int = 12) -> geomap.Panel:
    """A map of rows with the fields latitude and longitude, coloured by a state."""
    place = common.FrameGeometrySource().mode(common_models.FrameGeometrySourceMode.COORDS)
    style = {
        "color": {"field": state, "fixed": "dark-green"},
        "size": {"fixed": 8},
        "opacity": 0.8,
        "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
        "text": {"mode": "field", "field": "node"},
        "textConfig": {"fontSize": 12, "offsetX": 0, "offsetY": 16},
    }
    markers = common.MapLayerOptions().type("markers").name("sensors").tooltip(True)
    markers = markers.location(place.latitude("latitude").longitude("longitude"))
    markers = markers.config({"style": style, "showLegend": False})
    panel = geomap.Panel().layers([markers]).view(geomap.MapViewConfig().id("fit").all_layers(True).padding(10))
    panel = panel.basemap(common.MapLayerOptions().type("default").name("Map"))
    return _filled(panel, title, description, queries, (width, 11))


def coloured(panel: Panel, states: Mapping[int, tuple[str, str]]) -> Panel:
    """Show values as the states that they stand for."""
    results = {str(v): models.ValueMappingResult(text=t, color=c, index=v) for v, (t, c) in states.items()}
    return thresholds(panel, [(value, colour) for value, (_, colour) in states.items()]).mappings(
        [models.ValueMap(options=results)]
    )


def thresholds(panel: Panel, steps: Sequence[tuple[float, str]]) -> Panel:
    """Colour values from each step on; the first step has no lower end."""
    levels = [models.Threshold(value if i else None, colour) for i, (value, colour) in enumerate(steps)]
    panel.thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(levels))
    panel.color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
    return panel


def merged(panel: Panel, names: Mapping[str, str], hidden: Sequence[str] = ()) -> Panel:
    """Put the rows of all queries side by side by their labels, and name the columns in the order given."""
    order = {name: position for position, name in enumerate(names)}
    exclude = dict.fromkeys(["Time", *hidden], True)
    organize = {"excludeByName": exclude, "indexByName": order, "renameByName": dict(names)}
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=organize))
    return panel


def source_variable() -> dashboard.DatasourceVariable:
    """Which Prometheus."""
    return dashboard.DatasourceVariable("datasource").label("Data").type("prometheus")


def variable(name: str, label: str, expression: str, *, several: bool) -> dashboard.QueryVariable:
    """A choice among the values of a label, read from Prometheus."""
    made = dashboard.QueryVariable(name).label(label).query(expression).datasource(SOURCE)
    made = made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    return made.multi(True).include_all(True).all_value(".*").current(_all()) if several else made


def link(title: str, url: str, tooltip: str) -> dashboard.DashboardLink:
    """A link to another dashboard, for the same time."""
    made = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)
    return made.tooltip(tooltip).keep_time(True)


def shown(name: str, properties: Mapping[str, object]) -> tuple[str, list[models.DynamicConfigValue]]:
    """Arguments of `override_by_name`: how one column is shown."""
    return name, [models.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()]


def assembled(board: dashboard.Dashboard, panels: Sequence[Builder[models.Panel]]) -> models.Dashboard:
    """The dashboard with its panels in rows from left to right."""
    for panel in panels:
        board.with_panel(panel)
    made = board.build()
    for position, placed in enumerate(made.panels or [], 1):
        placed.id_val = position
    for choice in (made.templating.list_val if made.templating else None) or []:
        choice.auto = choice.auto_count = choice.auto_min = None  # of intervals alone
    return made


def _all() -> models.VariableOption:
    return models.VariableOption(selected=True, text=["All"], value=["$__all"])


def _filled(panel: Panel, title: str, description: str, queries: Sequence[Query], size: tuple[int, int]) -> Panel:
    panel.title(title).description(description).datasource(SOURCE).span(size[0]).height(size[1])
    for letter, made in zip("ABCDEFGH", queries, strict=False):
        panel.with_target(made.ref_id(letter).datasource(SOURCE))
    return panel
