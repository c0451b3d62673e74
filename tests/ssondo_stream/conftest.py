"""What takes long enough to be made once for all tests of a run."""

from pathlib import Path

import pytest

from tests.parts_students import golden_bundle


class GoldenBundles(dict[str, Path]):
    """Bundles of the golden students by their names, each exported when it is first asked for; to be read alone."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> Path:
        self[name] = golden_bundle(name, self._folder / name)
        return self[name]


@pytest.fixture(scope="session")
def golden_bundles(tmp_path_factory: pytest.TempPathFactory) -> GoldenBundles:
    """The published students with the golden weights."""
    return GoldenBundles(tmp_path_factory.mktemp("golden"))
