"""Every dashboard by name, and its JSON."""

from collections.abc import Callable

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from deploy.grafana import fleet, sensor

BOARDS: dict[str, Callable[[], Dashboard]] = {"fleet": fleet.board, "sensor": sensor.board}


def rendered(board: Callable[[], Dashboard]) -> str:
    """The JSON that Grafana reads, one key a line so that changes can be reviewed."""
    return JSONEncoder(sort_keys=True, indent=2).encode(board()) + "\n"
