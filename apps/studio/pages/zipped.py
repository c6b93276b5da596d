"""Results as one zip, written while it is sent: nothing is put together on the disk or in memory first."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from apps.engine.jobs import Job
from apps.engine.run import RESULT, Finished
from domains.common.recipes import recipe_sidecar

_BLOCK = 1 << 18  # bytes
_PACKED = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".mp4", ".flac", ".gz", ".npz", ".parquet", ".zip"}
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


class _Outgoing(io.RawIOBase):
    """A file that can be written only, and gives away what was written."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self._held)
        self._held.clear()
        return data


def folder_of(job: Job) -> str:
    """The name of a job's folder in a zip: task, day and time, and the beginning of its id."""
    moment = time.strftime("%Y%m%d-%H%M%S", time.gmtime(job.created))
    return _safe(f"{job.task_name}-{moment}-{job.id[:8]}")


def members(job: Job, finished: Finished) -> list[tuple[str, Path]]:
    """Name in the zip and file: the artifacts, the recipes beside them, and `result.json`."""
    listed: dict[str, Path] = {}
    for item in finished.artifacts:
        listed[item.name] = item.path
        beside = recipe_sidecar(item.path)
        if beside.is_file():
            listed[str(PurePosixPath(item.name).with_name(beside.name))] = beside
    listed[RESULT] = finished.directory / RESULT
    top = folder_of(job)
    return [
        ("/".join([top, *(_safe(part) for part in PurePosixPath(name).parts)]), path)
        for name, path in listed.items()
        if path.is_file()
    ]


def zipped(jobs: Sequence[Job]) -> Iterator[bytes]:
    """The zip of some jobs' results, a block at a time; a file that goes meanwhile is left out."""
    outgoing = _Outgoing()
    with zipfile.ZipFile(outgoing, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for job in jobs:
            if job.result is None:
                continue
            for name, path in members(job, job.result):
                try:
                    source = path.open("rb")
                except OSError:
                    continue
                with source:
                    entry = zipfile.ZipInfo.from_file(path, name)
                    entry.compress_type = (
                        zipfile.ZIP_STORED if path.suffix in _PACKED else zipfile.ZIP_DEFLATED
                    )
                    with archive.open(entry, "w", force_zip64=True) as target:
                        while block := source.read(_BLOCK):
                            target.write(block)
                            if data := outgoing.taken():
                                yield data
                if data := outgoing.taken():
                    yield data
    yield outgoing.taken()


def _safe(part: str) -> str:
    """A name that every system takes and none reads as a way to somewhere else."""
    name = _ODD.sub("_", part).strip(".") or "_"
    return name[:120]
