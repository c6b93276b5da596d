"""File safety: sizes are bounded before reading, kinds are told by content, writes are atomic."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from core.files import atomic_path, atomic_write_bytes, atomic_write_text, file_sha256
from domains.common.errors import BadInput

__all__ = [
    "atomic_path",
    "atomic_write_bytes",
    "atomic_write_text",
    "bounded_size",
    "file_sha256",
    "human_size",
    "read_bounded",
    "sniff",
    "sniff_bytes",
]

# First bytes -> kind.  Longer signatures stand before shorter ones that they begin with.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"PAR1", "parquet"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\x93NUMPY", "npy"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"ARROW1", "arrow"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"glTF", "glb"),
    (b"\x7fELF", "executable"),
)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_SNIFFED_BYTES = 4096
_PRINTABLE = bytes(byte for byte in range(256) if byte >= 32 or byte in b"\t\n\r\f")
_HUMAN = ("bytes", "KB", "MB", "GB", "TB")


def human_size(size: int) -> str:
    """A size for people, to three digits.

    >>> human_size(1536), human_size(1023 * 1024)
    ('1.5 KB', '1023 KB')
    """
    value = float(size)
    for unit in _HUMAN[:-1]:
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 999.5 else f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} {_HUMAN[-1]}"


def bounded_size(path: Path, limit: int, field: str) -> int:
    """Size of a regular file in bytes, from the file system alone: nothing is opened or read.

    Args:
        path: The file.
        limit: Largest size that is accepted, in bytes.
        field: Name of the request field, for the error.

    Raises:
        BadInput: If the file is absent, is no regular file, is empty, or is larger than `limit`.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise BadInput(field, "no such file; give the path of an existing file") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(field, "is not a regular file; give the path of a file")
    if status.st_size == 0:
        raise BadInput(field, "the file is empty; give a file that holds data")
    if status.st_size > limit:
        size, most = human_size(status.st_size), human_size(limit)
        raise BadInput(field, f"the file holds {size} and at most {most} are read; split it into parts")
    return status.st_size


def read_bounded(path: Path, limit: int, field: str) -> bytes:
    """The bytes of a file of at most `limit` bytes, also where it grows while it is read.

    Raises:
        BadInput: As `bounded_size`, or if the file cannot be read.
    """
    bounded_size(path, limit, field)
    try:
        with open(path, "rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise BadInput(field, f"the file cannot be read ({error.strerror}); check its permissions") from None
    if len(data) > limit:
        raise BadInput(field, f"the file is larger than {human_size(limit)}; split it into parts")
    return data


def sniff(path: Path) -> str:
    """What a file holds, told by its first bytes and never by its name.

    Returns:
        `empty`, `text`, `utf-16`, `binary`, or the name of a known format (`parquet`, `png`, `zip`, `gzip`, ...).
    """
    with open(path, "rb") as stream:
        return sniff_bytes(stream.read(_SNIFFED_BYTES))


def sniff_bytes(head: bytes) -> str:
    """As `sniff`, for the first few thousand bytes of a file."""
    if not head:
        return "empty"
    if head[:4] == b"RIFF":
        return {b"WAVE": "wav", b"WEBP": "webp"}.get(head[8:12], "binary")
    head = head[:_SNIFFED_BYTES]
    if head[:2] in _UTF16:
        return "utf-16"
    # A table may begin with a column called PAR1; a binary format has control bytes within its first few.
    plain = not head.translate(None, _PRINTABLE)
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) and (not plain or kind == "pdf"):
            return kind
    return "binary" if b"\x00" in head else "text"
