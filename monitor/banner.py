"""What the terminal says at the start: what is listened to, and where its events can be seen."""

from collections.abc import Sequence

from monitor.config import Settings, SourceSettings
from monitor.mqtt_parameters import broker_address

_DEMO = """
  No sound device was found: this is a GENERATED DEMONSTRATION, not what happens around you.
  It plays rain, a ticking clock, a smoke alarm and a siren by a fixed schedule.
  Plug in a microphone (`ssondo-monitor devices` lists them) or configure a source, and start again.
"""


def banner(settings: Settings, sources: Sequence[SourceSettings], *, demo: bool) -> str:
    """A few lines for whoever started the service by hand."""
    lines = [_DEMO] if demo else []
    lines += [f"  Listening to    {', '.join(f'{source.name} ({source.kind})' for source in sources)}"]
    mqtt = settings.mqtt
    if mqtt.enabled:
        host, port = broker_address(mqtt)
        if mqtt.host is None:
            lines += [f"  MQTT broker     embedded, {host}:{port}, this machine only (set [mqtt] host for your own)"]
        options = f"-h {host} -p {port}" + (" --tls-use-os-certs" if mqtt.tls else "")
        lines += [f"  Subscribe       mosquitto_sub {options} -v -t '{mqtt.base_topic}/{settings.node.name}/+/event'"]
    if settings.http.enabled:
        address = f"http://{settings.http.host}:{settings.http.port}"
        lines += [f"  Look            {address}/metrics  {address}/ready"]
    if settings.log.events:
        lines += ["  Events          time  ▶ starts, ■ ended  label  score  source  duration"]
    return "\n".join(lines) + "\n\n"
