"""The fleet at a glance: which sensors hear, what they heard, when, and what may have been false alarms."""

from grafana_foundation_sdk.builders import common, dashboard, geomap, heatmap, statetimeline, table, timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import panels
from deploy.grafana.panels import STATES, bars, now, number, query, rows

NODES = 'node=~"$node"'
EVENTS = 'node=~"$node", label=~"$label"'


def board() -> Dashboard:
    """The dashboard of all sensors."""
    made = (
        dashboard.Dashboard("Sound monitor: fleet")
        .uid("ssondo-fleet")
        .description("All sensors: state, events, hours of the day, candidates for false alarms.")
        .tags(["ssondo"])
        .time("now-24h", "now")
        .refresh("1m")
        .timezone("browser")
        .with_variable(panels.source_variable())
        .with_variable(panels.variable("node", "Sensor", 'label_values(up{job="ssondo"}, node)', several=True))
        .with_variable(panels.variable("label", "Label", "label_values(ssondo_events_total, label)", several=True))
        .link(panels.link("One sensor", "/d/ssondo-sensor", "Coverage, level, latency and delivery of one sensor"))
    )
    counts = [
        number(
            "Sensors by state",
            "Not delivering: no broker, or a failing disk. Not hearing: no or constant audio. Lost: no answer.",
            "short",
            *(
                now(f"count(node:ssondo_state:worst{{{NODES}}} == {value}) or vector(0)", name)
                for value, (name, _) in STATES.items()
            ),
            width=12,
        ),
        number(
            "Audio analysed",
            "Share of all audio in the dashboard's range.",
            "percentunit",
            now(
                f"sum(increase(ssondo_audio_analyzed_seconds_total{{{NODES}}}[$__range]))"
                f" / sum(increase(ssondo_audio_captured_seconds_total{{{NODES}}}[$__range]))",
                "analysed",
            ),
            width=6,
        ).decimals(2),
        number(
            "Events",
            "Sounds that were announced in the dashboard's range.",
            "short",
            now(f"sum(increase(ssondo_events_total{{{EVENTS}}}[$__range]))", "events"),
            width=6,
        ).decimals(0),
    ]
    for name, colour in STATES.values():
        counts[0].override_by_name(*panels.shown(name, {"color": {"mode": "fixed", "fixedColor": colour}}))
    return panels.assembled(made, [*counts, _map(), _states(), *_events(), _hours(), _alerts(), _candidates()])


def _map() -> geomap.Panel:
    shown = ("state:worst", "latitude_degrees:last", "longitude_degrees:last")
    panel = panels.sites(
        "Map of sensors",
        "Sensors whose [node] has latitude and longitude. A lost one stays where it was last.",
        *(rows(f"max without () (node:ssondo_{what}{{{NODES}}})") for what in shown),  # rows with names do not merge
        state="state",
    )
    names = {"node": "node", "Value #A": "state", "Value #B": "latitude", "Value #C": "longitude"}
    panel.override_by_name(*panels.shown("latitude", {"unit": "degree", "mappings": []}))
    panel.override_by_name(*panels.shown("longitude", {"unit": "degree", "mappings": []}))
    return panels.coloured(panels.merged(panel, names), STATES)


def _states() -> statetimeline.Panel:
    expression = f"node:ssondo_state:worst{{{NODES}}}"
    return panels.phases(
        "State of each sensor", "The worst that was known of it.", STATES, query(expression, "{{node}}")
    ).height(11)


def _events() -> list[timeseries.Panel]:
    interval = "[$__rate_interval]"
    return [
        bars(
            "Events by label",
            "Starts in each interval, of all chosen sensors.",
            "short",
            query(f"sum by (label) (increase(ssondo_events_total{{{EVENTS}}}{interval})) > 0", "{{label}}"),
        ),
        bars(
            "Events by sensor",
            "Starts in each interval, of all chosen labels.",
            "short",
            query(f"sum by (node) (increase(ssondo_events_total{{{EVENTS}}}{interval}))", "{{node}}"),
        ),
    ]


def _hours() -> heatmap.Panel:
    expression = f"3600 * sum by (hour) (avg_over_time(node_label_hour:ssondo_events:rate5m{{{EVENTS}}}[1d]))"
    return panels.hours(
        "Event rate by hour of day (UTC)",
        "Events an hour in each hour of the day, over the day before each point; look at a week or more.",
        "short",
        query(expression, "{{hour}}").interval("1h"),
    )


def _alerts() -> table.Panel:
    panel = panels.listing("Alerts", "Pending and firing now.", rows(f'ALERTS{{alertname=~"Ssondo.*", {NODES}}}'))
    names = {"node": "sensor", "source": "source", "alertname": "alert", "alertstate": "state", "severity": "severity"}
    return panels.merged(panel, names, hidden=["__name__", "instance", "job", "Value"])


def _candidates() -> table.Panel:
    def total(kind: str) -> str:
        return f"sum by (node, source, label) (increase(ssondo_events{kind}_total{{{EVENTS}}}[$__range]))"

    panel = panels.listing(
        "Candidates for false alarms",
        "Refuted: announced early, then taken back. Narrow: the peak passed the threshold by less than 0.1. Where many"
        " are doubtful, raise threshold or early of that label on that sensor, after listening to what it hears.",
        rows(f"{total('')} > 0"),
        rows(f"{total('_refuted')} and on (node, source, label) {total('')} > 0"),
        rows(f"{total('_narrow')} and on (node, source, label) {total('')} > 0"),
        rows(
            f"clamp_max(({total('_refuted')} + {total('_narrow')}) / ({total('')} > 0), 1)"
        ),  # a start may lie before the range
        width=24,
    ).decimals(0)
    names = {
        "node": "sensor",
        "source": "source",
        "label": "label",
        "Value #A": "events",
        "Value #B": "refuted",
        "Value #C": "narrow",
        "Value #D": "doubtful",
    }
    gauge = {"unit": "percentunit", "max": 1, "min": 0, "custom.cellOptions": {"type": "gauge", "mode": "basic"}}
    panel.override_by_name(*panels.shown("doubtful", gauge))
    panel.sort_by([common.TableSortByFieldState().display_name("doubtful").desc(True)])
    return panels.merged(panel, names)
