"""What the study of ESC-10 students is made of: recorded clips, made-up alarms and negatives, and scenes of them.

The scenes that a fold is measured on hold no clip, alarm or voice that anything was trained on.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from training.annotations import Annotated, annotated_recordings
from training.crops import CropSettings, write_crops
from training.files import locked, make_folder
from training.labels import ESC10, LABELS, OTHER, SMOKE_ALARM, STEADY
from training.made_up import ALARMS, NEGATIVES, Maker, write_made_up
from training.manifest import Entry, Manifest, open_manifest
from training.negatives import UNHEARD_VOICES, speech
from training.soundscapes import Materials, SoundscapeSettings, write_soundscapes

FOLDS = (1, 2, 3, 4)
WINDOW_SECONDS = 4.88
"""Of a window that is trained on: 304 frames, of which ten columns are centred on the tenth part each."""
_SPEEDS = (0.85, 1.18)
_UNHEARD, _CHOOSING = 1000, 2000  # added to seeds of what is measured on, and of what settings are chosen on
_MISTAKABLE, _MANY = 3000, 4  # of negatives that students mistake, there cannot be too many

TRAINING = SoundscapeSettings(
    seconds=WINDOW_SECONDS,
    events=(0, 2),
    distractors=(0, 1),
    snr_db=(0.0, 30.0),
    longest_seconds=3.8,
    speed=_SPEEDS,
    in_rooms=0.5,
    peak_dbfs=(-35.0, -1.0),
)
MEASURED = SoundscapeSettings(seconds=60.0, events=(5, 5), snr_db=(8.0, 22.0))
SCENES = replace(
    TRAINING,
    seconds=10.0,
    events=(0, 3),
    distractors=(0, 3),
    snr_db=(3.0, 30.0),
    longest_seconds=9.0,
    margin_seconds=5.0,
)
PRACTICE = SoundscapeSettings(
    seconds=60.0, events=(2, 8), distractors=(0, 6), snr_db=(0.0, 28.0), speed=_SPEEDS, peak_dbfs=(-35.0, -1.0)
)
QUIET = SoundscapeSettings(
    seconds=60.0, events=(0, 0), distractors=(0, 12), snr_db=(0.0, 25.0), peak_dbfs=(-50.0, -1.0)
)


@dataclass(frozen=True, slots=True)
class StudyData:
    """Where everything is.

    Attributes:
        folder: of what is made.
        esc10: of the recorded clips and `meta.csv`.
        made_up: clips of each kind of alarm and negative, to teach with and to measure on.
        varied: clips of each, in scenes and minutes of practice: they cost nothing, and what is heard often is learnt
            by heart.
    """

    folder: Path
    esc10: Path
    made_up: int = 80
    varied: int = 400

    def recorded(self) -> Manifest:
        """The clips of ESC-10, by the labels of the student."""
        return Manifest(self.esc10, tuple(_recorded(self.esc10 / "meta.csv")))

    def labelled(self, count: int | None = None) -> Manifest:
        """The same, and so many alarms and sirens."""
        linked, alarms = self.folder / "esc10", self._made_up("alarms", ALARMS, count or self.made_up)
        with self._alone():
            if not linked.is_symlink():
                linked.symlink_to(self.esc10.resolve())
        entries = [
            replace(entry, id=f"{name}/{entry.id}")
            for name, manifest in (("esc10", self.recorded()), ("alarms", alarms))
            for entry in manifest.entries
        ]
        return Manifest(self.folder, tuple(entries))

    def negatives(self, count: int | None = None) -> Manifest:
        """Speech, music, clicks, beeps; to train on."""
        return self._made_up("negatives", NEGATIVES, count or self.made_up)

    def unheard_negatives(self) -> Manifest:
        """The same kinds from another seed, spoken by voices that nothing is trained on."""
        makers: dict[str, Maker] = {**NEGATIVES, "speech": partial(speech, voices=UNHEARD_VOICES)}
        return self._made_up("unheard", makers, self.made_up, seed=_UNHEARD)

    def crops(self, folds: Sequence[int], count: int, seconds: float, name: str = "crops") -> Manifest:
        """Single sounds of some folds, each with its label, and among them some that are none of the labels."""
        others = self.negatives().in_folds(folds)
        entries = tuple(replace(entry, id=f"negatives/{entry.id}", labels=(OTHER,)) for entry in others.entries)
        sounds = Manifest(self.folder, (*self.labelled().in_folds(folds).entries, *entries))
        settings = CropSettings(count, seconds, _SPEEDS, seed=_seed(folds))
        return write_crops(self.folder / f"{name}-{_named(folds)}", sounds, (*LABELS, OTHER), settings, progress=False)

    def windows(self, folds: Sequence[int], count: int) -> Manifest:
        """What a student hears its teachers on: scenes of the clips of some folds, and single sounds."""
        folder = self.folder / f"windows-{_named(folds)}"
        materials = replace(self._materials(folds, self.negatives()), steady=())  # nobody asks when they are heard
        write_soundscapes(folder / "scenes", materials, _of(TRAINING, count // 2, _seed(folds)), progress=False)
        self.crops(folds, count // 2, WINDOW_SECONDS, name=f"{folder.name}/crops")
        return open_manifest(folder)

    def scenes(self, folds: Sequence[int], count: int) -> Manifest:
        """What a student is tuned on: the clips of some folds among other sounds, with annotations."""
        folder = self.folder / f"scenes-{_named(folds)}"
        write_soundscapes(folder, self._varied(folds), _of(SCENES, count, _seed(folds)), progress=False)
        return open_manifest(folder)

    def stretches(self, folds: Sequence[int], scenes: int, minutes: int) -> list[Annotated]:
        """What a verifier is fitted to: so many scenes, and minutes of practice."""
        return [*annotated_recordings(self.scenes(folds, scenes).root), *self.practice(folds, minutes)]

    def practice(self, folds: Sequence[int], count: int) -> list[Annotated]:
        """Minutes to fit a head on: of the clips of some folds, and half as many without any of them."""
        sounds, others = self.folder / f"practice-{_named(folds)}", self.folder / "practice-quiet"
        quiet = Materials(distractors=self.negatives(self.varied))
        write_soundscapes(sounds, self._varied(folds), _of(PRACTICE, count, _seed(folds)), progress=False)
        with self._alone():
            write_soundscapes(others, quiet, _of(QUIET, count // 2, 0), progress=False)
        return [*annotated_recordings(sounds), *annotated_recordings(others)]

    def mistakable(self, count: int) -> list[Annotated]:
        """Minutes with nothing to report, of negatives heard nowhere else: students find in them what is not there."""
        negatives = self._made_up("mistakable", NEGATIVES, _MANY * self.varied, seed=_MISTAKABLE)
        folder, settings = self.folder / "quiet-mistakable", _of(QUIET, count, _MISTAKABLE)
        with self._alone():
            write_soundscapes(folder, Materials(distractors=negatives), settings, progress=False)
        return annotated_recordings(folder)

    def measured(self, fold: int, count: int) -> list[Annotated]:
        """Minutes with five sounds each, of the clips of one fold, and thrice as many in which nothing is to report."""
        return self._minutes(fold, count, self.unheard_negatives())

    def chosen_on(self, fold: int, count: int) -> list[Annotated]:
        """Minutes of the same kind, to choose settings on: of the same clips, and of negatives heard nowhere else."""
        negatives = self._made_up("choosing", NEGATIVES, self.varied, seed=_CHOOSING)
        return self._minutes(fold, count, negatives, "choosing-", _CHOOSING)

    def _minutes(self, fold: int, count: int, negatives: Manifest, prefix: str = "", seed: int = 0) -> list[Annotated]:
        sounds, others = (self.folder / f"{prefix}{name}-{fold}" for name in ("soundscapes", "quiet"))
        settings = _of(MEASURED, count, seed + _seed((fold,)))
        write_soundscapes(sounds, self._materials((fold,)), settings, progress=False)
        quiet = _of(QUIET, 3 * count, seed + _UNHEARD + fold)
        write_soundscapes(others, Materials(distractors=negatives), quiet, progress=False)
        return [*annotated_recordings(sounds), *annotated_recordings(others)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Make what all folds share while the processes that take other folds wait."""
        make_folder(self.folder)
        with locked(self.folder, wait=True):
            yield

    def _made_up(self, name: str, makers: Mapping[str, Maker], count: int, seed: int = 0) -> Manifest:
        with self._alone():
            return write_made_up(self.folder / name, makers, count, seed=seed, progress=False)

    def _varied(self, folds: Sequence[int]) -> Materials:
        return self._materials(folds, self.negatives(self.varied), self.varied)

    def _materials(
        self, folds: Sequence[int], distractors: Manifest | None = None, count: int | None = None
    ) -> Materials:
        clips, whole = self.labelled(count).in_folds(folds), (LABELS[SMOKE_ALARM],)
        return Materials(clips, distractors=distractors, labels=LABELS, whole=whole, steady=STEADY)


def _of(like: SoundscapeSettings, count: int, seed: int) -> SoundscapeSettings:
    return replace(like, count=count, seed=seed)


def _seed(folds: Sequence[int]) -> int:
    return sum(10**i * fold for i, fold in enumerate(folds))


def _named(folds: Sequence[int]) -> str:
    return "".join(str(fold) for fold in folds)


def _recorded(table: Path) -> Iterator[Entry]:
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield Entry(row["file"], (ESC10[row["label"]],), int(row["fold"]))
