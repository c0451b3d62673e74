"""What leaves this service: an event, its JSON, and how a detection becomes one.

Subscribers rely on these keys, so one table describes them: reading checks against it and `SCHEMA` publishes it.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from monitor.clock import Clock
from monitor.detection import Detection

VERSION = 1

Field: TypeAlias = Mapping[str, object]  # a JSON Schema, of the few words in `_CHECKS`

_TEXT: Field = {"type": ["string"]}
_TIME: Field = {"type": ["string"], "format": "date-time"}
_SCORE: Field = {"type": ["number"], "minimum": 0, "maximum": 1}
_NUMBER_OR_NULL: Field = {"type": ["number", "null"]}
_TIME_OR_NULL: Field = {**_TIME, "type": ["string", "null"]}

PROPERTIES: Mapping[str, Field] = {
    "v": {"type": ["integer"], "enum": [VERSION]},
    "event_id": {"type": ["string"], "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"},
    "event_type": {"type": ["string"], "enum": ["started", "ended"]},
    "node": _TEXT,
    "source": _TEXT,
    "label": _TEXT,
    "slug": _TEXT,
    "score": _SCORE,
    "score_peak": _SCORE,
    "threshold": _SCORE,
    "onset": _TIME,
    "offset": _TIME_OR_NULL,
    "duration_s": {"type": ["number", "null"], "minimum": 0},
    "onset_uncertainty_s": {"type": ["number"], "minimum": 0},
    "published_at": _TIME_OR_NULL,  # null until it is sent
    "late": {"type": ["boolean"]},
    "seq": {"type": ["integer", "null"], "minimum": 1},  # null until it is sent
    "boot_id": _TEXT,
    "confirmed": {"type": ["boolean", "null"]},
    "level_dbfs": _NUMBER_OR_NULL,
    "model": _TEXT,
    "model_sha256": _TEXT,
}

SCHEMA: Mapping[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Sound event",
    "type": "object",
    "properties": PROPERTIES,
    "required": list(PROPERTIES),
}


@dataclass(frozen=True, slots=True)
class Event:
    """A sound's start or end as subscribers see it; the fields stand in the order of the JSON's keys.

    Attributes:
        event_id: ULID, the same for a start and its end.
        onset, offset, published_at: aware datetimes, kept to the millisecond.
        seq, published_at, late: unknown until the event is handed to a sink, see `stamped`.
    """

    event_id: str
    event_type: Literal["started", "ended"]
    node: str
    source: str
    label: str
    slug: str
    score: float
    score_peak: float
    threshold: float
    onset: datetime
    offset: datetime | None
    duration_s: float | None
    onset_uncertainty_s: float
    published_at: datetime | None
    late: bool
    seq: int | None
    boot_id: str
    confirmed: bool | None
    level_dbfs: float | None
    model: str
    model_sha256: str

    def to_json(self) -> bytes:
        """One line of UTF-8 JSON, keys in the order of `PROPERTIES`.

        Raises:
            ValueError: a number is not finite, which JSON cannot say.
        """
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        text = json.dumps({"v": VERSION, **values}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()

    @classmethod
    def from_json(cls, body: bytes) -> "Event":
        """Read what `to_json` wrote; keys that a later version added are passed over.

        Raises:
            ValueError: not JSON, or a key is missing or impossible; the message names it.
        """
        try:
            values = json.loads(body, parse_constant=_refuse)
        except ValueError as error:
            raise ValueError(f"event is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(f"event must be a JSON object, got {type(values).__name__}")
        for key, schema in PROPERTIES.items():
            if key not in values:
                raise ValueError(f"event lacks {key!r}")
            if mistake := _mistake(values[key], schema):
                raise ValueError(f"event key {key!r} {mistake}, got {values[key]!r}")
        known = {field.name: values[field.name] for field in fields(cls)}
        times = {key: known[key] and datetime.fromisoformat(known[key]) for key in ("onset", "offset", "published_at")}
        return cls(**{**known, **times})

    def stamped(self, seq: int, now: datetime, late_seconds: float, settle_seconds: float = 0.0) -> "Event":
        """The event as it is handed to a sink at `now`.

        Args:
            seq: number of the message, from the spool.
            now: UTC.
            late_seconds: a start reported longer after its onset is late; an end, after its offset.
            settle_seconds: by how much an end comes after its offset by design; allowed for on top.
        """
        told = self.onset if self.offset is None else self.offset
        allowed = late_seconds + (settle_seconds if self.event_type == "ended" else 0.0)
        return replace(self, seq=seq, published_at=_to_milliseconds(now), late=(now - told).total_seconds() > allowed)


class EventIds:
    """Makes ULIDs: 48 bits of milliseconds, 80 random bits, in Crockford's base 32; they sort by time of creation.

    State is the last id: within a millisecond, or when the clock was stepped back, the next is the last plus one.
    See https://github.com/ulid/spec.
    """

    def __init__(self, clock: Clock, randomness: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._randomness = randomness
        self._last = -1

    def __call__(self) -> str:
        """A new id, greater than all before."""
        fresh = int(self._clock.wall() * 1000) << 80 | int.from_bytes(self._randomness(10), "big")
        same_time = fresh >> 80 <= self._last >> 80
        self._last = self._last + 1 if same_time else fresh
        return "".join(_CROCKFORD[self._last >> shift & 31] for shift in range(125, -1, -5))


class EventFactory:
    """Makes the events of one source from its detections. State is the ids of the events that are open."""

    def __init__(
        self,
        *,
        node: str,
        source: str,
        boot_id: str,
        model: str,
        model_sha256: str,
        sample_rate: int,
        new_id: Callable[[], str],
    ) -> None:
        self._node = node
        self._source = source
        self._boot_id = boot_id
        self._model = model
        self._model_sha256 = model_sha256
        self._sample_rate = sample_rate
        self._new_id = new_id
        self._open: dict[int, str] = {}

    def event(self, detection: Detection, utc: Callable[[int], datetime]) -> Event:
        """The event of a detection.

        Args:
            detection: in sample indices.
            utc: when a sample was heard.
        """
        event_id = self._open.pop(detection.key, None) or self._new_id()
        if detection.kind == "started":
            self._open[detection.key] = event_id
        onset = utc(detection.onset)
        offset = None if detection.offset is None else utc(detection.offset)
        return Event(
            event_id=event_id,
            event_type=detection.kind,
            node=self._node,
            source=self._source,
            label=detection.label,
            slug=detection.slug,
            score=round(detection.score, 4),
            score_peak=round(detection.score_peak, 4),
            threshold=round(detection.threshold, 4),
            onset=_to_milliseconds(onset),
            offset=None if offset is None else _to_milliseconds(offset),
            duration_s=None if offset is None else round((offset - onset).total_seconds(), 3),
            onset_uncertainty_s=self._seconds(detection.uncertainty),
            published_at=None,
            late=False,
            seq=None,
            boot_id=self._boot_id,
            confirmed=detection.confirmed,
            level_dbfs=None if detection.level_dbfs is None else round(detection.level_dbfs, 1),
            model=self._model,
            model_sha256=self._model_sha256,
        )

    def _seconds(self, samples: int) -> float:
        return round(samples / self._sample_rate, 3)


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}

# What the words of a JSON Schema ask of a value; None stands for a word that the schema does not use.
_CHECKS: Mapping[str, Callable[[Any, Any], bool]] = {  # Any: a value straight from JSON
    "type": lambda value, names: any(_is(value, name) for name in names),
    "enum": lambda value, allowed: allowed is None or value in allowed,
    "pattern": lambda value, pattern: pattern is None or re.fullmatch(pattern, value) is not None,
    "format": lambda value, form: None in (form, value) or _is_time(value),
    "minimum": lambda value, low: None in (low, value) or value >= low,
    "maximum": lambda value, high: None in (high, value) or value <= high,
}


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def _is(value: object, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return text.endswith("Z")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _mistake(value: object, schema: Field) -> str | None:
    """What a value needs and has not, None if nothing."""
    return next(
        (f"needs {word} {schema[word]}" for word, ok in _CHECKS.items() if not ok(value, schema.get(word))), None
    )
