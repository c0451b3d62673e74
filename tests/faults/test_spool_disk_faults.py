"""A spool whose disk fails from the start, or for long: events are held, and no number comes twice."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.errors import SpoolDiskError
from monitor.metrics import Metrics
from monitor.spool import Spool
from monitor.status import Status
from monitor.systemd import Notifier
from tests.fakes import FakeClock, LoudnessStudent
from tests.parts import promised, require
from tests.parts_service import Service, running
from tests.parts_spool import NOW, Disk, exhaust, fill, free, open_spool, protect, seqs, small_disk

__all__ = ["small_disk"]


@pytest.mark.parametrize("fault", [fill, protect])
@pytest.mark.parametrize("existing", [True, False], ids=["spool", "no spool"])
def test_spool_begins_in_memory_while_its_disk_fails_and_moves_to_it_later(
    small_disk: Path, fault: Callable[[Path], None], existing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path = small_disk / "spool.sqlite"
    if existing:
        spool = open_spool(path)
        spool.append(b"before")
        spool.close()
    fault(small_disk)
    spool = open_spool(path, retry_seconds=0)
    spool.append(b"one")
    spool.append(b"two")
    spool.append(b"three")

    assert str(path) in (spool.detail or "")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert [body for _, body in spool.peek()][-3:] == [b"one", b"two", b"three"]
    spool.ack(seqs(spool)[-2])
    free(small_disk)
    assert spool.recover()
    spool.close()
    again = open_spool(path)
    assert [body for _, body in again.peek()] == [*([b"before"] if existing else []), b"three"]
    assert seqs(again) == sorted(seqs(again))
    again.close()


def test_wrong_path_is_still_a_mistake_to_be_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite").mkdir()

    with pytest.raises(Exception, match="make it writable") as caught:
        open_spool(tmp_path / "spool.sqlite")
    assert not isinstance(caught.value, SpoolDiskError)


@pytest.mark.parametrize("fault", [fill, protect])
@pytest.mark.parametrize("held", [5, 2500])
async def test_numbers_come_once_though_the_process_dies_again_and_again_while_the_disk_fails(
    small_disk: Path, fault: Callable[[Path], None], held: int
) -> None:
    clock, path = FakeClock(NOW), small_disk / "spool.sqlite"
    used: list[int] = []

    def live(count: int) -> Spool:
        """A process that publishes what it can, and is then gone without another word to the disk."""
        spool = Spool(path, clock=clock, retry_seconds=1e9)
        for _ in range(count):
            spool.append(b"message")
            used.extend(seqs(spool)[-1:])
            spool.ack(used[-1])
        return spool

    _vanish(live(10))
    fault(small_disk)
    for _ in range(3):
        await clock.advance(5)  # fewer than a thousand messages a second
        _vanish(live(held))
    free(small_disk)
    await clock.advance(5)
    _vanish(live(10))

    assert [n for n in used if used.count(n) > 1] == [], "a number was used twice"


def _vanish(spool: Spool) -> None:
    """Let go of the file's lock as the death of a process does, and write nothing."""
    if not spool._file.broken:
        spool._file._database.close()


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[Path]:
    """A folder in which no file can be made, renamed or deleted, though it has a spool that is in use."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    yield folder
    thaw(folder)


def freeze(folder: Path) -> None:
    if subprocess.run([require("chattr"), "+i", folder], check=False, capture_output=True).returncode != 0:
        pytest.skip("needs the right to make a folder immutable")


def thaw(folder: Path) -> None:
    subprocess.run([require("chattr"), "-i", folder], check=True)


@pytest.mark.parametrize("held", [5, 2500])
async def test_numbers_come_once_when_the_disk_turns_read_only_in_use_and_the_process_dies(
    frozen: Path, held: int
) -> None:
    clock, disk, path = FakeClock(NOW), Disk(), frozen / "spool.sqlite"
    spool = Spool(path, clock=clock, connect=disk, retry_seconds=0)
    numbers = []
    for _ in range(3):
        spool.append(b"well")
        numbers += seqs(spool)
        spool.ack(numbers[-1])
        await clock.advance(5)
        disk.protect()
        freeze(frozen)
        for _ in range(held):
            spool.append(b"ill")
        numbers += [seq for seq, _ in spool.peek(held)]
        spool.ack(numbers[-1])
        thaw(frozen)
        disk.free()
        assert spool.recover()
    assert all(earlier < later for earlier, later in pairwise(numbers))
    assert numbers[0] == 1

    disk.protect()
    freeze(frozen)
    await clock.advance(5)
    for _ in range(held):
        spool.append(b"ill")
    numbers += [seq for seq, _ in spool.peek(held)]
    spool.ack(numbers[-1])
    thaw(frozen)
    disk.vanish()
    again = Spool(path, clock=clock)
    again.append(b"well")
    assert not set(seqs(again)) & set(numbers)


def test_memory_is_bounded_when_the_disk_failed_from_the_start(small_disk: Path) -> None:
    protect(small_disk)
    spool = open_spool(small_disk / "spool.sqlite", max_held=10)

    assert sum(spool.append(b"a") for _ in range(25)) == 15
    assert spool.depth == len(seqs(spool)) == 10
    assert spool.oldest_timestamp == NOW


def test_full_disk_loses_nothing_that_memory_can_hold(small_disk: Path) -> None:
    spool = open_spool(small_disk / "spool.sqlite", retry_seconds=0)
    fill(small_disk)
    exhaust(spool)
    count = spool.depth
    for _ in range(1500):
        spool.append(b"held")
    free(small_disk)
    assert spool.recover()

    assert len(spool.peek(10_000)) == count + 1500
    spool.close()


def test_service_goes_on_while_its_disk_is_full_says_so_and_recovers(small_disk: Path, tmp_path: Path) -> None:
    fill(small_disk)
    config = f'[spool]\npath = "{small_disk / "spool.sqlite"}"\n'
    with running(tmp_path / "s", config) as service:
        service.wait(lambda s: "▶ Smoke alarm" in s.printed(), "an event, published from memory")
        status, body = service.get("/ready")
        assert status == 503
        assert "spool" in body
        assert service.metrics()["ssondo_spool_healthy"] == 0
        service.wait(lambda s: s.metrics()["ssondo_mqtt_acked_total"] >= 1, "its acknowledgement")
        free(small_disk)
        with promised(10):
            service.wait(Service.ready, "readiness", 10)
        assert service.metrics()["ssondo_spool_healthy"] == 1
        assert [line for line in service.log().splitlines() if "ERROR" in line and "spool disk failed" in line]
        assert service.stop() == 0
    assert service.log().count("spool disk failed") == service.log().count("spool writes to its disk again") == 1


async def test_what_a_disk_holds_is_delivered_when_it_returns_though_no_event_comes(tmp_path: Path) -> None:
    clock, disk, wake, metrics = FakeClock(NOW), Disk(), asyncio.Event(), Metrics()
    spool = Spool(tmp_path / "spool.sqlite", 3, clock=clock, connect=disk, retry_seconds=1e9)
    spool.append(b"on disk")
    disk.vanish()
    for _ in range(3):
        spool.append(b"held")
    status = Status(
        spec=LoudnessStudent().spec,
        boot_id="b00",
        sources=[],
        spool=spool,
        mqtt=None,
        metrics=metrics,
        notifier=Notifier({}),
        wake=wake,
    )
    assert any("spool" in trouble for trouble in status.troubles())
    watching = asyncio.create_task(status.watch(clock))
    await clock.advance(1)
    watching.cancel()

    assert wake.is_set()
    assert status.troubles() == []
    assert "ssondo_spool_dropped_total 1.0" in metrics.exposition().decode(), "four messages, and room for three"
