import json

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from tests.parts_shared import shared
from training.errors import ClusterError, SettingsError
from training.sampling import SamplerState, SeededSampler, balanced_weights, clusters_of

LABELS = [0, 0, 0, 1, 2, 2]
WEIGHTS = balanced_weights(LABELS)


def sampler(rank: int = 0, world: int = 1, draws: int = 24, seed: int = 5) -> SeededSampler:
    return SeededSampler(WEIGHTS, draws, seed, rank, world)


class Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def test_weights_are_the_golden_ones() -> None:
    golden = json.loads((shared("golden") / "losses.json").read_text())
    np.testing.assert_allclose(WEIGHTS, golden["bds_weights_of_labels_0_0_0_1_2_2"], rtol=1e-12)


@pytest.mark.parametrize(
    ("balance", "chances"),
    [(0.0, [3 / 6, 1 / 6, 2 / 6]), (0.5, np.sqrt([3, 1, 2]) / np.sqrt([3, 1, 2]).sum()), (1.0, [1 / 3] * 3)],
)
def test_balance_leads_from_equal_clips_to_equal_clusters(balance: float, chances: list[float]) -> None:
    found = np.bincount(LABELS, balanced_weights(LABELS, balance))
    np.testing.assert_allclose(found, chances, rtol=1e-12)


def test_clusters_may_be_any_integers() -> None:
    np.testing.assert_array_equal(balanced_weights([70, 70, 70, -1, 9000, 9000]), WEIGHTS)


@pytest.mark.parametrize(
    ("clusters", "balance", "told"),
    [([], 1, "n > 0"), ([0.5], 1, "integers"), ([[0]], 1, r"\[1, 1\]"), ([0], 1.5, "got 1.5"), ([0], -0.1, "got -0.1")],
)
def test_impossible_balance_is_refused(clusters: list[float], balance: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        balanced_weights(clusters, balance)


def test_clip_without_a_cluster_is_named() -> None:
    with pytest.raises(ClusterError, match=r"2 of 3 clips have no cluster; the first is yard/b\.wav"):
        clusters_of(["a.wav", "yard/b.wav", "c.wav"], {"a.wav": 0})


def test_clusters_come_in_the_order_of_the_clips() -> None:
    np.testing.assert_array_equal(clusters_of(["b", "a"], {"a": 1, "b": 2, "c": 3}), [2, 1])


def test_every_cluster_is_drawn_equally_often() -> None:
    drawn = np.bincount([LABELS[clip] for clip in sampler(draws=30_000)])
    np.testing.assert_allclose(drawn / 30_000, 1 / 3, atol=4 * np.sqrt(2 / 9 / 30_000))


def test_clip_of_no_weight_is_never_drawn() -> None:
    assert set(SeededSampler(np.array([0.0, 1.0, 0.0, 2.0, 0.0]), 1000)) == {1, 3}


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("epoch", [0, 3])
def test_processes_share_the_draw_of_one(world: int, epoch: int) -> None:
    whole, shares = sampler(), [sampler(rank, world) for rank in range(world)]
    for one in (whole, *shares):
        one.set_epoch(epoch)
    assert [clip for step in zip(*shares, strict=True) for clip in step] == list(whole)
    assert [len(one) for one in shares] == [24 // world] * world


def test_local_batches_make_up_the_batch_of_one_process() -> None:
    whole = [sorted(batch.tolist()) for batch in DataLoader(Numbers(), batch_size=8, sampler=sampler())]
    shares = [DataLoader(Numbers(), batch_size=4, sampler=sampler(rank, 2)) for rank in (0, 1)]
    assert [sorted(a.tolist() + b.tolist()) for a, b in zip(*shares, strict=True)] == whole


def test_draw_is_set_by_seed_and_epoch_alone() -> None:
    first, again, other_epoch, other_seed = sampler(), sampler(), sampler(), sampler(seed=6)
    other_epoch.set_epoch(1)
    assert list(first) == list(first) == list(again)
    assert len({tuple(first), tuple(other_epoch), tuple(other_seed)}) == 3


@pytest.mark.parametrize("resumed_world", [1, 2, 4])
def test_resumed_sampler_goes_on_where_training_was(resumed_world: int) -> None:
    whole = sampler()
    whole.set_epoch(2)
    expected = list(whole)[8:]
    stopped = sampler(0, 2)
    stopped.set_epoch(2)
    list(stopped)  # read ahead to the end
    stopped.advance(4)
    state: SamplerState = json.loads(json.dumps(stopped.state_dict()))
    resumed = [sampler(rank, resumed_world) for rank in range(resumed_world)]
    for one in resumed:
        one.load_state_dict(state)
        one.set_epoch(2)
    assert [clip for step in zip(*resumed, strict=True) for clip in step] == expected
    assert len(resumed[0]) == 16 // resumed_world


def test_next_epoch_begins_at_its_start() -> None:
    fresh, resumed = sampler(), sampler()
    resumed.advance(24)
    assert list(resumed) == []
    resumed.set_epoch(1)
    fresh.set_epoch(1)
    assert list(resumed) == list(fresh)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (SeededSampler(WEIGHTS, 24, 6), "seed was 5, is 6"),
        (SeededSampler(WEIGHTS, 48, 5), "draws was 24, is 48"),
        (SeededSampler(balanced_weights(LABELS, 0.5), 24, 5), "weights_sha256 was"),
    ],
)
def test_state_of_another_draw_is_refused(other: SeededSampler, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        other.load_state_dict(sampler().state_dict())


def test_position_that_processes_cannot_share_is_refused() -> None:
    stopped = sampler()
    stopped.advance(5)
    with pytest.raises(SettingsError, match="2 processes cannot go on at draw 5 of 24"):
        sampler(0, 2).load_state_dict(stopped.state_dict())


@pytest.mark.parametrize("clips", [-1, 25])
def test_advance_stays_within_the_epoch(clips: int) -> None:
    with pytest.raises(ValueError, match="24 draws"):
        sampler().advance(clips)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"weights": np.array([])}, "weights"),
        ({"weights": np.zeros(2)}, "weights"),
        ({"weights": np.array([1.0, -1.0])}, "weights"),
        ({"weights": np.array([1.0, np.nan])}, "weights"),
        ({"draws": 0}, "draws > 0"),
        ({"draws": 5, "world": 2}, "2 processes can share equally, got 5"),
        ({"rank": 2, "world": 2}, "rank < world"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_impossible_sampler_is_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SeededSampler(**{"weights": WEIGHTS, "draws": 4, **settings})  # type: ignore[arg-type]
