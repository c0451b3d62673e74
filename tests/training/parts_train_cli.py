"""The command `ssondo-train` in this process."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import pytest

from training.cli import main


def ssondo_train(*arguments: object) -> tuple[int, str, str]:
    """Call it: exit code, standard output, standard error."""
    said, error = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(said),
        redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", ["ssondo-train", *map(str, arguments)])
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.getvalue(), error.getvalue()


def refused(code: int, told: str, *arguments: object) -> None:
    """It ends with this exit code and one line, and says nothing else."""
    found, said, error = ssondo_train(*arguments)
    assert (found, said) == (code, ""), error
    assert error.startswith("ssondo-train: ")
    assert told in error
    assert error.count("\n") == 1
