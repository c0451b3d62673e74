"""From a finished training to a bundle that the monitor runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from ssondo_stream.bundle import VERIFIER_FILE, Architecture, Label, StudentSpec
from ssondo_stream.published import read_labels
from ssondo_stream.students import ColumnTagger
from ssondo_stream.students.export import write_bundle
from ssondo_stream.students.export_verifier import verifier_onnx
from training.files import make_folder
from training.learner import Trained
from training.probe_head import Probe, write_probe_bundle
from training.tables import RecipeError
from training.teachers.textures import MEL


def write_student_bundle(
    trained: Trained,
    folder: Path,
    *,
    probe: Probe | None = None,
    verifier: nn.Module | None = None,
    labels: Sequence[Label] | None = None,
    window_seconds: float | None = None,
    weights: bool = True,
    files: Mapping[str, bytes] | None = None,
) -> float:
    """Write a bundle, and return how far ONNX Runtime and torch differ, relative to the largest output.

    The recipe goes with it.

    Args:
        trained: the student.
        folder: of the bundle.
        probe: the head over its embeddings; without one the bundle gives embeddings alone.
        verifier: frames of a sound -> evidence for the probe's labels; only with a probe.
        labels: of the probe with settings for streams; with the probe's own thresholds if not given.
        window_seconds: that the monitor shows it at once; what it was trained on if not given.
        weights: torch's too, half of its size; without them other engines run it, but torch does not.
        files: further files, such as the model card.

    Raises:
        RecipeError: a verifier without a probe, or of another front end.
        ProbeError: the probe is of another width, or has other labels.
        ParityError: the exported network does not say what torch says; nothing is written.
    """
    backbone, recipe = trained.learner.backbone, trained.recipe
    spec = StudentSpec(
        name=folder.name,
        labels=(),
        embedding_dim=backbone.embedding_dim,
        mel=recipe.mel,
        window_frames=recipe.mel.frames_in(round((window_seconds or recipe.seconds) * recipe.mel.sample_rate)),
        column_frames=backbone.column_frames,
        architecture=Architecture(recipe.student.architecture, recipe.student.options) if weights else None,
        source={"recipe_sha256": recipe.fingerprint},
    )
    content = {"recipe.toml": recipe.to_toml().encode(), **(files or {})}
    if verifier:
        if not probe:
            raise RecipeError("a verifier speaks of a head's labels: name the probe too")
        if recipe.mel != MEL:
            raise RecipeError(f"verifiers hear frames as {MEL}, this student's are {recipe.mel}")
        content[VERIFIER_FILE], spec = verifier_onnx(verifier, spec), replace(spec, verifies=True)
    make_folder(folder)
    if probe:
        return write_probe_bundle(backbone, probe, folder, spec, labels=labels, files=content)
    return write_bundle(ColumnTagger(backbone, None).eval(), folder, spec, content)


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
