"""What is kept, and for how long: ended jobs go by age, by number and by bytes; pinned ones stay."""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from apps.engine.inputs import sweep_blobs
from apps.engine.job import Job
from apps.engine.settings import DAY, Settings
from apps.engine.store import Store, now

_ID = re.compile(r"[0-9a-f]{32}")
ENDED = "state IN ('done', 'failed', 'cancelled')"


def victims(jobs: Sequence[Job], settings: Settings, moment: float, missing: int = 0) -> list[Job]:
    """The ended jobs that are to be removed.

    By age and number the oldest go; for space the oldest of whoever holds the most, so that one owner's thousand
    results never push out another's one.

    Args:
        jobs: Ended jobs, oldest first.
        settings: The bounds.
        moment: Now, seconds since the epoch.
        missing: Bytes by which the free space falls short of its floor.
    """
    loose = [job for job in jobs if not job.pinned]
    old = [job for job in loose if moment - (job.ended or job.created) > settings.kept_days * DAY]
    gone = {job.id for job in old}
    rest = [job for job in loose if job.id not in gone]
    surplus = max(0, len(rest) - settings.kept_jobs)
    chosen = old + rest[:surplus]
    rest = rest[surplus:]
    queues: dict[str, list[Job]] = defaultdict(list)
    for job in rest:
        queues[job.owner].append(job)
    held = {owner: sum(job.bytes for job in mine) for owner, mine in queues.items()}
    excess = max(sum(held.values()) - settings.kept_bytes, missing - sum(job.bytes for job in chosen))
    while excess > 0 and queues:
        owner = max(queues, key=lambda name: held[name])
        job = queues[owner].pop(0)
        held[owner] -= job.bytes
        excess -= job.bytes
        chosen.append(job)
        if not queues[owner]:
            del queues[owner]
    return chosen


def sweep(store: Store, settings: Settings, blobs: Path) -> int:
    """Removes what need not be kept; the number of jobs removed."""
    missing = settings.free_bytes - free_bytes(store.jobs)
    chosen = victims(store.select(ENDED), settings, now(), missing)
    for job in chosen:
        remove(store, job)
    if chosen:
        sweep_blobs(blobs)
    return len(chosen)


def remove(store: Store, job: Job) -> None:
    """Forgets a job and its files; should this process end in between, the files go at the next start."""
    store.delete(job.id)
    shutil.rmtree(job.directory, ignore_errors=True)


def remove_orphans(store: Store) -> None:
    """Removes the folders of jobs that the table does not know."""
    for folder in store.jobs.iterdir():
        if _ID.fullmatch(folder.name) and store.get(folder.name) is None:
            shutil.rmtree(folder, ignore_errors=True)


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the file system of `folder`."""
    return shutil.disk_usage(folder).free


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder; inputs that several jobs share count for each."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total
