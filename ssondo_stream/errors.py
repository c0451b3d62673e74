"""Errors of the streaming library, by what the caller can do about them.

StreamError
├── BundleError      the student's files: fetch or export them again, or name a folder that can be written
├── CheckpointError  a published checkpoint or head: get the right file
├── DownloadError    a published file that cannot be fetched: connect, or name a local file
├── AudioError       the audio that was handed in: fix its shape, type or rate
└── EngineError      the inference engine: install it, or choose another
"""


class StreamError(Exception):
    """Base of every error that `ssondo_stream` raises on purpose."""


class BundleError(StreamError):
    """A bundle is missing, incomplete, altered, not what its spec says, or cannot be written."""


class CheckpointError(StreamError):
    """A checkpoint or head file is unreadable, unsafe, incomplete, or not of the network that it names."""


class DownloadError(StreamError):
    """A published file is not there, or cannot be fetched from here."""


class AudioError(StreamError, ValueError):
    """Audio of a shape, type or rate that cannot be used."""


class EngineError(StreamError):
    """An inference engine is missing or refused the model."""
