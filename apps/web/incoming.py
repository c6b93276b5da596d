"""Uploads on disk: staged while they come, whole or not there at all, cleared away by age and by size."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

KEPT_SECONDS = 24 * 3600.0  # a job has its own copy; this one is for the form that names it
KEPT_TIMES = 16  # the largest upload, so many times over, is what an owner's folder may hold
_STAGING = ".incoming-"
_EVERY = 600.0  # seconds


@contextlib.contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A private folder inside an owner's, gone at the end with whatever was left in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = folder / (_STAGING + secrets.token_hex(8))
    place.mkdir(mode=0o700)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def take(file: Path, folder: Path) -> Path:
    """Moves an uploaded `HASH/NAME` from its staging to the owner's folder, in one step."""
    target = folder / file.parent.name / file.name
    target.parent.mkdir(exist_ok=True, mode=0o700)
    os.replace(file, target)
    os.utime(target)
    return target


def tidy(folder: Path, most: int, seconds: float = KEPT_SECONDS) -> int:
    """Removes from an owner's folder what is old, then the oldest until `most` bytes are left; the bytes removed."""
    files = []
    for path in folder.glob("*/*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            files.append((status.st_mtime, status.st_size, path))
    left, removed, now = sum(size for _, size, _ in files), 0, time.time()
    for changed, size, path in sorted(files):
        if left <= most and now - changed < seconds:
            break
        with contextlib.suppress(OSError):
            path.unlink()
            path.parent.rmdir()  # refuses where another file is left in it
        left, removed = left - size, removed + size
    return removed


@contextlib.asynccontextmanager
async def kept_tidy(uploads: Path, most: int) -> AsyncIterator[None]:
    """Tidies the folders of all owners now and then, for the time of the block."""

    def sweep() -> None:
        for folder in uploads.iterdir() if uploads.is_dir() else ():
            tidy(folder, most)
            with contextlib.suppress(OSError):
                folder.rmdir()  # of an owner who has nothing here any more

    async def now_and_then() -> None:
        while True:
            await asyncio.sleep(_EVERY)
            await run_in_threadpool(sweep)

    task = asyncio.create_task(now_and_then())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
