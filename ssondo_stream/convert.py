"""From a published checkpoint, and a head for it, to a bundle: once, so that a sensor never reads a pickle.

The bundle runs without torch, and keeps the checksums of what it was made from.
"""

from dataclasses import replace
from pathlib import Path

from ssondo_stream.bundle import CARD_FILE, Architecture, StudentSpec, load_spec
from ssondo_stream.checkpoint import Checkpoint, backbone_of, projection_of, read_checkpoint
from ssondo_stream.download import Fetched, locate
from ssondo_stream.errors import BundleError, CheckpointError
from ssondo_stream.published import HEADS, MODELS, read_labels
from ssondo_stream.published_head import Classifier, find_head
from ssondo_stream.students import Backbone, ColumnTagger
from ssondo_stream.students.export import write_bundle
from ssondo_stream.students.projection import PROJECTION_FILE, projection_bytes


def convert(
    source: str | Path,
    out: Path,
    *,
    head: str | Path | None = None,
    labels: Path | None = None,
    revision: str | None = None,
) -> StudentSpec:
    """Convert a checkpoint to a bundle that does what torch does, or write nothing.

    Args:
        source: a published name, or a `.ckpt` file.
        out: folder of the bundle, which must not hold anything yet; its name becomes the bundle's.
        head: a published name, or the file of one; without it the bundle gives embeddings and has no labels.
        labels: CSV file with the names of the head's classes in order, see `published.read_labels`; unless given,
            the published ones.
        revision: of the published files, see `download.fetch`.

    Returns:
        The bundle's spec, as it was written.

    Raises:
        CheckpointError: the checkpoint, the head or the labels cannot be read or do not fit each other.
        DownloadError: a published file cannot be fetched.
        BundleError: the folder holds something already.
        ParityError: ONNX Runtime and torch differ.
        ValueError: there are labels but no head.
    """
    if labels and head is None:
        raise ValueError("labels name the classes of a head, and there is none")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(f"{out}: exists and is not empty, expected a new folder for the bundle")
    file = locate(source, MODELS, "checkpoint", revision)
    model = str(source) if str(source) in MODELS else ""
    checkpoint = read_checkpoint(file.path)
    backbone = backbone_of(checkpoint)
    classifier = None
    if head is not None:
        architecture, dim = checkpoint.architecture, backbone.embedding_dim
        classifier = find_head(head, student=model, architecture=architecture, embedding_dim=dim, revision=revision)
        classifier = _named(classifier, labels)
    spec = _spec(out.name, checkpoint, backbone, classifier, _source(file, model, head, classifier))
    files = {CARD_FILE: _card(spec).encode()}
    if checkpoint.projection is not None:
        files[PROJECTION_FILE] = projection_bytes(projection_of(checkpoint))
    student = ColumnTagger(backbone, classifier.layer if classifier else None)
    write_bundle(student.eval(), out, spec, files)
    return load_spec(out)


def _named(classifier: Classifier, labels: Path | None) -> Classifier:
    if labels is None:
        return classifier
    names, classes = read_labels(labels), classifier.layer.out_features
    if len(names) != classes:
        raise CheckpointError(f"{labels}: has {len(names)} labels, but the head has {classes} classes")
    return replace(classifier, labels=names)


def _spec(
    name: str, checkpoint: Checkpoint, backbone: Backbone, classifier: Classifier | None, source: dict[str, str]
) -> StudentSpec:
    try:
        return StudentSpec(
            name=name,
            labels=classifier.labels if classifier else (),
            embedding_dim=backbone.embedding_dim,
            mel=checkpoint.mel,
            window_frames=checkpoint.window_frames,
            column_frames=backbone.column_frames,
            activation=classifier.activation if classifier else "sigmoid",
            architecture=Architecture(checkpoint.architecture, checkpoint.options),
            source=source,
        )
    except ValueError as error:  # such as two labels alike
        raise CheckpointError(f"{checkpoint.path}: makes no student: {error}") from error


def _source(file: Fetched, model: str, head: str | Path | None, classifier: Classifier | None) -> dict[str, str]:
    source = {**file.provenance, **({"model": model} if model else {})}
    if classifier:
        source |= {f"head_{key}": value for key, value in classifier.source.items()}
    return source | ({"head": str(head)} if str(head) in HEADS else {})


def _card(spec: StudentSpec) -> str:
    facts = "\n".join(f"- {key}: {value}" for key, value in spec.source.items())
    network = spec.architecture.name if spec.architecture else ""
    seconds = spec.mel.samples_for(spec.window_frames) / spec.mel.sample_rate
    says = f"{len(spec.labels)} labels by {spec.activation}" if spec.labels else "no labels"
    return f"""# {spec.name}

A student in the layout of the S-SONDO checkpoints ({network}), converted to a bundle. It hears windows of {seconds:g} s
at {spec.mel.sample_rate} Hz, and gives embeddings of {spec.embedding_dim} and {says}.

## Where it comes from

{facts}

The published weights are under the MIT licence of their authors, who distilled them from teachers with terms of their
own: the weights of M2D are for evaluation only, those of MATPAC have no licence file.

## Before you rely on it

The thresholds of its labels are the defaults and not calibrated: of the events with a score of 0.5, more or fewer than
half may be right. The published heads were trained on means of whole clips, and a column is less than a clip.
"""
