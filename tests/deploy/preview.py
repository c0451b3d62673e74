"""Draw the dashboards' previews: `python -m tests.deploy.preview --minutes 30`.

A fleet of real services runs for so long, has its faults, and is watched by a real Prometheus; what that answers to the
dashboards' queries is drawn.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.grafana import preview
from tests.deploy.parts_watched import Fleet, fleet
from tests.parts import require

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"


class Broker:
    """A mosquitto that comes and goes."""

    def __init__(self, port: int) -> None:
        self._command = [require("mosquitto"), "-p", str(port)]
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def end(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


def faults(watched: Fleet, broker: Broker) -> list[tuple[float, Callable[[], object]]]:
    """What happens, each at a share of the whole time."""

    def mute() -> None:
        watched.pond.level = 0.0

    return [
        (0.20, watched.gate.end),
        (0.26, watched.gate.begin),
        (0.35, broker.end),
        (0.55, mute),
        (0.60, broker.begin),
        (0.70, watched.gate.end),
        (0.73, watched.gate.begin),
        (0.80, watched.services["barn"].process.kill),
        (0.90, broker.end),
    ]


def main(minutes: float) -> None:
    """Run the fleet and draw both dashboards at its end."""
    with TemporaryDirectory() as folder, fleet(Path(folder) / "fleet", muted=False) as watched:
        broker = Broker(watched.broker_port)
        broker.begin()
        address = f"http://127.0.0.1:{watched.prometheus.port}"
        sys.stdout.write(f"Prometheus: {address}\n")
        begun = time.monotonic()
        try:
            for share, happen in [*faults(watched, broker), (1.0, lambda: None)]:
                time.sleep(max(0.0, begun + share * minutes * 60 - time.monotonic()))
                happen()
            for name, choice in (("fleet", {"node": ".*"}), ("sensor", {"node": "yard"})):
                preview.draw(address, name, choice, minutes, FOLDER / f"{name}.png")
        finally:
            broker.end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    main(parser.parse_args().minutes)
