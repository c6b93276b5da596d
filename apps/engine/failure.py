"""Words for errors that nobody foresaw."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator

DISK_FULL = "the disk is full; delete results or make space, then try again"
SMALLER = "ask for fewer samples or give a smaller file"
NO_MEMORY = f"ran out of memory; {SMALLER}"
_FULL = {errno.ENOSPC, errno.EDQUOT}


def describe_crash(error: BaseException) -> str:
    """One sentence for a person about an unexpected error."""
    if disk_is_full(error):
        return DISK_FULL
    text = " ".join(str(error).split())
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in text  # torch on the CPU
        or "Cannot allocate memory" in text
    ):
        return NO_MEMORY
    return (
        f"unexpected {type(error).__name__}: {text[:300]}" if text else f"unexpected {type(error).__name__}"
    )


def disk_is_full(error: BaseException) -> bool:
    """Whether a full disk, or a full quota, is behind an error."""
    return any(isinstance(cause, OSError) and cause.errno in _FULL for cause in _causes(error))


def describe_exit(status: int) -> str:
    """What became of a process, from its exit status as `subprocess` gives it.

    >>> describe_exit(-11), describe_exit(3)
    ('crashed (SIGSEGV)', 'ended by itself (exit status 3)')
    """
    if status >= 0:
        return f"ended by itself (exit status {status})"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended from outside ({name})" if name in ("SIGKILL", "SIGTERM") else f"crashed ({name})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__
