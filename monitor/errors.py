"""Errors of the service, by what the caller can do about them.

MonitorError
├── ConfigError          a setting is wrong: exit with 2 and say which
├── CaptureError         a source cannot be heard now: retry, for ever
├── SinkUnavailable      a receiver cannot be reached now: keep the event, retry, for ever
│   └── SinkRefused      it is there but forbids this, which people can change: the same, and say so
├── SinkRejected         a receiver will never take this event: drop it and count it
├── ShelfError           the bundle in use cannot be changed: it stays as it is
└── SpoolError           the spool cannot be where it is configured to be
    └── SpoolDiskError   its disk is full, read-only or failing: hold events in memory, retry, for ever
"""


class MonitorError(Exception):
    """Base of every error that the service raises on purpose."""


class ConfigError(MonitorError):
    """A setting is unknown, missing or impossible; the message names file, key and what is expected."""


class CaptureError(MonitorError):
    """A source is gone, busy, silent or unreadable; opening it again may help."""


class SinkUnavailable(MonitorError):
    """A receiver cannot take events now."""


class SinkRefused(SinkUnavailable):
    """A receiver does not allow what was sent."""


class SinkRejected(MonitorError):
    """A receiver refuses this one event."""


class ShelfError(MonitorError):
    """The bundle in use cannot be exchanged."""


class SpoolError(MonitorError):
    """The spool cannot be opened, read or written."""


class SpoolDiskError(SpoolError):
    """The spool's disk takes nothing now; it may later."""
