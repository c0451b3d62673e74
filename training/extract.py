"""Embeddings of a manifest by a teacher, into a store.

The teacher is what takes long, so audio is read ahead of it by other threads, and a run that was stopped goes on where
its last shard ended.
"""

import math
import operator
import shutil
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ssondo_stream.types import Samples
from training.clips import SECONDS, read_clip
from training.embedding_store import INDEX_FILE
from training.embeddings import EmbeddingsWriter, Precision, ShardedEmbeddings
from training.errors import AudioFileError, ExtractError
from training.files import locked, make_folder, refuse_other, remember, write_json
from training.manifest import Entry, Manifest, Skipped, write_skipped
from training.progress import bar
from training.skipping import SKIPPED_FILE
from training.teacher import Teacher

SETTINGS_FILE = "settings.json"
REPORT_FILE = "report.json"
_NAN = "the teacher gave NaN or infinity"


@dataclass(frozen=True, slots=True)
class ExtractSettings:
    """How to extract. The first four decide on the result and may not change when a run is resumed.

    Attributes:
        teacher: its name, with the checksum of its weights where they are in a file.
        seconds: heard of each clip, from its start.
        columns: whether the embedding of each stretch is stored, all of a clip in one row, instead of the clip's.
        dtype: of stored embeddings.
        device: to which audio is moved for the teacher.
        batch: clips that the teacher gets at a time.
        shard_rows: rows of a shard; what a kill may cost.
        max_skipped_share: of the manifest, in [0, 1]; with more unusable clips the step fails.
        readers: threads that read audio.
        ahead: batches that wait for the teacher at most.
        progress: whether a bar is drawn.
    """

    teacher: str
    seconds: float = SECONDS
    columns: bool = False
    dtype: Precision = "float16"
    device: str = "cpu"
    batch: int = 16
    shard_rows: int = 512
    max_skipped_share: float = 0.01
    readers: int = 2
    ahead: int = 4
    progress: bool = True

    def __post_init__(self) -> None:
        if not self.teacher or not 0 < self.seconds < math.inf or not 0 <= self.max_skipped_share <= 1:
            raise ValueError(
                "need a teacher's name, a number of seconds > 0 and 0 <= max_skipped_share <= 1, "
                f"got {self.teacher!r}, {self.seconds}, {self.max_skipped_share}"
            )
        if min(self.batch, self.shard_rows, self.readers, self.ahead) < 1:
            raise ValueError(
                "need batch, shard_rows, readers and ahead of at least 1, "
                f"got {self.batch}, {self.shard_rows}, {self.readers}, {self.ahead}"
            )


@dataclass(frozen=True, slots=True)
class ExtractPlan:
    """What a run would do.

    Attributes:
        clips: in the manifest.
        stored: of these, by earlier runs.
        bytes_needed, bytes_free: for the rest, and on the disk.
        resolved: what the result depends on.
    """

    clips: int
    stored: int
    bytes_needed: int
    bytes_free: int
    resolved: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What a run did.

    Attributes:
        clips: in the manifest.
        embedded: by this run.
        stored: by this run and those before it.
        skipped: clips that could not be read, or that the teacher gave NaN of.
        seconds: that the run took.
        teacher_seconds: of these, in the teacher.
    """

    clips: int
    embedded: int
    stored: int
    skipped: tuple[Skipped, ...]
    seconds: float
    teacher_seconds: float

    @property
    def teacher_share(self) -> float:
        """Share of the time that was the teacher's."""
        return self.teacher_seconds / self.seconds if self.seconds else 0.0


def plan_extraction(manifest: Manifest, teacher: Teacher, out: Path, settings: ExtractSettings) -> ExtractPlan:
    """The dry run: says what `extract` would do, and writes nothing.

    Raises:
        EmbeddingsError: what is stored already is damaged.
        SettingsError: `out` was begun with another teacher, manifest or setting.
    """
    resolved = _resolved(manifest, teacher, settings)
    refuse_other(out / SETTINGS_FILE, resolved)
    stored = len(ShardedEmbeddings(out)) if (out / INDEX_FILE).exists() else 0
    needed = (len(manifest) - stored) * row_width(teacher, settings) * np.dtype(settings.dtype).itemsize
    there = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    return ExtractPlan(len(manifest), stored, needed, shutil.disk_usage(there).free, resolved)


def extract(manifest: Manifest, teacher: Teacher, out: Path, settings: ExtractSettings) -> ExtractReport:
    """Embed what is not stored yet; clips that were skipped before are tried again.

    Writes the store, `settings.json`, `skipped.csv` and `report.json` into `out`.

    Raises:
        SettingsError: `out` was begun with another teacher, manifest or setting.
        EmbeddingsError: `out` has embeddings of another width, or one does not fit float16; rows before are stored.
        ExtractError: too many clips cannot be read, or the teacher gives NaN of them or another shape than it says.
        StorageError: the disk is full, or another run is at work in `out`; finished shards stay usable.
    """
    make_folder(out)
    with locked(out):
        remember(out / SETTINGS_FILE, _resolved(manifest, teacher, settings))
        with EmbeddingsWriter(out, row_width(teacher, settings), settings.dtype, settings.shard_rows) as store:
            run = _Run(manifest, teacher, out, settings, store)
            before = len(store.stored)
            run.all()
    report = ExtractReport(
        len(manifest), len(store.stored) - before, len(store.stored), tuple(run.skipped), run.seconds, run.in_teacher
    )
    figures = {"skipped": len(report.skipped), "teacher_share": report.teacher_share, "settings": asdict(settings)}
    write_json(out / REPORT_FILE, {**asdict(report), **figures})
    return report


def row_width(teacher: Teacher, settings: ExtractSettings) -> int:
    """Numbers that are stored of a clip; with columns found by letting the teacher hear silence."""
    if not settings.columns:
        return teacher.embedding_dim
    with torch.inference_mode():
        silence = torch.zeros(1, round(settings.seconds * teacher.sample_rate), device=settings.device)
        return teacher.embed_frames(silence).numel()


def _resolved(manifest: Manifest, teacher: Teacher, settings: ExtractSettings) -> dict[str, object]:
    return {
        "step": "extract",
        "teacher": settings.teacher,
        "sample_rate": teacher.sample_rate,
        "embedding_dim": teacher.embedding_dim,
        "seconds": settings.seconds,
        "columns": settings.columns,
        "dtype": settings.dtype,
        "clips": len(manifest),
        "manifest_sha256": manifest.fingerprint,
    }


@dataclass(frozen=True, slots=True)
class _Batch:
    """Clips as they were read: `audio` [b, n] of the b that could be."""

    ids: list[str] = field(default_factory=list)
    audio: list[Samples] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


@dataclass(slots=True)
class _Run:
    """One run over what is left. State is what was skipped, and the time."""

    manifest: Manifest
    teacher: Teacher
    out: Path
    settings: ExtractSettings
    store: EmbeddingsWriter
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0
    in_teacher: float = 0.0

    def all(self) -> None:
        begun = time.perf_counter()
        left = [entry for entry in self.manifest.entries if entry.id not in self.store.stored]
        done = len(self.manifest) - len(left)
        with (
            closing(bar("extract", len(self.manifest), unit="clip", shown=self.settings.progress, done=done)) as shown,
            closing(self._read_ahead(left)) as batches,
        ):
            for batch in batches:
                self._take(batch)
                shown.update(len(batch.ids) + len(batch.skipped))
            self.store.flush()
        self.seconds = time.perf_counter() - begun
        write_skipped(self.out / SKIPPED_FILE, self.skipped)
        if not self.store.stored:
            raise ExtractError(f"{self.out}: no clip of the manifest could be used; {SKIPPED_FILE} says why")

    def _take(self, batch: _Batch) -> None:
        self.skipped += batch.skipped
        if batch.ids:
            self._store(batch, self._embedded(np.stack(batch.audio)))
        if len(self.skipped) > self.settings.max_skipped_share * len(self.manifest):
            write_skipped(self.out / SKIPPED_FILE, self.skipped)
            raise ExtractError(
                f"{len(self.skipped)} of {len(self.manifest)} clips could not be used, more than "
                f"{self.settings.max_skipped_share:.2%} of them; {self.out / SKIPPED_FILE} lists those found so far; "
                f"the last: {self.skipped[-1].id}: {self.skipped[-1].reason}"
            )

    def _store(self, batch: _Batch, rows: NDArray[np.float32]) -> None:
        usable = [bool(np.isfinite(row).all()) for row in rows]
        self.skipped += [Skipped(name, _NAN) for name in compress(batch.ids, map(operator.not_, usable))]
        ids, durations = list(compress(batch.ids, usable)), list(compress(batch.durations, usable))
        self.store.add(ids, durations, rows[usable])

    def _embedded(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        begun = time.perf_counter()
        with torch.inference_mode():
            heard = torch.from_numpy(audio).to(self.settings.device)
            embed = self.teacher.embed_frames if self.settings.columns else self.teacher.embed
            found = embed(heard).flatten(1).float().cpu().numpy()
        self.in_teacher += time.perf_counter() - begun
        if found.shape != (len(audio), self.store.dim):
            raise ExtractError(
                f"{self.settings.teacher}: expected embeddings [{len(audio)}, {self.store.dim}], "
                f"got {list(found.shape)}"
            )
        return np.asarray(found, np.float32)

    def _read_ahead(self, entries: Sequence[Entry]) -> Generator[_Batch]:
        """Batches in their order, at most `ahead` of them read before they are asked for."""
        waiting: deque[Future[_Batch]] = deque()
        with ThreadPoolExecutor(self.settings.readers, thread_name_prefix="read") as readers:
            try:
                for start in range(0, len(entries), self.settings.batch):
                    waiting.append(readers.submit(self._read, entries[start : start + self.settings.batch]))
                    if len(waiting) > self.settings.ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                readers.shutdown(cancel_futures=True)

    def _read(self, entries: Sequence[Entry]) -> _Batch:
        batch = _Batch()
        for entry in entries:
            path = self.manifest.path(entry)
            try:
                clip = read_clip(path, self.teacher.sample_rate, self.settings.seconds)
            except AudioFileError as error:
                batch.skipped.append(Skipped(entry.id, str(error).removeprefix(f"{path}: ")))
                continue
            batch.ids.append(entry.id)
            batch.audio.append(clip.samples)
            batch.durations.append(clip.duration)
        return batch
