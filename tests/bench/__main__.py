"""`make bench`: measure everything and print the table; exits with 1 if a bar is missed."""

import sys
import tempfile
from pathlib import Path

from tests.bench.cluster import cluster_memory
from tests.bench.compute import cpu_of_a_hop
from tests.bench.extraction import teacher_share
from tests.bench.latency import latency_and_onset
from tests.bench.resources import service_resources
from tests.bench.rows import table
from tests.bench.students import students


def main() -> int:
    """Run the parts one after the other, for they would disturb each other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = cpu_of_a_hop() + students(folder / "students")
        rows += service_resources(folder / "resources") + latency_and_onset(folder / "latency")
        rows += teacher_share(folder / "extraction") + cluster_memory(folder / "cluster")
    sys.stdout.write(table(rows) + "\n")
    return 0 if all(row.met for row in rows) else 1


sys.exit(main())
