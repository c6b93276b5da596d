"""The texts that pictures carry: PNG's text chunks, the Exif `UserComment` of JPEG and WebP.  Nothing is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from domains.common.errors import BadInput
from domains.common.recipes.foreign import comfyui, webui
from domains.common.recipes.foreign.settings import ForeignSettings
from domains.common.recipes.formats import jpeg, png, riff
from domains.common.recipes.registry import format_of
from domains.common.recipes.splice import Damaged, NoPlace, read_at

_MAX_CHUNK = comfyui.MAX_TEXT
_MAX_ENTRIES = 1_000
_EXIF = b"Exif\x00\x00"
_EXIF_FOLDER, _USER_COMMENT = 0x8769, 0x9286


def read_foreign(path: Path) -> ForeignSettings | None:
    """The settings that another program left in a picture; None where there are none that can be read.

    Raises:
        BadInput: For `artifact`, where the file cannot be read or is damaged.
    """
    try:
        format = format_of(path)
        with open(path, "rb") as stream:
            if format is png.PNG:
                return _from_png(stream)
            if format is jpeg.JPEG:
                return _from_exif(_exif_of_jpeg(stream))
            if format is riff.WEBP:
                return _from_exif(_exif_of_webp(stream))
    except OSError as error:
        raise BadInput(
            "artifact", f"the file cannot be read ({error.strerror}); check its permissions"
        ) from None
    except (Damaged, NoPlace):
        raise BadInput("artifact", "the picture is cut off or damaged; give it as it was written") from None
    return None


def _from_png(stream: IO[bytes]) -> ForeignSettings | None:
    texts: dict[str, str] = {}
    for kind, offset, length in png.chunks(stream):
        if kind in (b"tEXt", b"iTXt", b"zTXt") and length <= _MAX_CHUNK:
            keyword, text = _png_text(kind, read_at(stream, offset, length))
            if keyword in ("parameters", "prompt"):
                texts.setdefault(keyword, text)
    found = webui.parse_parameters(texts["parameters"]) if "parameters" in texts else None
    if found is None and "prompt" in texts:
        found = comfyui.parse_comfyui(texts["prompt"])
    return found


def _png_text(kind: bytes, data: bytes) -> tuple[str, str]:
    """Keyword and text of a chunk; a text that is longer than what is read is empty."""
    keyword, _, rest = data.partition(b"\x00")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        # UTF-8 is against the letter of the format, and common.
        return name, _utf8(rest) or rest.decode("latin-1")
    packed = kind == b"zTXt" or rest[:1] == b"\x01"
    text = rest[1:]
    if kind == b"iTXt":
        parts = rest[2:].split(b"\x00", 2)
        text = parts[2] if len(parts) == 3 else b""
    if packed:
        try:
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(text, _MAX_CHUNK)
            if unpacker.unconsumed_tail:
                text = b""
        except zlib.error:
            text = b""
    return name, (_utf8(text) or "") if kind == b"iTXt" else text.decode("latin-1")


def _utf8(text: bytes) -> str | None:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _exif_of_jpeg(stream: IO[bytes]) -> bytes | None:
    for marker, _, begin, end in jpeg.segments(stream):
        if marker == 0xE1 and end - begin > len(_EXIF):
            data = read_at(stream, begin, end - begin)
            if data.startswith(_EXIF):
                return data[len(_EXIF) :]
    return None


def _exif_of_webp(stream: IO[bytes]) -> bytes | None:
    for kind, offset, length in riff.chunks(stream):
        if kind == b"EXIF" and length <= _MAX_CHUNK:
            return read_at(stream, offset, length).removeprefix(_EXIF)
    return None


def _from_exif(exif: bytes | None) -> ForeignSettings | None:
    comment = user_comment(exif) if exif is not None else None
    if comment is None:
        return None
    return webui.parse_parameters(comment) or comfyui.parse_comfyui(comment)


def user_comment(exif: bytes) -> str | None:
    """The text of the Exif tag `UserComment` (Exif 3.0, section 4.6.6); None where there is none."""
    if exif[:4] not in (b"II*\x00", b"MM\x00*") or len(exif) < 8:
        return None
    order = "<" if exif[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", exif, 4)
    folder = next((value for tag, _, value in _entries(exif, order, first) if tag == _EXIF_FOLDER), None)
    if folder is None:
        return None
    for tag, count, value in _entries(exif, order, folder):
        if tag == _USER_COMMENT and 8 < count <= len(exif) - value:
            raw = exif[value : value + count]
            code, text = raw[:8], raw[8:]
            if code == b"UNICODE\x00":
                # The order of bytes is Exif's by the standard and big-endian in practice; the zeros tell.
                zeros = text[0:200:2].count(0) >= text[1:200:2].count(0)
                return text.decode("utf-16-be" if zeros else "utf-16-le", "replace").rstrip("\x00")
            return text.decode("utf-8", "replace").rstrip("\x00 ")
    return None


def _entries(exif: bytes, order: str, place: int) -> Iterator[tuple[int, int, int]]:
    """Tag, count, and value or place, of each entry of a folder that lies within the data."""
    if place + 2 > len(exif):
        return
    (count,) = struct.unpack_from(order + "H", exif, place)
    for index in range(min(count, _MAX_ENTRIES)):
        at = place + 2 + 12 * index
        if at + 12 > len(exif):
            return
        tag, _, amount, value = struct.unpack_from(order + "HHII", exif, at)
        yield tag, amount, value
