"""Students whose gates and statistics matter, as bundles."""

from pathlib import Path

import torch

from ssondo_stream.bundle import Architecture, Label, StudentSpec
from ssondo_stream.students import STUDENTS, ColumnTagger, classifier, tagger
from ssondo_stream.students.export import write_bundle
from tests.parts_shared import seeded

GOLDEN = {
    "mn10": ("ssondo_mn", Architecture("mobilenetv3")),
    "dymn10": ("ssondo_dymn", Architecture("dymn")),
    "eres2net": ("ssondo_eres2net", Architecture("eres2net")),
}
LABELS = (Label("Low sound"), Label("High sound"), Label("Other sound"))
_PREFIX = "student_model.model."


def golden_student(name: str) -> ColumnTagger:
    """A published student with the golden weights and a linear head of small random weights."""
    torch.manual_seed(0)
    backbone = STUDENTS[name]()
    tensors = {key: torch.from_numpy(value) for key, value in seeded().state_dict(GOLDEN[name][0]).items()}
    backbone.load_state_dict({k.removeprefix(_PREFIX): v for k, v in tensors.items() if k.startswith(_PREFIX)})
    return ColumnTagger(backbone, classifier(backbone.embedding_dim, len(LABELS))).eval()


def settled_student(name: str) -> ColumnTagger:
    """A student of random weights whose batch norms know their inputs, so that it does not amplify rounding."""
    torch.manual_seed(0)
    student = tagger(name, len(LABELS)).train()
    for norm in student.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.momentum = None  # the mean of what follows
    with torch.no_grad():
        for _ in range(2):
            student(torch.randn(4, 96, 128) * 2 - 4)
    return student.eval()


def bundle_of(student: ColumnTagger, name: str, folder: Path) -> Path:
    """A student's bundle, with weights for torch."""
    spec = StudentSpec(
        name=name,
        labels=LABELS,
        embedding_dim=student.backbone.embedding_dim,
        column_frames=student.backbone.column_frames,
        architecture=GOLDEN[name][1],
    )
    write_bundle(student, folder, spec)
    return folder


def golden_bundle(name: str, folder: Path) -> Path:
    """The bundle of a golden student."""
    return bundle_of(golden_student(name), name, folder)
