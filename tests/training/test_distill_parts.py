"""The parts of a training, each on its own."""

import io
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssondo_stream.mel import log_mel
from tests.training.parts_distill import RECIPE, sources
from training.average import Average
from training.batches import Chance
from training.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from training.clips import read_clip
from training.errors import ManifestError, SettingsError, StorageError
from training.hearing import Hearing
from training.learner import load_learner
from training.manifest import Entry
from training.mixup import Mixup
from training.processes import connected
from training.recipe import AugmentSettings, Recipe
from training.row_cache import RowCache
from training.supervised import LabelLoss, label_loss, label_targets, label_weights
from training.tables import RecipeError

PLAIN = replace(RECIPE, augment=AugmentSettings())


def hearing(recipe: Recipe, folder: Path, cache_bytes: float = 1e6) -> Hearing:
    manifest = sources(folder / "data").manifest
    paths = tuple(manifest.path(entry) for entry in manifest.entries)
    return Hearing(recipe, paths, paths, cache_bytes, folder)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


class TestCheckpoints:
    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        state = {"tensor": torch.arange(3.0), "list": [(1, 2.5)], "text": "x", "none": None}
        save_checkpoint(tmp_path / "c.pt", state, "print")
        found = load_checkpoint(tmp_path / "c.pt", "print")
        assert found is not None
        assert torch.equal(found.pop("tensor"), state.pop("tensor"))  # type: ignore[arg-type]
        assert found == state

    def test_no_checkpoint_is_no_state(self, tmp_path: Path) -> None:
        assert load_checkpoint(tmp_path / "c.pt", "print") is None

    def test_one_of_another_training_is_refused(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path / "c.pt", {}, "ours")
        with pytest.raises(SettingsError, match="fingerprint ours, expected theirs"):
            load_checkpoint(tmp_path / "c.pt", "theirs")

    @pytest.mark.parametrize("damage", ["cut", "empty", "noise", "foreign", "code"])
    def test_damaged_or_harmful_file_is_refused(self, tmp_path: Path, damage: str) -> None:
        path, foreign = tmp_path / "c.pt", io.BytesIO()
        save_checkpoint(path, {"tensor": torch.zeros(1000)}, "print")
        torch.save({"state_dict": {}}, foreign)
        contents = {
            "cut": path.read_bytes()[:900],
            "empty": b"",
            "noise": bytes(range(256)) * 4,
            "foreign": foreign.getvalue(),
            "code": pickle.dumps({"format": 1, "state": Harmful()}, 2),
        }
        path.write_bytes(contents[damage])
        with pytest.raises(CheckpointError, match=r"c\.pt: .*delete it to begin anew"):
            load_checkpoint(path, "print")
        assert not Path("harmed").exists()

    def test_full_disk_keeps_the_one_before(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path / "c.pt", {"step": 1}, "print")
        (tmp_path / "c.pt.tmp").symlink_to("/dev/full")
        with pytest.raises(StorageError, match="no room left"):
            save_checkpoint(tmp_path / "c.pt", {"step": 2}, "print")
        assert load_checkpoint(tmp_path / "c.pt", "print") == {"step": 1}

    def test_folder_without_student_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"student\.safetensors: cannot be read"):
            load_learner(tmp_path)


class TestRowCache:
    def test_rows_beyond_the_limit_are_not_kept(self, tmp_path: Path) -> None:
        cache = RowCache(5, (2, 3), 3 * 24 + 10, tmp_path)
        for row in range(5):
            cache.put(row, np.full((2, 3), row, np.float32))
        kept = [cache.get(row) for row in range(5)]
        assert [row is not None for row in kept] == [True, True, True, False, False]
        assert all(found is None or (found == row).all() for row, found in enumerate(kept))
        assert not list(tmp_path.iterdir())

    def test_row_that_was_not_put_is_not_there(self, tmp_path: Path) -> None:
        assert RowCache(5, (2,), 100, tmp_path).get(4) is None
        assert RowCache(5, (2,), 0, tmp_path).get(0) is None

    def test_full_disk_is_said_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match=r"no room for a cache of .* GiB"):
            RowCache(2**30, (2**20,), 2**60, tmp_path)


class TestHearing:
    def test_frames_are_those_of_the_monitor(self, tmp_path: Path) -> None:
        heard = hearing(PLAIN, tmp_path)
        expected = log_mel(read_clip(tmp_path / "data" / "clip2.wav", 32_000, 0.6).samples)
        for _ in range(2):  # made, then kept
            assert np.array_equal(heard.frames(2, np.random.default_rng(0)).numpy(), expected)

    @pytest.mark.parametrize("augment", [RECIPE.augment, AugmentSettings(background=1.0)], ids=["frames", "samples"])
    def test_a_draw_sounds_the_same_however_it_is_kept(self, tmp_path: Path, augment: AugmentSettings) -> None:
        recipe, chance = replace(RECIPE, augment=augment), Chance(3)
        kept, unkept = hearing(recipe, tmp_path), hearing(recipe, tmp_path, 0)
        draws = [[which.frames(1, chance.of_clip(draw)) for draw in (0, 1, 0)] for which in (kept, unkept)]
        assert all(torch.equal(one, other) for one, other in zip(*draws, strict=True))
        assert torch.equal(draws[0][0], draws[0][2])
        assert not torch.equal(draws[0][0], draws[0][1])


class TestChance:
    def test_what_one_thing_draws_says_nothing_of_another(self) -> None:
        chance = Chance(0)
        drawn = [chance.of_clip(draw).random() for draw in range(5)]
        mixed = chance.mixup(0, 4, 0.3, "cpu")
        style = chance.style(0, 4, 1.0, "cpu")
        assert mixed is not None
        assert style is not None
        assert len({*drawn, Chance(1).of_clip(0).random(), float(mixed.weight[0]), float(style.weight[0])}) == 8
        assert chance.mixup(0, 4, 0.0, "cpu") is None
        assert chance.style(0, 4, 0.0, "cpu") is None

    def test_network_draws_the_same_at_the_same_step(self) -> None:
        with torch.random.fork_rng():
            draws = []
            for step in (4, 5, 4):
                Chance(0).seed_network(step)
                draws.append(float(torch.rand(())))
        assert draws[0] == draws[2] != draws[1]


class TestAverage:
    def test_average_follows_by_its_decay(self) -> None:
        module = nn.Linear(1, 1, bias=False)
        module.weight.data.fill_(0)
        average = Average(module, 0.5)
        average.updates = 1000  # the quick start is over
        module.weight.data.fill_(1)
        average.update(module)
        average.update(module)
        assert float(average.module.weight) == pytest.approx(0.75)

    def test_first_weights_are_soon_forgotten(self) -> None:
        module = nn.Linear(1, 1, bias=False)
        module.weight.data.fill_(100)
        average = Average(module, 0.9999)
        module.weight.data.fill_(1)
        for _ in range(50):
            average.update(module)
        assert float(average.module.weight) == pytest.approx(1, abs=0.01)

    def test_decay_must_be_below_1(self) -> None:
        with pytest.raises(ValueError, match="0 <= decay < 1, got 1"):
            Average(nn.Linear(1, 1), 1.0)


class TestLabels:
    ENTRIES = (Entry("a", ("dog", "rain")), Entry("b", ("rain",)), Entry("c", ()))

    def test_targets_say_which_labels_a_clip_has(self) -> None:
        found = label_targets(self.ENTRIES, ("dog", "rain"), LabelLoss())
        assert found.tolist() == [[1, 1], [0, 1], [0, 0]]

    @pytest.mark.parametrize(
        ("names", "loss", "told"),
        [(("dog",), "bce", "a: label 'rain' is none of the 1"), (("dog", "rain"), "ce", "a: the loss 'ce' needs one")],
    )
    def test_labels_that_do_not_fit_are_named(self, names: tuple[str, ...], loss: str, told: str) -> None:
        with pytest.raises(ManifestError, match=told):
            label_targets(self.ENTRIES, names, LabelLoss(loss))

    def test_weights_are_in_the_published_proportion(self) -> None:
        """1000 / (100 + count) of each label, added up over a clip's."""
        targets = np.zeros((300, 2), np.float32)
        targets[:200, 0] = 1
        targets[100:, 1] = 1
        found = label_weights(targets, 100)
        assert found[0] / found[150] == pytest.approx((1000 / 300) / (2000 / 300))
        assert found.sum() == pytest.approx(1)

    def test_mixed_clip_has_both_labels_by_their_shares(self) -> None:
        logits, targets = torch.zeros(2, 2, dtype=torch.float16), torch.eye(2)
        mixup = Mixup(torch.tensor([1, 0]), torch.tensor([0.75, 0.75]))
        expected = -0.75 * np.log(0.5) - 0.25 * np.log(0.5)
        assert float(label_loss(logits, targets, LabelLoss("ce"), mixup)) == pytest.approx(expected)
        sure = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
        assert float(label_loss(sure, targets, LabelLoss("ce"), mixup)) == pytest.approx(25.0)
        assert float(label_loss(sure, targets, LabelLoss("bce"))) == pytest.approx(0.0)


@pytest.mark.parametrize("device", ["gpu", "cuda", "cuda:1"])
def test_device_that_is_not_there_is_refused(device: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RecipeError, match=device), connected(device):
        pass
