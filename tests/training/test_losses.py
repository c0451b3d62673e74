import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parts_shared import shared
from tests.training.parts_losses import CLUSTERS, HAND, golden_inputs, loss, unit_rows, vectors_of
from training.losses import LOSSES, LossSettings, distillation_loss
from training.mixup import draw_mixup

WITH_CLUSTERS = [name for name, loss in LOSSES.items() if loss.needs_clusters]
NEED_NEGATIVES = ["decoupled", "negative_clusters", "cluster_aware"]


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("cosine", LossSettings("cosine")),
        ("mse", LossSettings("mse")),
        ("l1", LossSettings("l1")),
        ("kl_T4_mean_over_elements", LossSettings("kl", 4.0, "published")),
        ("contrastive_symmetric_T0.07", LossSettings("contrastive", 0.07)),
        ("contrastive_decoupled_T0.07", LossSettings("decoupled", 0.07)),
    ],
)
def test_loss_gives_the_golden_value(key: str, settings: LossSettings) -> None:
    expected = json.loads((shared("golden") / "losses.json").read_text())[key]
    assert float(distillation_loss(*golden_inputs(), settings)) == pytest.approx(expected, rel=1e-5)


def test_batchmean_is_the_published_reduction_times_the_dimensions() -> None:
    published = loss("kl", *golden_inputs(), reduction="published")
    assert loss("kl", *golden_inputs()) == pytest.approx(48 * published, rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_ignores_the_order_of_the_batch(name: str) -> None:
    student, teacher = golden_inputs()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    there = loss(name, student[order], teacher[order], CLUSTERS[order])
    assert there == pytest.approx(loss(name, student, teacher), rel=1e-5)


@pytest.mark.parametrize("name", WITH_CLUSTERS)
def test_loss_ignores_what_clusters_are_called(name: str) -> None:
    assert loss(name, *golden_inputs(), 100 - CLUSTERS) == pytest.approx(loss(name, *golden_inputs()), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in {"mse", "l1", "kl"}])
def test_loss_of_angles_ignores_lengths(name: str) -> None:
    student, teacher = golden_inputs()
    stretched = student * torch.linspace(0.1, 9, 8)[:, None], teacher * torch.linspace(7, 0.2, 8)[:, None]
    assert loss(name, *stretched) == pytest.approx(loss(name, student, teacher), rel=1e-4)


@pytest.mark.parametrize("name", ["mse", "l1"])
def test_difference_of_unit_vectors_ignores_lengths(name: str) -> None:
    student, teacher = golden_inputs()
    stretched = loss(name, 3 * student, 0.1 * teacher, normalise=True)
    assert stretched == pytest.approx(loss(name, student, teacher, normalise=True), rel=1e-5)


@pytest.mark.parametrize("name", ["cosine", "mse", "l1", "kl"])
def test_perfect_student_has_no_loss(name: str) -> None:
    _, teacher = golden_inputs()
    assert loss(name, teacher, teacher) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mixed", [False, True])
def test_gradient_is_finite_in_half_precision(name: str, dtype: torch.dtype, mixed: bool) -> None:
    student, teacher = (x.to(dtype) for x in golden_inputs())
    student.requires_grad_(True)
    mixup = draw_mixup(np.random.default_rng(0), 8) if mixed else None
    found = distillation_loss(student, teacher, LossSettings(name, 0.02), CLUSTERS, mixup)
    found.backward()
    assert found.dtype == torch.float32
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert student.grad.any()


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_does_not_reach_into_the_loss(name: str) -> None:
    settings = LossSettings(name, 0.02)
    expected = distillation_loss(*golden_inputs(), settings, CLUSTERS)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(distillation_loss(*golden_inputs(), settings, CLUSTERS), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_teacher_gets_no_gradient(name: str) -> None:
    student, teacher = golden_inputs()
    teacher.requires_grad_(True)
    distillation_loss(student.requires_grad_(True), teacher, LossSettings(name), CLUSTERS).backward()
    assert teacher.grad is None


@pytest.mark.parametrize(
    ("name", "clusters", "expected"),
    [
        # -log(e_ii / (e_ii + those of other clusters))
        ("negative_clusters", [0, 0, 1], [4 / 5, 3 / 4, 6 / 9]),
        ("negative_clusters", [0, 1, 2], [4 / 7, 3 / 6, 6 / 9]),
        # rows: clips 0 and 1 are each other's positives, clip 2 has none; columns: the same
        ("cluster_aware", [0, 0, 1], [2 / 3, 2 / 3, 2 / 3, 2 / 4]),
        # e_ii is not in its own denominator
        ("decoupled", None, [4 / 3, 3 / 3, 6 / 3]),
        ("contrastive", None, [4 / 7, 3 / 6, 6 / 9, 4 / 7, 3 / 7, 6 / 8]),
    ],
)
def test_loss_is_the_one_done_by_hand(name: str, clusters: list[int] | None, expected: list[float]) -> None:
    found = loss(name, *vectors_of(HAND), None if clusters is None else torch.tensor(clusters))
    assert found == pytest.approx(-sum(math.log(share) for share in expected) / len(expected), rel=1e-5)


def test_hybrid_adds_its_parts_by_their_weights() -> None:
    student, teacher = vectors_of(HAND)
    clusters = torch.tensor([0, 0, 1])
    parts = {"alignment_weight": 2.0, "contrastive_weight": 3.0, "cross_cluster_weight": 5.0}
    alone = {
        key: loss("hybrid", student, teacher, clusters, **{**dict.fromkeys(parts, 0.0), key: 1.0}) for key in parts
    }
    assert alone["alignment_weight"] == pytest.approx(loss("cosine", student, teacher, clusters), rel=1e-5)
    assert alone["contrastive_weight"] == pytest.approx(loss("cluster_aware", student, teacher, clusters), rel=1e-5)
    together = sum(weight * alone[key] for key, weight in parts.items())
    assert loss("hybrid", student, teacher, clusters, **parts) == pytest.approx(together, rel=1e-5)


def test_cross_cluster_term_compares_centroids() -> None:
    student, teacher = unit_rows(0, 40, 90), unit_rows(20, 60, 150)  # centroids 20 and 40, 90 and 150 degrees
    only = {"alignment_weight": 0.0, "contrastive_weight": 0.0}
    found = loss("hybrid", student, teacher, torch.tensor([4, 4, 9]), **only)
    assert found == pytest.approx(-(math.cos(math.radians(20)) + math.cos(math.radians(60))) / 2, rel=1e-5)


@pytest.mark.parametrize("name", NEED_NEGATIVES)
def test_row_without_negatives_drops_out(name: str) -> None:
    student, teacher = golden_inputs()
    clusters = torch.zeros(8, dtype=torch.int64)
    one_row = slice(0, 1) if name == "decoupled" else slice(None)
    found = distillation_loss(
        student[one_row].requires_grad_(True), teacher[one_row], LossSettings(name), clusters[one_row]
    )
    found.backward()
    assert found == 0


def test_cluster_aware_leaves_out_clips_that_are_alone_in_their_cluster() -> None:
    student, teacher = golden_inputs()
    alone = torch.arange(8)
    student.requires_grad_(True)
    found = distillation_loss(student, teacher, LossSettings("cluster_aware"), alone)
    found.backward()
    assert found == 0
    assert student.grad is not None
    assert not student.grad.any()


@settings(max_examples=100, deadline=None)
@given(
    name=st.sampled_from(sorted(LOSSES)),
    clusters=st.lists(st.integers(0, 3), min_size=1, max_size=7),
    seed=st.integers(0, 1000),
    alpha=st.none() | st.floats(0.01, 5),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
)
def test_loss_and_gradient_are_finite_whatever_is_in_the_batch(
    name: str, clusters: list[int], seed: int, alpha: float | None, dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(seed)
    student, teacher = (10 * torch.randn(len(clusters), 6, generator=draw).to(dtype) for _ in range(2))
    student.requires_grad_(True)
    mixup = None if alpha is None else draw_mixup(np.random.default_rng(seed), len(clusters), alpha)
    found = distillation_loss(student, teacher, LossSettings(name, 0.02), torch.tensor(clusters), mixup)
    found.backward()
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"name": "focal"}, "no loss 'focal'"),
        ({"temperature": 0.0}, "temperature > 0, got 0.0"),
        ({"temperature": math.nan}, "temperature > 0, got nan"),
        ({"reduction": "sum"}, "reduction must be"),
        ({"alignment_weight": -1.0}, "weights >= 0"),
        ({"alignment_weight": 0.0, "contrastive_weight": 0.0, "cross_cluster_weight": 0.0}, "not all of them 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LossSettings(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", WITH_CLUSTERS)
def test_missing_clusters_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="needs the cluster of each clip"):
        loss(name, *golden_inputs(), None)


@pytest.mark.parametrize(
    ("student", "teacher", "clusters"),
    [((8, 48), (8, 47), 8), ((8, 48), (7, 48), 8), ((48,), (48,), 48), ((0, 48), (0, 48), 0), ((8, 48), (8, 48), 7)],
)
def test_shapes_that_do_not_match_are_refused(
    student: tuple[int, ...], teacher: tuple[int, ...], clusters: int
) -> None:
    with pytest.raises(ValueError, match="need "):
        loss("cosine", torch.zeros(student), torch.zeros(teacher), torch.zeros(clusters, dtype=torch.int64))
