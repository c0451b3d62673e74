"""What processes that each take some of the folds share."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.parts import PATIENCE
from training.files import locked
from training.study_data import StudyData


def test_a_process_waits_while_another_makes_what_both_need(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        with locked(tmp_path):
            waiting = pool.submit(StudyData(tmp_path, tmp_path, made_up=1).negatives)
            assert not list(tmp_path.iterdir())
            assert not waiting.done()
        made = waiting.result(PATIENCE * 30)
    assert all((tmp_path / "negatives" / entry.id).is_file() for entry in made.entries)


def test_two_processes_make_it_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        first, second = (pool.submit(StudyData(tmp_path, tmp_path, made_up=1).negatives) for _ in range(2))
        assert first.result(PATIENCE * 60).entries == second.result(PATIENCE * 60).entries
