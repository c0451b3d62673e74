"""Errors of the streaming library, by what the caller can do about them.

StreamError
├── BundleError      the student's files: fetch or export them again
├── AudioError       the audio that was handed in: fix its shape, type or rate
└── EngineError      the inference engine: install it, or choose another
"""


class StreamError(Exception):
    """Base of every error that `ssondo_stream` raises on purpose."""


class BundleError(StreamError):
    """A bundle is missing, incomplete, altered, or not what its spec says."""


class AudioError(StreamError):
    """Audio of a shape, type or rate that cannot be used."""


class EngineError(StreamError):
    """An inference engine is missing or refused the model."""
