"""Zip and gzip from strangers: members, sizes and ratios bounded, as declared and again while they are read."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from domains.common.errors import BadInput
from domains.common.files import bounded_size, human_size, sniff

_CHUNK = 1 << 20
_END = b"PK\x05\x06"
_END64 = b"PK\x06\x07"
_END_BYTES, _LONGEST_COMMENT = 22, 65_535
_ENTRY_BYTES = 46  # of a central directory, beside its names
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True)
class ArchiveLimits:
    """Largest archive that is read.

    Attributes:
        bytes: Size of the file.
        members: Files in it.
        member_bytes: One file, unpacked.
        total_bytes: All files, unpacked.
        ratio: Unpacked over packed, for what unpacks to more than 1 MB.
    """

    bytes: int = 64 * 2**20
    members: int = 1000
    member_bytes: int = 256 * 2**20
    total_bytes: int = 512 * 2**20
    ratio: float = 200.0


def safe_member(name: str, field: str) -> PurePosixPath:
    """The name of a member as a relative path below wherever it is unpacked.

    Raises:
        BadInput: If it is absolute, climbs, names a drive, or holds what no file name should.
    """
    path = PurePosixPath(name)
    bad = (
        not name.strip()
        or len(name) > 512
        or "\\" in name
        or any(ord(letter) < 32 for letter in name)
        or path.is_absolute()
        or ".." in path.parts
        or _DRIVE.match(name)
        or any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in path.parts)
    )
    if bad:
        raise BadInput(field, "the archive holds a file whose name leads out of it; pack it again")
    return path


@contextmanager
def opened_zip(
    path: Path, field: str = "archive", limits: ArchiveLimits | None = None
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip archive with its files, folders left out, all of them checked.

    Raises:
        BadInput: If it is no zip, is damaged, holds links, encrypted or oddly packed files, or passes a limit.
    """
    limits = limits or ArchiveLimits()
    bounded_size(path, limits.bytes, field)
    if sniff(path) != "zip":
        raise BadInput(field, f"holds {sniff(path)} and must be a zip archive")
    _check_directory(path, field, limits)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
            _check_members(members, field, limits)
            yield archive, members
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        if getattr(error, "errno", None):  # the disk's fault, not the archive's
            raise
        raise BadInput(field, "the zip archive is damaged; pack it again") from error
    except UnicodeDecodeError:
        raise BadInput(field, "the zip archive names a file in no known encoding; pack it again") from None


def read_member(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    field: str = "archive",
    limits: ArchiveLimits | None = None,
) -> bytes:
    """The bytes of a member, counted while they are unpacked.

    Raises:
        BadInput: If there are more than the limits or the archive itself say.
    """
    limits = limits or ArchiveLimits()
    most = min(limits.member_bytes, info.file_size)
    with archive.open(info) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise BadInput(field, "the archive unpacks to more than it declares; pack it again")
    return data


def unpack_zip(
    path: Path, into: Path, field: str = "archive", limits: ArchiveLimits | None = None
) -> list[Path]:
    """Unpacks a zip archive below `into`, an empty folder of ours; the files, in the archive's order.

    Raises:
        BadInput: As `opened_zip` and `read_member`; files unpacked before stay in `into`, for the caller to remove.
    """
    limits = limits or ArchiveLimits()
    written, left = [], limits.total_bytes
    with opened_zip(path, field, limits) as (archive, members):
        for info in members:
            target = into / safe_member(info.filename, field)
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as stream, open(target, "xb") as file:
                most = min(limits.member_bytes, left, info.file_size)
                shutil.copyfileobj(_Bounded(stream, most, field), file, _CHUNK)
                left -= file.tell()
            written.append(target)
    return written


def _check_directory(path: Path, field: str, limits: ArchiveLimits) -> None:
    """Bounds the list of members from the archive's last bytes, before anything makes objects of it."""
    with open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_BYTES - _LONGEST_COMMENT))
        tail = stream.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise BadInput(field, "the zip archive is cut off; pack it again")
    if _END64 in tail:
        raise BadInput(field, "zip64 archives are not read; pack fewer or smaller files")
    entries, directory = struct.unpack_from("<HI", tail, at + 10)
    # The count may lie; the size of the list is what is read.
    if max(entries, directory // (_ENTRY_BYTES + 512 + 512)) > limits.members:
        raise BadInput(field, f"the archive holds more than {limits.members} files; pack fewer")


def _check_members(members: list[zipfile.ZipInfo], field: str, limits: ArchiveLimits) -> None:
    if len(members) > limits.members:
        raise BadInput(field, f"the archive holds {len(members)} files and at most {limits.members} are read")
    names = set()
    for info in members:
        name = safe_member(info.filename, field).as_posix().casefold()
        if name in names:
            raise BadInput(field, "the archive holds two files of one name; pack it again")
        names.add(name)
        mode = info.external_attr >> 16
        if mode and not (stat.S_ISREG(mode) or stat.S_IFMT(mode) == 0):
            raise BadInput(field, "the archive holds a link or a device; pack plain files")
        if info.flag_bits & 0x1:
            raise BadInput(field, "the archive is encrypted; pack it without a password")
        if info.compress_type not in _METHODS:
            raise BadInput(field, "the archive is packed by a rare method; use the ordinary one (deflate)")
        if info.file_size > limits.member_bytes:
            most = human_size(limits.member_bytes)
            raise BadInput(
                field,
                f"a file of the archive unpacks to {human_size(info.file_size)}; at most {most} are read",
            )
        if info.file_size > _CHUNK and info.file_size > limits.ratio * max(1, info.compress_size):
            raise BadInput(
                field,
                f"a file of the archive is packed more than {limits.ratio:g} times smaller; pack it again",
            )
    total = sum(info.file_size for info in members)
    if total > limits.total_bytes:
        most = human_size(limits.total_bytes)
        raise BadInput(field, f"the archive unpacks to {human_size(total)} and at most {most} are read")


class _Bounded(io.RawIOBase):
    """A stream of which at most `most` bytes are read; one more is an error."""

    def __init__(self, stream: Any, most: int, field: str) -> None:
        self._stream, self._left, self._field = stream, most, field

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data: bytes = self._stream.read(len(view))
        self._left -= len(data)
        if self._left < 0:
            raise BadInput(self._field, "unpacks to more than is read; pack it again, or make it smaller")
        view[: len(data)] = data
        return len(data)


@contextmanager
def opened_gzip(
    path: Path, field: str = "archive", limits: ArchiveLimits | None = None
) -> Iterator[io.BufferedReader]:
    """The unpacked bytes of a gzip file as a stream that ends in an error past the limits.

    Raises:
        BadInput: If it is no gzip, is damaged, or unpacks to more than `member_bytes`, or than `ratio` times its size.
    """
    limits = limits or ArchiveLimits()
    size = bounded_size(path, limits.bytes, field)
    if sniff(path) != "gzip":
        raise BadInput(field, f"holds {sniff(path)} and must be gzip")
    most = int(min(limits.member_bytes, max(_CHUNK, limits.ratio * size)))
    try:
        with gzip.open(path, "rb") as stream:
            yield io.BufferedReader(_Bounded(stream, most, field), _CHUNK)
    except (OSError, EOFError, zlib.error) as error:
        if getattr(error, "errno", None):  # the disk's fault, not the archive's
            raise
        raise BadInput(field, "the gzip file is damaged; pack it again") from error
