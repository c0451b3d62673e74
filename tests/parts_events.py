"""Events for tests that do not care what was heard."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.detection import Detection
from monitor.events import Event, EventFactory

EPOCH = datetime(2026, 9, 1, 2, 13, 4, tzinfo=UTC)
RATE = 32_000
LABELS = [f"sound {number}" for number in range(100)]
START = Detection(
    kind="started",
    key=1,
    label="Dog bark",
    slug="dog_bark",
    onset=10_240,
    offset=None,
    score=0.91,
    score_peak=0.94,
    threshold=0.6,
    uncertainty=8_320,
    level_dbfs=-31.2,
)
END = replace(START, kind="ended", offset=74_240, confirmed=True)


def utc(index: int) -> datetime:
    """When a sample was heard, of a capture that began at `EPOCH`."""
    return EPOCH + timedelta(seconds=index / RATE)


def factory(new_id: str = "01J6P0000000000000000000AA") -> EventFactory:
    """A factory whose ids are all the same."""
    return EventFactory(
        node="pi1",
        source="yard",
        boot_id="b00",
        model="default",
        model_sha256="5a",
        sample_rate=RATE,
        new_id=lambda: new_id,
    )


def event(label: str = "Dog bark", onset: int = 10_240) -> Event:
    """A start."""
    return factory().event(replace(START, label=label, onset=onset), utc)
