"""Small notes beside the spool, which a crash or a power cut leaves either old or new."""

import json
import os
from pathlib import Path


def write_note(path: Path, content: object) -> None:
    """Replace a note by this as JSON, once it is synced to disk.

    Raises:
        OSError: the disk does not take it; the old note stays.
    """
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
