"""Files that are whole or absent: atomic writes, and hashes.  Loads no torch."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` for a writer that wants a name; renamed to `path` when the block succeeds.

    The file is flushed to the disk before it is renamed, so that a crash leaves the old file or the new one, whole.
    If the block raises, the temporary file is removed and `path` is as it was.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        # Made here, and exclusively: the person's umask holds and nobody else's file is ever written through.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to `path`: all of it or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, line ends as they are: all of it or nothing."""
    atomic_write_bytes(path, text.encode("utf-8"))
