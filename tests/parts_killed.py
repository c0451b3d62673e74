"""For programs that tests let die: SIGKILL in the middle of what they write."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


def die_after(writes: int, *, within: str = "", syncs: bool = False) -> None:
    """Let this process finish so many more files, and kill it before the next is renamed to its final name.

    Args:
        writes: renames that still happen.
        within: counts only what is in a folder of this name.
        syncs: counts what is forced to disk too.
    """
    left = writes

    def or_die(do: Callable[_P, _T]) -> Callable[_P, _T]:
        def done(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            nonlocal left
            left -= not within or within in Path(str(args[0])).parts
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return do(*args, **kwargs)

        return done

    Path.replace = or_die(Path.replace)  # type: ignore[method-assign]
    if syncs:
        os.fsync = or_die(os.fsync)
