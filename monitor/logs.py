"""The log on standard error: a line per change of state, for people, for the journal, or as JSON.

A message is a fixed phrase, so that it can be searched for; what varies comes as fields:
`log.info("source lost", extra={"fields": {"source": name}})`.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from monitor.config import LogSettings

QUIET = (
    "aiomqtt",
    "aiohttp",
    "amqtt",
    "asyncio",
    "mqtt",
    "paho",
    "passlib",
    "transitions",
    "matplotlib",
    "PIL",
    "libav",
)
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # of syslog; anything less is 7


def configure(settings: LogSettings, stream: TextIO | None = None, environ: Mapping[str, str] | None = None) -> None:
    """Send the log of the whole process to one stream, replacing what was configured before.

    Args:
        settings: level and format.
        stream: standard error, unless given.
        environ: the process's, unless given; `JOURNAL_STREAM` tells whether the stream is systemd's journal.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(settings, stream, os.environ if environ is None else environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)


def _formatter(settings: LogSettings, stream: TextIO, environ: Mapping[str, str]) -> logging.Formatter:
    if settings.format == "json":
        return JsonFormatter()
    return JournalFormatter() if is_journal(stream, environ) else TextFormatter()


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether the stream is the journal's socket, which systemd names as `device:inode`."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class TextFormatter(logging.Formatter):
    """`2026-11-21 02:13:04.320 INFO    monitor.mqtt  connected host=broker port=1883`, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, a traceback on lines of its own below it."""
        when = datetime.fromtimestamp(record.created).astimezone()
        stamp = when.strftime("%Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03d}"
        return f"{stamp} {record.levelname:<7} {_body(self, record)}"


class JournalFormatter(logging.Formatter):
    """`<6>monitor.mqtt  connected host=broker`: the journal adds the time and takes the level from the prefix."""

    def format(self, record: logging.LogRecord) -> str:
        """The record with its priority before every line."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in _body(self, record).splitlines())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a field of a reserved name gets an underscore."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["traceback"] = self.formatException(record.exc_info)
        for name, value in _fields(record).items():
            document[f"{name}_" if name in document else name] = value
        return json.dumps(document, ensure_ascii=False, default=str)


def _body(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    phrase = record.getMessage().replace("\n", "\\n")
    words = [f"{name}={_quoted(value)}" for name, value in _fields(record).items()]
    line = "  ".join([f"{record.name:<20}", " ".join([phrase, *words])])
    return line + ("\n" + formatter.formatException(record.exc_info) if record.exc_info else "")


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, Mapping) else {}


def _quoted(value: object) -> str:
    """As it stands if that is one word, else in quotes."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not set(text) & set(' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)
