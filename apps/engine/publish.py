"""Files appear whole or not at all: staging beside the destination, flush to disk, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from domains.common.errors import BadInput


def check_destination(out: Path) -> Path:
    """Returns the nearest folder at or above `out` that exists; creates nothing.

    Raises:
        BadInput: If `out` is a file, lies under a file, or lies in a folder that may not be written.
    """
    for place in (out, *out.absolute().parents):
        try:
            there = place.exists()
        except OSError as error:
            raise BadInput("out", f"cannot be used: {error.strerror}; name another folder") from None
        if there:
            if not place.is_dir():
                raise BadInput("out", f"{place} is a file; name a folder")
            if not os.access(place, os.W_OK | os.X_OK):
                raise BadInput("out", f"{place} may not be written to; name another folder")
            return place
    raise BadInput("out", "has no existing folder above it; name another folder")


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A private folder on the file system of `out`, gone at the end whatever happened.

    It lies in the nearest existing folder above `out`; where that is another file system (a mounted volume)
    or may not be written, inside `out`.

    Raises:
        BadInput: If no such folder can be made.
    """
    place = check_destination(out)
    above = place.absolute().parent
    if place.absolute() == out.absolute() and (
        os.access(above, os.W_OK | os.X_OK) and above.stat().st_dev == place.stat().st_dev
    ):
        place = above
    try:
        folder = Path(tempfile.mkdtemp(prefix=".langevin-", dir=place))
    except OSError as error:
        raise BadInput("out", f"{place} cannot be written: {error.strerror}; name another folder") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(ready: Path, out: Path, last: Iterable[str] = ()) -> None:
    """Moves every file of `ready` to `out`, replacing files of the same names.

    A new `out` appears in one rename.  Into an existing `out` files go one by one, those named in `last` at
    the end: whoever waits for them sees the others complete.

    Args:
        ready: A folder on the file system of `out`.
        out: The destination; made with its parents where absent.
        last: Names relative to `ready`.

    Raises:
        BadInput: If `out` cannot be written.
    """
    names = sorted(path.relative_to(ready).as_posix() for path in ready.rglob("*") if path.is_file())
    for name in names:
        _sync(ready / name)
    try:
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            os.replace(ready, out)
            _sync(out.parent)
            return
        at_the_end = [name for name in last if name in names]
        for name in [name for name in names if name not in at_the_end] + at_the_end:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(ready / name, out / name)
        _sync(out)
    except OSError as error:
        raise BadInput("out", f"{out} cannot be written: {error.strerror}; name another folder") from error


def _sync(path: Path) -> None:
    """Flushes a file or a folder to disk, where the system can."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
