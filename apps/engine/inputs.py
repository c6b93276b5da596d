"""A job's own copies of the files that its request names: what the person does with theirs concerns no job."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from apps.engine.failure import DISK_FULL, disk_is_full
from apps.engine.recipe import input_files
from domains.common.errors import BadInput
from domains.common.files import bounded_size
from domains.common.task import Request


def adopt(request: Request, folder: Path, blobs: Path, limit: int) -> dict[str, Any]:
    """The fields of a request as JSON, with every file replaced by a copy in `folder`.

    Copies of equal files share their bytes on the disk: they are hard links to one file in `blobs`, named by its hash.

    Args:
        request: The request.
        folder: Where the copies go; made where there is any file.
        blobs: A folder on the same file system.
        limit: Largest file, bytes.

    Raises:
        BadInput: Naming the field whose file is absent, empty, too large or cannot be read.
    """
    fields: dict[str, Any] = request.model_dump(mode="json")
    for name, path in input_files(request).items():
        bounded_size(path, limit, name)
        target = folder / name / path.name
        try:
            target.parent.mkdir(parents=True)
            _link(_blob(path, blobs, limit, name), target)
        except OSError as error:
            if disk_is_full(error):
                raise BadInput("disk", DISK_FULL) from error
            raise BadInput(
                name, f"the file cannot be read ({error.strerror}); check its permissions"
            ) from None
        _put(fields, name, str(target))
    return fields


def _blob(source: Path, blobs: Path, limit: int, field: str) -> Path:
    """The file of `blobs` with the bytes of `source`; copied there where it is new."""
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / f".{secrets.token_hex(8)}.part"
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as reader, part.open("xb") as writer:
            while block := reader.read(1 << 20):
                size += len(block)
                if size > limit:
                    raise BadInput(field, "the file grew while it was being read; run again")
                digest.update(block)
                writer.write(block)
            writer.flush()
            os.fsync(writer.fileno())
        place = blobs / digest.hexdigest()
        if not place.exists():
            os.replace(part, place)
        return place
    finally:
        part.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if disk_is_full(error):
            raise
        shutil.copyfile(source, target)  # a file system without hard links


def sweep_blobs(blobs: Path) -> None:
    """Removes the copies that no job uses any more."""
    for path in blobs.iterdir() if blobs.is_dir() else ():
        if path.lstat().st_nlink == 1:
            path.unlink(missing_ok=True)


def _put(fields: dict[str, Any], dotted: str, value: str) -> None:
    *way, last = dotted.split(".")
    place: Any = fields
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
