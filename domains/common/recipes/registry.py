"""Which format a file has: by its content, and by its ending only among formats that are plain text."""

from __future__ import annotations

import zlib
from pathlib import Path

from domains.common.files import sniff_bytes
from domains.common.recipes.formats.flac import FLAC
from domains.common.recipes.formats.gif import GIF
from domains.common.recipes.formats.glb import GLB
from domains.common.recipes.formats.jpeg import JPEG
from domains.common.recipes.formats.json_text import JSON
from domains.common.recipes.formats.mmcif import MMCIF
from domains.common.recipes.formats.mp4 import MP4
from domains.common.recipes.formats.nifti import NIFTI, NIFTI_GZ, is_header
from domains.common.recipes.formats.npz import NPZ, is_npz
from domains.common.recipes.formats.obj import OBJ
from domains.common.recipes.formats.parquet import PARQUET
from domains.common.recipes.formats.pdb import PDB
from domains.common.recipes.formats.ply import PLY
from domains.common.recipes.formats.png import PNG
from domains.common.recipes.formats.riff import WAV, WEBP
from domains.common.recipes.formats.sdf import SDF
from domains.common.recipes.splice import Format

FORMATS: tuple[Format, ...] = (
    PNG,
    WEBP,
    JPEG,
    GIF,
    MP4,
    WAV,
    FLAC,
    GLB,
    PLY,
    OBJ,
    SDF,
    PDB,
    MMCIF,
    NIFTI,
    NIFTI_GZ,
    PARQUET,
    NPZ,
    JSON,
)

_BY_CONTENT = {
    "png": PNG,
    "webp": WEBP,
    "jpeg": JPEG,
    "gif": GIF,
    "wav": WAV,
    "flac": FLAC,
    "glb": GLB,
    "parquet": PARQUET,
}
_BY_ENDING = {
    ".obj": OBJ,
    ".sdf": SDF,
    ".sd": SDF,
    ".pdb": PDB,
    ".ent": PDB,
    ".cif": MMCIF,
    ".mmcif": MMCIF,
    ".json": JSON,
    ".geojson": JSON,
    ".gltf": JSON,
    ".ipynb": JSON,
}
_HEAD = 4096
# Films and sound in ISO base media files; pictures (HEIF, AVIF) are of the same family, and left alone.
_FILMS = frozenset(
    b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 mp71 avc1 av01 dash 3gp4 3gp5 3gp6".split()
) | {b"M4A ", b"M4V ", b"qt  "}


def format_of(path: Path) -> Format | None:
    """The format of a file; None where its recipe travels beside it only.

    Raises:
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as stream:
        head = stream.read(_HEAD)
    kind = sniff_bytes(head)
    if kind in _BY_CONTENT:
        return _BY_CONTENT[kind]
    if head.startswith((b"ply\n", b"ply\r\n")):
        return PLY
    if head[4:8] == b"ftyp":
        return MP4 if head[8:12] in _FILMS else None
    if is_header(head):
        return NIFTI
    if kind == "zip":
        return NPZ if is_npz(head) else None
    if kind == "gzip":
        return NIFTI_GZ if is_header(_gunzipped(head)) else None
    return _BY_ENDING.get(path.suffix.lower()) if kind == "text" else None


def _gunzipped(head: bytes) -> bytes:
    """The first bytes of what a gzip file holds."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 348)
    except zlib.error:
        return b""
