"""What takes long enough to be made once for all tests of a run."""

from collections.abc import Iterator

import pytest

from tests.deploy.parts_compose import open_folder
from tests.deploy.parts_dockerfile import Image, build_here


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The container's image as a folder, all steps but those of apt."""
    with open_folder() as folder:
        yield build_here(folder, skip=lambda command: "apt-get" in command)
