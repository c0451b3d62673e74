"""Every target a few hundred times, from valid inputs that were damaged; `make fuzz` goes on where this ends."""

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import PIECES, TARGETS, Case, damaged

_PIECES = st.one_of(st.binary(max_size=8), st.sampled_from(PIECES))
_EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), _PIECES), max_size=4)


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.{request.param}")


@pytest.fixture(scope="module")
def case(target: ModuleType) -> Iterator[Case]:
    with target.opened() as case:
        yield case


def test_valid_inputs_are_taken(target: ModuleType, case: Case) -> None:
    for seed in target.seeds():
        case(seed)


def test_damaged_inputs_are_survived(target: ModuleType, case: Case) -> None:
    @settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(target.seeds()), _EDITS)
    def survive(seed: bytes, edits: list[tuple[float, int, bytes]]) -> None:
        case(damaged(seed, edits))

    survive()
