"""One engine a home folder: a lock that the system frees when its process ends, however that is."""

from __future__ import annotations

import os
from pathlib import Path

from domains.common.errors import BadInput


class HomeLock:
    """Holds a lock file until `release`.

    Args:
        path: The file; made where absent.

    Raises:
        BadInput: If another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            _lock(self._handle)
        except OSError:
            os.close(self._handle)
            raise BadInput(
                "home",
                f"{path.parent} is in use by another Langevin; end it, or name another folder with --home",
            ) from None

    def release(self) -> None:
        """Lets go of the lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
