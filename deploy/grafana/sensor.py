"""One sensor in depth: does it hear, how fast is it, does what it hears get out."""

from grafana_foundation_sdk.builders import dashboard, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import BigValueTextMode, VisibilityMode

from deploy.grafana import panels
from deploy.grafana.panels import STATES, bars, curves, now, number, query, rows

NODE = 'node="$node"'
SOURCES = 'node="$node", source=~"$source"'
HEARING = {0: ("lost", "red"), 1: ("heard", "green"), 2: ("flat", "orange")}
RATE = "[$__rate_interval]"


class Marks(models.AnnotationQuery):
    """Marks made by a query; the library's own type lacks the fields that Prometheus needs."""

    def to_json(self) -> dict[str, object]:
        """The fields of every annotation, and those of Prometheus's."""
        step = {"step": "60s", "titleFormat": "{{label}}", "textFormat": "{{source}}", "tagKeys": "label,source"}
        return super().to_json() | step


def board() -> models.Dashboard:
    """The dashboard of one sensor."""
    made = (
        dashboard.Dashboard("Sound monitor: sensor")
        .uid("ssondo-sensor")
        .description("One sensor: coverage, level, latency, stages, spool, restarts; its events are marked.")
        .tags(["ssondo"])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(panels.source_variable())
        .with_variable(panels.variable("node", "Sensor", 'label_values(up{job="ssondo"}, node)', several=False))
        .with_variable(
            panels.variable("source", "Source", 'label_values(ssondo_source_up{node="$node"}, source)', several=True)
        )
        .link(panels.link("Fleet", "/d/ssondo-fleet", "All sensors"))
    )
    board = panels.assembled(made, [*_numbers(), *_hearing(), *_speed(), *_delivery(), *_events()])
    board.annotations = models.AnnotationContainer(list_val=[_events_marked()])
    return board


def _events_marked() -> models.AnnotationQuery:
    expression = f"sum by (source, label) (increase(ssondo_events_total{{{SOURCES}}}[1m])) > 0"
    return Marks(name="Events", datasource=panels.SOURCE, enable=True, icon_color="purple", expr=expression)


def _numbers() -> list[stat.Panel]:
    coverage = number(
        "Analysed, last hour",
        "Of the source with the least. Below 99 % an alert tells.",
        "percentunit",
        now(f"min(node_source:ssondo_audio_coverage:ratio1h{{{SOURCES}}})"),
    ).decimals(2)
    load = number(
        "Real-time factor",
        "Time spent per time of audio, of the slowest source; over 1 audio is left out.",
        "percentunit",
        now(f"max(ssondo_realtime_factor{{{SOURCES}}})"),
    ).decimals(1)
    state = number("State", "The worst that is known of it.", "short", now(f"max(node:ssondo_state:worst{{{NODE}}})"))
    build = number(
        "Running", "Version and model.", "short", now(f"ssondo_build_info{{{NODE}}}", "{{version}} · {{model}}")
    ).text_mode(BigValueTextMode.NAME)
    return [
        panels.coloured(state, STATES),
        panels.thresholds(coverage, [(0, "red"), (0.95, "orange"), (0.99, "green")]),
        panels.thresholds(load, [(0, "green"), (0.8, "orange"), (1, "red")]),
        number(
            "Waiting",
            "Messages that the broker has not acknowledged.",
            "short",
            now(f"ssondo_spool_messages{{{NODE}}}"),
        ),
        number(
            "Source restarts",
            "Times that a source was lost and opened again, in the dashboard's range.",
            "short",
            now(f"sum(increase(ssondo_source_restarts_total{{{SOURCES}}}[$__range]))"),
        ).decimals(0),
        build,
    ]


def _hearing() -> list[timeseries.Panel | statetimeline.Panel]:
    return [
        panels.phases(
            "Sources",
            "Whether audio arrives, and whether it ever changes.",
            HEARING,
            query(f"ssondo_source_up{{{SOURCES}}} + ssondo_source_flatline{{{SOURCES}}}", "{{source}}"),
        ),
        curves(
            "Level",
            "RMS over a second, in dB of full scale; absent while a source is lost.",
            "dB",
            query(f"ssondo_level_dbfs{{{SOURCES}}}", "{{source}}"),
        ),
        curves(
            "Coverage",
            "Share of the audio that was analysed, over the hour before each point.",
            "percentunit",
            query(f"node_source:ssondo_audio_coverage:ratio1h{{{SOURCES}}}", "{{source}}"),
        ).max(1),
        bars(
            "Audio missed",
            "Outage: the source was lost. Lost: by the sound system. Overrun: the processor fell behind.",
            "s",
            query(
                f"sum by (source, reason) (increase(ssondo_audio_gap_seconds_total{{{SOURCES}}}{RATE})) > 0",
                "{{source}}: {{reason}}",
            ),
        ),
    ]


def _speed() -> list[timeseries.Panel]:
    def latency(quantile: float) -> str:
        buckets = f"sum by (le, source) (rate(ssondo_detection_latency_seconds_bucket{{{SOURCES}}}{RATE}))"
        return f"histogram_quantile({quantile}, {buckets}) >= 0"

    stages = f"sum by (le, stage) (rate(ssondo_stage_seconds_bucket{{{NODE}}}{RATE}))"
    return [
        curves(
            "Latency",
            "From a sound's onset to its event in the spool; only where there were events.",
            "s",
            query(latency(0.5), "{{source}} median"),
            query(latency(0.95), "{{source}} 95 %"),
        ).show_points(VisibilityMode.ALWAYS),
        curves(
            "Time in each stage, 95 %",
            "Of one call; infer runs once for each hop.",
            "s",
            query(f"histogram_quantile(0.95, {stages})", "{{stage}}"),
        ),
    ]


def _delivery() -> list[timeseries.Panel]:
    age = f"time() - ssondo_spool_oldest_timestamp_seconds{{{NODE}}}"
    return [
        curves(
            "Spool",
            "Messages that wait, and the age of the oldest.",
            "short",
            query(f"ssondo_spool_messages{{{NODE}}}", "messages"),
            query(age, "age of the oldest"),
            width=8,
        ).override_by_name(*panels.shown("age of the oldest", {"unit": "s", "custom.axisPlacement": "right"})),
        curves(
            "Broker",
            "Messages handed over, repeats included, and acknowledged; whether it is connected.",
            "short",
            query(f"increase(ssondo_mqtt_published_total{{{NODE}}}{RATE})", "published"),
            query(f"increase(ssondo_mqtt_acked_total{{{NODE}}}{RATE})", "acknowledged"),
            query(f"ssondo_mqtt_connected{{{NODE}}}", "connected"),
            width=8,
        ),
        bars(
            "Restarts",
            "Sources that were opened again, and starts of the whole service.",
            "short",
            query(f"sum by (source) (increase(ssondo_source_restarts_total{{{SOURCES}}}{RATE}))", "{{source}}"),
            query(f"max(resets(ssondo_audio_captured_seconds_total{{{SOURCES}}}{RATE}))", "service"),
            width=8,
        ),
    ]


def _events() -> list[timeseries.Panel | table.Panel]:
    alerts = panels.listing("Alerts", "Pending and firing now.", rows(f'ALERTS{{alertname=~"Ssondo.*", {NODE}}}'))
    names = {"source": "source", "alertname": "alert", "alertstate": "state", "severity": "severity"}
    return [
        bars(
            "Events",
            "Starts in each interval.",
            "short",
            query(
                f"sum by (source, label) (increase(ssondo_events_total{{{SOURCES}}}{RATE})) > 0",
                "{{source}}: {{label}}",
            ),
        ).height(9),
        panels.merged(alerts, names, hidden=["__name__", "instance", "job", "node", "Value"]),
    ]
