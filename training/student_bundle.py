"""From a finished training to a bundle that the monitor runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ssondo_stream.bundle import (
    SPEC_FILE,
    VERIFIER_FILE,
    WEIGHTS_FILE,
    Architecture,
    Label,
    StudentSpec,
    is_network,
    network_files,
)
from ssondo_stream.published import read_labels
from ssondo_stream.students import ColumnTagger
from ssondo_stream.students.export import Exported, exported, full_spec
from ssondo_stream.students.export_verifier import verifier_onnx
from ssondo_stream.verifier import LEAST_FRAMES
from training.learner import Trained
from training.probe_head import Probe, with_probe
from training.recipe import Recipe
from training.tables import RecipeError
from training.teachers.textures import MEL

RECIPE_FILE = "recipe.toml"


@dataclass(frozen=True, slots=True)
class Planned:
    """A bundle that is yet to be made.

    Attributes:
        student: with its head, in evaluation mode.
        spec: what the bundle will say.
        verifier: frames of a sound -> evidence for the labels.
        recipe: that the student was trained by.
    """

    student: ColumnTagger
    spec: StudentSpec
    verifier: nn.Module | None
    recipe: Recipe

    @property
    def files(self) -> list[str]:
        """Names of the bundle's own files."""
        weights = [WEIGHTS_FILE] * bool(self.spec.architecture)
        return [SPEC_FILE, *network_files(self.spec), *weights, RECIPE_FILE]

    def export(self, files: Mapping[str, bytes] | None = None) -> Exported:
        """Make it, with the recipe and further files.

        Raises:
            ParityError: the exported network does not say what the network in torch says.
            BundleError: there is no room to try it.
        """
        content = {RECIPE_FILE: self.recipe.to_toml().encode(), **(files or {})}
        if self.verifier:
            content[VERIFIER_FILE] = verifier_onnx(self.verifier, self.spec)
        return exported(self.student, self.spec, content)


def plan_bundle(
    trained: Trained,
    name: str,
    *,
    probe: Probe | None = None,
    verifier: nn.Module | None = None,
    labels: Sequence[Label] | None = None,
    window_seconds: float | None = None,
    weights: bool = True,
    source: Mapping[str, str] | None = None,
) -> Planned:
    """Put together what a bundle is made of, and refuse what does not fit together.

    Args:
        trained: the student.
        name: of the bundle.
        probe: the head over its embeddings; without one the bundle gives embeddings alone.
        verifier: frames of a sound -> evidence for the probe's labels; only with a probe.
        labels: of the probe with settings for streams; with the probe's own thresholds if not given. With a verifier
            their certainties are centred.
        window_seconds: that the monitor shows it at once; what it was trained on if not given.
        weights: torch's too, half of its size; without them other engines run it, but torch does not.
        source: checksums of what it is made of, beside that of the recipe.

    Raises:
        RecipeError: a verifier without a probe, of other labels or of another front end; a window that is none.
        ProbeError: the probe is of another width, or has other labels.
    """
    backbone, recipe = trained.learner.backbone, trained.recipe
    seconds = recipe.seconds if window_seconds is None else window_seconds
    if not 0 < seconds < math.inf:
        raise RecipeError(f"expected a window of more than 0 s, got {seconds}")
    if verifier:
        _check_verifier(verifier, probe, recipe)
        labels = labels and [centred(label) for label in labels]
    try:
        spec = StudentSpec(
            name=name,
            labels=(),
            embedding_dim=backbone.embedding_dim,
            mel=recipe.mel,
            window_frames=recipe.mel.frames_in(round(seconds * recipe.mel.sample_rate)),
            column_frames=backbone.column_frames,
            verifies=verifier is not None,
            architecture=Architecture(recipe.student.architecture, recipe.student.options) if weights else None,
            source={"recipe_sha256": recipe.fingerprint, **(source or {})},
        )
        alone = ColumnTagger(backbone, None).eval()
        student, spec = with_probe(backbone, probe, spec, labels) if probe else (alone, spec)
    except ValueError as error:
        raise RecipeError(f"{name}: makes no bundle, {error}") from error
    return Planned(student, full_spec(student, spec), verifier, recipe)


def write_student_bundle(
    trained: Trained,
    folder: Path,
    *,
    probe: Probe | None = None,
    verifier: nn.Module | None = None,
    window_seconds: float | None = None,
) -> float:
    """Write a bundle, and return how far ONNX Runtime and torch differ, relative to the largest output.

    Its arguments are those of `plan_bundle`.
    """
    plan = plan_bundle(trained, folder.name, probe=probe, verifier=verifier, window_seconds=window_seconds)
    return plan.export().save(folder)


def further_files(named: Sequence[tuple[str, Path]]) -> dict[str, bytes]:
    """Files that go into a bundle beside its own, by name.

    Raises:
        RecipeError: one cannot be read, or has the name of another, or one that a bundle's own file has or may have.
    """
    files: dict[str, bytes] = {}
    for name, path in named:
        if name in {*files, SPEC_FILE, WEIGHTS_FILE, RECIPE_FILE} or is_network(name):
            raise RecipeError(f"{path}: a bundle has another file of the name {name!r}; give it another one")
        if not name.isprintable():
            raise RecipeError(f"{str(path)!r}: need a name without line breaks and the like")
        try:
            files[name] = path.read_bytes()
        except OSError as error:
            raise RecipeError(f"{path}: {error.strerror}; expected a file to go with the bundle") from error
    return files


def read_label_settings(path: Path) -> tuple[Label, ...]:
    """Labels in the order of a head's outputs: a CSV of names, or JSON objects with thresholds and all.

    Raises:
        RecipeError: the JSON is malformed, or a setting makes no sense.
        CheckpointError: the CSV is malformed.
    """
    if path.suffix != ".json":
        return read_labels(path)
    try:
        return tuple(Label(**settings) for settings in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecipeError(f"{path}: expected a list of labels with their settings ({error})") from error


def centred(label: Label) -> Label:
    """A label that finds the same, its certainties moved so that what it asks for is one half.

    A verifier that has learnt to doubt is never very certain, and of one label less than of another: after this one
    half is just enough for each. Where no certainty is asked for, or all, there is nothing to move.
    """
    if not 0 < label.confirm < 1:
        return label
    return replace(label, confirm=0.5, bias=round(label.bias - math.log(label.confirm / (1 - label.confirm)), 6))


def _check_verifier(verifier: nn.Module, probe: Probe | None, recipe: Recipe) -> None:
    if not probe:
        raise RecipeError("a verifier speaks of a head's labels: name the probe too")
    if recipe.mel != MEL:
        raise RecipeError(f"verifiers hear frames as {MEL}, this student's are {recipe.mel}")
    with torch.inference_mode():
        labels = verifier(torch.zeros(1, LEAST_FRAMES, MEL.n_mels)).shape[1]
    if labels != len(probe.labels):
        raise RecipeError(f"the verifier speaks of {labels} labels, the probe of {len(probe.labels)}: fit one for it")
