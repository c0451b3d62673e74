"""One stream through one student, in a process of its own: python -m tests.bench.one_stream BUNDLE ARGUMENTS."""

import json
import sys
from pathlib import Path

import numpy as np

from ssondo_stream import AudioBlock, StreamingEngine, load_student

HOP = 16_384
HOPS = 60


def main() -> None:
    """Print the resident memory in bytes, and whether torch was imported."""
    student = load_student(sys.argv[1], **json.loads(sys.argv[2]))
    engine = StreamingEngine(student, 32_000, HOP // student.spec.column)
    noise = np.random.default_rng(0).normal(0, 0.02, HOP).astype(np.float32)
    for hop in range(HOPS):
        engine.push(AudioBlock(hop * HOP, noise))
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    sys.stdout.write(json.dumps({"bytes": pages * 4096, "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
