from collections.abc import Iterator

import numpy as np
import pytest
import torch

from ssondo_stream.students import tagger
from tests.training.parts import tones
from training.data import LABELS
from training.first_student import STUDENT, Average, draw_batch, draw_frames, learning_rate, mask, mixup, train
from training.negatives import FOREGROUND
from training.pool import Pool, with_made_up


@pytest.fixture(scope="module")
def pool() -> Pool:
    """Tones for clips, and a little of everything that needs no speech synthesiser."""
    quiet = {name: maker for name, maker in FOREGROUND.items() if name != "speech"}
    return with_made_up(tones(), np.random.default_rng(0), variants=0, made_up=1, foreground=quiet)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small batches on a busy machine are faster without threads that wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_student_has_at_most_a_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in tagger(STUDENT, len(LABELS)).parameters()) <= 1_000_000


@pytest.mark.usefixtures("one_thread")
def test_a_few_steps_of_training_lower_the_loss(pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    train(pool, seed=0, steps=16, minutes=5, budget=1300, log_every=4)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(losses) == 4
    assert losses[-1] < 0.8 * losses[0]


def test_windows_have_a_length_that_a_stream_can_show() -> None:
    rng = np.random.default_rng(0)
    lengths = {draw_frames(rng) for _ in range(2000)}
    assert all((length - 16) % 32 == 0 for length in lengths)
    assert (min(lengths), max(lengths)) == (16, 624)


def test_batch_has_a_target_for_every_column(pool: Pool) -> None:
    frames, targets = draw_batch(pool, np.random.default_rng(0), 112)
    assert frames.shape[1:] == (112, 128)
    assert targets.shape == (len(frames), 4, len(LABELS))
    assert frames.dtype == targets.dtype == torch.float32


def test_mixup_blends_windows_and_targets_alike() -> None:
    frames = torch.eye(4)[:, :, None] * torch.ones(1, 1, 3)
    mixed, targets = mixup(frames, frames.clone(), np.random.default_rng(0))
    torch.testing.assert_close(mixed, targets)
    torch.testing.assert_close(mixed.sum(1), torch.ones(4, 3))
    assert (mixed.diagonal()[0] >= 0.5).all()


def test_mask_hides_a_band_and_leaves_the_rest() -> None:
    frames = torch.randn(2, 48, 128)
    changed = mask(frames.clone(), np.random.default_rng(0)) != frames
    assert changed.any()
    assert changed.float().mean() < 0.2


@pytest.mark.parametrize(("progress", "rate"), [(0.0, 0.0), (0.025, 0.5), (0.05, 1.0), (0.525, 0.5), (1.0, 0.0)])
def test_learning_rate_rises_then_falls_to_zero(progress: float, rate: float) -> None:
    assert learning_rate(progress, 1.0) == pytest.approx(rate, abs=0.01)


def test_average_follows_the_student() -> None:
    student = torch.nn.Linear(2, 1)
    average = Average(student, decay=0.9)
    with torch.no_grad():
        student.weight.fill_(5.0)
    for _ in range(200):
        average.update(student)
    torch.testing.assert_close(average.student.weight, student.weight.detach(), rtol=1e-4, atol=1e-4)
