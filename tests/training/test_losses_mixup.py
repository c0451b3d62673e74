import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.parts_losses import CLUSTERS, HAND, T, golden_inputs, loss, vectors_of
from training.losses import LOSSES
from training.mixup import Mixup, draw_mixup


@pytest.mark.parametrize("name", LOSSES)
def test_mixup_of_whole_clips_changes_nothing(name: str) -> None:
    mixup = Mixup(torch.arange(8).roll(3), torch.ones(8))
    assert loss(name, *golden_inputs(), mixup=mixup) == pytest.approx(loss(name, *golden_inputs()), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_mixup_of_a_clip_with_itself_changes_nothing(name: str) -> None:
    mixup = Mixup(torch.arange(8), torch.linspace(0.5, 1, 8))
    assert loss(name, *golden_inputs(), mixup=mixup) == pytest.approx(loss(name, *golden_inputs()), rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_mixup_with_the_partner_whole_is_the_partner(name: str) -> None:
    """A row of which nothing is its own is its partner's: as if it stood in its partner's place."""
    student, teacher = golden_inputs()
    partner = torch.arange(8).roll(3)
    clips = torch.empty_like(student)
    clips[partner] = student
    mixed = loss(name, student, teacher, mixup=Mixup(partner, torch.zeros(8)))
    assert mixed == pytest.approx(loss(name, clips, teacher), rel=1e-5)


@pytest.mark.parametrize("name", ["cosine", "mse", "l1", "kl"])
def test_mixup_averages_the_losses_against_both_targets(name: str) -> None:
    student, teacher = golden_inputs()
    mixup = draw_mixup(np.random.default_rng(1), 8)
    rows = [
        weight * loss(name, row[None], teacher[[own]], None)
        + (1 - weight) * loss(name, row[None], teacher[[other]], None)
        for own, (row, other, weight) in enumerate(
            zip(student, mixup.partner.tolist(), mixup.weight.tolist(), strict=True)
        )
    ]
    assert loss(name, student, teacher, mixup=mixup) == pytest.approx(sum(rows) / 8, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "clusters", "expected"),
    [
        # own share 3/4, the rest is of the next clip: (0, 1), (1, 2), (2, 0)
        (
            "contrastive",
            [0, 1, 2],
            [(4 / 7, 2 / 7, 3 / 6, 1 / 6, 6 / 9, 1 / 9), (4 / 7, 2 / 7, 3 / 7, 1 / 8, 6 / 8, 1 / 7)],
        ),
        ("decoupled", [0, 1, 2], [(4 / 1, 2 / 1, 3 / 2, 1 / 2, 6 / 2, 1 / 2)]),
        ("negative_clusters", [0, 1, 2], [(4 / 5, 2 / 3, 3 / 5, 1 / 3, 6 / 8, 1 / 3)]),
    ],
)
def test_mixed_clip_has_both_targets_as_positives(
    name: str, clusters: list[int], expected: list[tuple[float, ...]]
) -> None:
    mixup = Mixup(torch.tensor([1, 2, 0]), torch.full((3,), 0.75))
    found = loss(name, *vectors_of(HAND), torch.tensor(clusters), mixup=mixup)
    sums = [-sum(w * math.log(share) for w, share in zip([0.75, 0.25] * 3, row, strict=True)) / 3 for row in expected]
    assert found == pytest.approx(sum(sums) / len(sums), rel=1e-5)


def naive_cluster_aware(exponentials: Tensor, clusters: list[int], mixup: Mixup) -> float:
    """The definition, clip by clip."""
    rows, partner, weight = len(clusters), mixup.partner.tolist(), mixup.weight.tolist()
    held = [{i, partner[i]} for i in range(rows)]

    def share(row: int, clip: int) -> float:
        return weight[row] * (clusters[row] == clusters[clip]) + (1 - weight[row]) * (
            clusters[partner[row]] == clusters[clip]
        )

    def mean(anchors: list[list[tuple[int, int]]]) -> float:
        terms = []
        for pairs in anchors:
            near = sum(share(i, j) * exponentials[i, j].item() for i, j in pairs if j not in held[i])
            far = sum(exponentials[i, j].item() for i, j in pairs if share(i, j) == 0)
            if near and far:
                terms.append(-math.log(near / (near + far)))
        return sum(terms) / len(terms)

    every = range(rows)
    return (mean([[(i, j) for j in every] for i in every]) + mean([[(i, j) for i in every] for j in every])) / 2


def test_mixed_clip_has_the_clips_of_both_clusters_as_positives() -> None:
    student, teacher = golden_inputs()
    mixup = draw_mixup(np.random.default_rng(2), 8, alpha=2.0)
    cosines = torch.nn.functional.normalize(student) @ torch.nn.functional.normalize(teacher).T
    expected = naive_cluster_aware((cosines / T).exp(), CLUSTERS.tolist(), mixup)
    assert loss("cluster_aware", student, teacher, mixup=mixup) == pytest.approx(expected, rel=1e-5)


def test_student_that_aligns_every_mixed_clip_has_the_best_cross_cluster_term() -> None:
    _, teacher = golden_inputs()
    teacher = torch.nn.functional.normalize(teacher)
    mixup = draw_mixup(np.random.default_rng(3), 8, alpha=2.0)
    mixed = mixup.blend(teacher)
    only = {"alignment_weight": 0.0, "contrastive_weight": 0.0}
    assert loss("hybrid", mixed, teacher, mixup=mixup, **only) == pytest.approx(-1, abs=0.01)
