"""What a file holds, told by its content: the names by which viewers are chosen."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from domains.common.files import sniff_bytes

_HEAD = 65_536
_FILMS = (b"isom", b"iso", b"mp4", b"avc1", b"M4V ", b"dash", b"av01", b"3gp")
_LOOKS_LIKE = (
    ("ply", re.compile(rb"\Aply\r?\n")),
    ("sdf", re.compile(rb"\A(?:.*\r?\n){3}.*V[23]000")),
    ("mmcif", re.compile(rb"^_atom_site\.", re.MULTILINE)),
    ("pdb", re.compile(rb"^(?:ATOM  |HETATM)[ \d*]{5} ", re.MULTILINE)),
    (
        "xyz",
        re.compile(rb"\A\s*\d{1,7}[ \t]*\r?\n.*\r?\n\s*[A-Z][a-z]?(?:\s+-?\d+\.\d*(?:[eE][-+]?\d+)?){3}"),
    ),
    ("obj", re.compile(rb"^v(?:[ \t]+[-+.\deE]+){3}", re.MULTILINE)),
)


def format_of(path: Path) -> str | None:
    """The format of a file, whatever its name says; None where it is none that a viewer knows.

    Returns:
        `png`, `apng`, `jpeg`, `webp`, `animated-webp`, `gif`, `mp4`, `webm`, `wav`, `flac`, `ogg`, `mp3`, `pdb`,
        `mmcif`, `sdf`, `xyz`, `nifti`, `glb`, `obj`, `ply`, or `json`.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
    kind = sniff_bytes(head)
    match kind:
        case "png":
            return "apng" if b"acTL" in head.partition(b"IDAT")[0] else "png"
        case "webp":
            return "animated-webp" if head[12:16] == b"VP8X" and head[20] & 2 else "webp"
        case "jpeg" | "gif" | "wav" | "flac" | "ogg" | "glb":
            return kind
        case "gzip":
            return "nifti" if _is_nifti(_gunzipped(head)) else None
    if head[4:8] == b"ftyp":
        return "mp4" if head[8:12].startswith(_FILMS) else None
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "webm" if b"webm" in head[:64] else None
    if head.startswith(b"ID3") or (head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE6 == 0xE2):
        return "mp3"
    if _is_nifti(head):
        return "nifti"
    if head.startswith((b"ply\n", b"ply\r\n")):  # its data may be binary
        return "ply"
    return _of_text(head) if kind == "text" else None


def _of_text(head: bytes) -> str | None:
    for name, pattern in _LOOKS_LIKE:
        if pattern.search(head):
            return name
    return "json" if head.lstrip()[:1] == b"{" else None


def _is_nifti(head: bytes) -> bool:
    """Whether header and data are in this one file."""
    return head[344:348] == b"n+1\x00" or head[4:12] == b"n+2\x00\r\n\x1a\n"


def _gunzipped(head: bytes) -> bytes:
    """The first bytes of what a gzip file holds."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 348)
    except zlib.error:
        return b""
