"""Write the dashboards that Grafana is provisioned with."""

from pathlib import Path

from deploy.grafana.boards import BOARDS, rendered

FOLDER = Path(__file__).parent / "dashboards"

if __name__ == "__main__":
    for name, board in BOARDS.items():
        (FOLDER / f"{name}.json").write_text(rendered(board), encoding="utf-8")
