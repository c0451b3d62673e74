"""The study behind the shipped student: `python -m training.study --esc10 DIR --work DIR`.

Each fold is left out in turn: networks are trained on the others' labels, together they teach students, and all are
measured on the fold that none has heard. Every step goes on where it was stopped, and several processes may each take
some of the folds.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from ssondo_stream.bundle import SPEC_FILE
from ssondo_stream.loading import load_student
from training.annotations import Annotated
from training.cluster import ClusterSettings, cluster, read_clusters
from training.columns import columns_in, write_clip_means
from training.corpus import Sources
from training.distill import distill
from training.embeddings import open_embeddings
from training.evaluation import score_recordings
from training.extract import ExtractSettings, extract
from training.files import make_folder, write_json
from training.labels import LABELS
from training.learner import STUDENT_FILE, load_learner
from training.losses import LossSettings
from training.mistakes import mistakes
from training.probe import probe
from training.probe_data import ProbeData, probe_data
from training.probe_head import HEAD_FILE
from training.recipe import Recipe, RunSettings, load_recipe
from training.stream_scores import Recording
from training.study_data import FOLDS, WINDOW_SECONDS, StudyData
from training.study_effort import Effort
from training.study_figures import ACCURACY_FILE, TAUGHT_BY, TEACHER
from training.study_streams import HEAD, fit_head, loosest, measure_streams, write_stream_bundle
from training.teachers import load_teacher
from training.teachers.textures import TEXTURES_FILE, fit_textures
from training.verifier import VERIFIER_FILE, fit_verifier, load_verifier

PROBE_SECONDS = 5.0
QUIET = RunSettings(threads=1, tensorboard=False, progress=False, log_every=100, device="cpu", readers=1)


class Split:
    """One way of leaving folds out.

    Args:
        data: what everything is made of.
        folds: that are trained on.
        effort: how much of everything.
    """

    def __init__(self, data: StudyData, folds: Sequence[int], effort: Effort | None = None) -> None:
        self.data, self.folds, self.effort = data, tuple(folds), effort or Effort()
        self.left_out = tuple(fold for fold in FOLDS if fold not in folds)
        self.folder = data.folder / f"trained-on-{''.join(map(str, folds))}"

    def network(self, seed: int) -> Path:
        """A network that has learnt labels; one of the teachers."""
        return self._learnt("teacher", self.effort.recipe("esc10_resnet", seed))

    def scratch(self, seed: int) -> Path:
        """A student that has learnt labels, as the networks have."""
        recipe, ours = self.effort.recipe("esc10_resnet", seed), load_recipe("esc10_mobilenetv3")
        return self._learnt("scratch", replace(recipe, student=ours.student, precision=ours.precision))

    def taught(self, step: str, seed: int) -> Path:
        """A student that has learnt from the teachers, in the way of a step."""
        recipe, out = self.student_recipe(step, seed), self.folder / f"{step}-{seed}"
        if self._finished(out, recipe):
            return out
        windows = self.data.windows(self.folds, self.effort.windows)
        clusters = read_clusters(self.clusters()) if recipe.needs_clusters else None
        distill(recipe, Sources(windows, open_embeddings(self.columns()), clusters), out, QUIET)
        self.measure(out, str(out))
        return out

    def tuned(self, seed: int) -> Path:
        """The student of balanced sampling, which then has learnt when sounds are heard in scenes."""
        recipe, out = self.effort.recipe("esc10_scenes", seed), self.folder / f"tuned-{seed}"
        if not self._finished(out, recipe):
            scenes = self.data.scenes(self.folds, self.effort.scenes)
            distill(recipe, Sources(scenes, initial_weights=self.taught("balanced", seed) / STUDENT_FILE), out, QUIET)
            self.measure(out, str(out))
        return out

    def student_recipe(self, step: str, seed: int) -> Recipe:
        """The recipe of a step: `uniform`, `balanced`, or `loss-` and the name of a loss."""
        ours = self.effort.recipe("esc10_mobilenetv3", seed)
        if step == "balanced":
            return ours
        if step == "uniform":
            return replace(ours, sampling=replace(ours.sampling, by="clips"))
        return replace(ours, epochs=self.effort.epochs_compared, loss=LossSettings(step.removeprefix("loss-")))

    def scored(self, seed: int) -> list[Recording]:
        """What that student says of recordings of the fold that was left out."""
        return self._scores(seed, self.data.measured, self.effort.measured, "scores")

    def chosen_on(self, seed: int) -> list[Recording]:
        """And of further ones, on which settings for students of other folds are chosen."""
        return self._scores(seed, self.data.chosen_on, self.effort.chosen_on, "choosing")

    def _scores(
        self, seed: int, minutes: Callable[[int, int], list[Annotated]], count: int, name: str
    ) -> list[Recording]:
        (fold,) = self.left_out
        student, folder = load_student(self.bundle(seed), scores_only=True), self.folder / f"bundle-{seed}-{name}"
        return score_recordings(student, minutes(fold, count), folder, progress=False)

    def bundle(self, seed: int) -> Path:
        """The tuned student as the monitor runs it."""
        bundle = self.folder / f"bundle-{seed}"
        if not (bundle / SPEC_FILE).exists():
            write_stream_bundle(self._headed(seed), bundle, load_verifier(self.verifier(seed)))
        return bundle

    def verifier(self, seed: int) -> Path:
        """What hears a sound's whole extent, fitted to scenes, practice, and what its student mistakes for sounds."""
        out = self.folder / f"verifier-{seed}"
        if not (out / VERIFIER_FILE).exists():
            heard = self.data.stretches(self.folds, self.effort.scenes, self.effort.practice)
            fit_verifier(heard, LABELS, out, mistaken=self._mistakes(seed), progress=False)
        return out

    def _mistakes(self, seed: int) -> list[Annotated]:
        """What the tuned student, before it has a verifier, finds in minutes with nothing to report."""
        bundle = self.folder / f"unverified-{seed}"
        if not (bundle / SPEC_FILE).exists():
            write_stream_bundle(self._headed(seed), bundle)
        quiet, student = self.data.mistakable(self.effort.mistakable), load_student(bundle, scores_only=True)
        scored = score_recordings(student, quiet, self.folder / f"unverified-{seed}-scores", progress=False)
        return mistakes(quiet, scored, loosest())

    def _headed(self, seed: int) -> Path:
        """The tuned student with a head over columns, fitted to minutes of practice."""
        student = self.tuned(seed)
        if not (student / HEAD / HEAD_FILE).exists():
            fit_head(student, self.data.practice(self.folds, self.effort.practice))
        return student

    def columns(self) -> Path:
        """What the teachers say of each column of the windows."""
        out, settings = self.folder / "teachers-columns", ExtractSettings("all", WINDOW_SECONDS, columns=True)
        extract(
            self.data.windows(self.folds, self.effort.windows), load_teacher(self.teachers()), out, _quiet(settings)
        )
        return out

    def clusters(self) -> Path:
        """Of what the teachers say of the windows."""
        out, means = self.folder / "clusters", self.folder / "teachers-windows"
        write_clip_means(open_embeddings(self.columns()), columns_in(load_recipe("esc10_mobilenetv3")), means)
        stored, settings = open_embeddings(means), ClusterSettings(self.effort.clusters, normalise=True, progress=False)
        cluster(stored, np.arange(len(stored)), out, settings)
        return out

    def teachers(self, seed: int = TAUGHT_BY) -> str:
        """A network and statistics of textures, as an ensemble."""
        return f"{self.network(seed)},{self.textures()}"

    def ensemble(self, seed: int) -> Path:
        """What both teachers together are worth."""
        out = self.folder / f"{TEACHER}-{seed}"
        make_folder(out)
        self.measure(out, self.teachers(seed))
        return out

    def textures(self) -> Path:
        """What is usual of the textures of the windows."""
        out = self.folder / "textures"
        if not (out / TEXTURES_FILE).exists():
            fit_textures(self.data.windows(self.folds, self.effort.windows), out, WINDOW_SECONDS)
        self.measure(out, str(out))
        return out

    def measure(self, out: Path, teacher: str) -> None:
        """Accuracy of a linear probe on the recorded clips that were left out, and of what is learnt alone."""
        if not self.left_out or (out / ACCURACY_FILE).exists():
            return
        clips, stored = self.data.recorded(), out / "clips"
        extract(clips, load_teacher(teacher), stored, _quiet(ExtractSettings(out.name, PROBE_SECONDS)))
        found = probe_data(open_embeddings(stored), clips)
        told: dict[str, object] = {"accuracy": self._right(found), "folds": self.left_out}
        backbone = load_learner(out).learner.backbone if (out / STUDENT_FILE).exists() else None
        if backbone and backbone.computed_dim:
            told["learnt"] = self._right(replace(found, embeddings=found.embeddings[:, : backbone.learnt_dim]))
        write_json(out / ACCURACY_FILE, told)

    def _right(self, found: ProbeData) -> float:
        unit = normalize(torch.from_numpy(found.embeddings), dim=1).numpy()  # as each teacher of an ensemble is heard
        return probe(replace(found, embeddings=unit), self.effort.probe(self.left_out)).mean

    def _finished(self, out: Path, recipe: Recipe) -> bool:
        """Whether all of a training is there, which then needs no data."""
        measured = (out / ACCURACY_FILE).exists() or not self.left_out
        return measured and (out / STUDENT_FILE).exists() and load_learner(out).recipe == recipe

    def _learnt(self, name: str, recipe: Recipe) -> Path:
        out = self.folder / f"{name}-{recipe.seed}"
        if self._finished(out, recipe):
            return out
        distill(recipe, Sources(self.data.crops(self.folds, self.effort.crops, recipe.seconds)), out, QUIET)
        self.measure(out, str(out))
        return out


def _quiet(settings: ExtractSettings) -> ExtractSettings:
    return replace(settings, progress=False, readers=1)


def run(split: Split, step: str, seed: int) -> None:
    """One step of the study, for one seed."""
    if step == "teacher":
        split.network(seed)
    elif step == "scratch":
        split.scratch(seed)
    elif step == TEACHER:
        split.ensemble(seed)
    elif step == "tuned":
        split.tuned(seed)
    elif step == "streams":
        for made in (split.scored, split.chosen_on) if split.left_out else (split.bundle,):
            made(seed)
    else:
        split.taught(step, seed)


def report_streams(data: StudyData, seed: int, effort: Effort | None = None) -> None:
    """All folds' students on streams, each with settings chosen on the others."""
    splits = {fold: Split(data, [one for one in FOLDS if one != fold], effort) for fold in FOLDS}
    scored, chosen_on = (
        {fold: recordings(split, seed) for fold, split in splits.items()}
        for recordings in (Split.scored, Split.chosen_on)
    )
    measure_streams(scored, chosen_on, data.folder / f"streams-{seed}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--esc10", type=Path, required=True, help="folder with meta.csv and the clips")
    parser.add_argument("--work", type=Path, required=True, help="of everything that is made")
    parser.add_argument("--leave-out", default="1,2,3,4,0", help="folds to leave out in turn; 0 for none")
    parser.add_argument("--steps", default="teacher,ensemble,scratch,uniform,balanced,tuned,streams,report")
    parser.add_argument("--seeds", default="0,1,2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = StudyData(arguments.work, arguments.esc10)
    for step in arguments.steps.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            if step == "report":
                report_streams(data, seed)
                continue
            for fold in map(int, arguments.leave_out.split(",")):
                print(f"{step}, seed {seed}, fold {fold} left out", flush=True)  # a script's log
                run(Split(data, [one for one in FOLDS if one != fold]), step, seed)


if __name__ == "__main__":
    main()
