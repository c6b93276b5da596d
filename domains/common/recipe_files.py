"""The recipe travels with its artifact: inside the file where its format has a place for it, and beside it always.

PNG holds it in a `tEXt` chunk and Parquet in its key-value metadata, both under the key `langevin`. The copy beside
`NAME` is called `NAME.recipe.json`. Reading never decodes an image or a table.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from domains.common.errors import BadInput
from domains.common.files import atomic_path, atomic_write_text, read_bounded, sniff

RECIPE_KEY = "langevin"
RECIPE_SUFFIX = ".recipe.json"
MAX_RECIPE_BYTES = 2**20
_MAX_CHUNKS = 100_000
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEYWORD = RECIPE_KEY.encode() + b"\x00"
_COPY_BYTES = 2**20


def recipe_sidecar(path: Path) -> Path:
    """Where the copy of the recipe beside an artifact lies."""
    return path.with_name(path.name + RECIPE_SUFFIX)


def embed_recipe(path: Path, recipe: dict[str, Any]) -> Path:
    """Writes a recipe beside an artifact, and into it where it is PNG or Parquet; its content stays as it is.

    A recipe that is there already is replaced. Both files are written atomically.

    Args:
        path: An artifact that exists.
        recipe: JSON values only; at most 1 MiB as JSON.

    Returns:
        The file beside the artifact.

    Raises:
        ValueError: If the recipe is not JSON (NaN and infinities are not), or is too large.
    """
    text = _encoded(recipe)
    kind = sniff(path)
    if kind == "png":
        _embed_png(path, text)
    elif kind == "parquet":
        _embed_parquet(path, text)
    sidecar = recipe_sidecar(path)
    atomic_write_text(sidecar, json.dumps(recipe, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return sidecar


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe of an artifact: from inside it, else from the file beside it; or of a `.recipe.json` itself.

    Returns:
        The recipe, or None where there is none.

    Raises:
        BadInput: For `artifact`, where the file is absent or damaged or its recipe is too large or no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput("artifact", "no such file; give the path of an artifact or of its .recipe.json")
    if path.name.endswith(RECIPE_SUFFIX):
        return _decoded(read_bounded(path, MAX_RECIPE_BYTES * 2, "artifact"))
    try:
        kind = sniff(path)
        inside = _read_png(path) if kind == "png" else _read_parquet(path) if kind == "parquet" else None
    except OSError as error:
        raise BadInput(
            "artifact", f"the file cannot be read ({error.strerror}); check its permissions"
        ) from None
    if inside is not None:
        return _decoded(inside)
    sidecar = recipe_sidecar(path)
    if sidecar.is_file():
        return _decoded(read_bounded(sidecar, MAX_RECIPE_BYTES * 2, "artifact"))
    return None


def _encoded(recipe: dict[str, Any]) -> str:
    """The recipe as one line of ASCII JSON."""
    if not isinstance(recipe, dict):
        raise ValueError("a recipe is a JSON object")
    text = json.dumps(recipe, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    if len(text) > MAX_RECIPE_BYTES:
        raise ValueError(
            f"the recipe holds {len(text)} bytes; at most {MAX_RECIPE_BYTES} travel with an artifact"
        )
    return text


def _decoded(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_RECIPE_BYTES * 2:
        raise BadInput(
            "artifact", "its recipe is larger than any that this project writes; give another file"
        )
    try:
        recipe = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise BadInput("artifact", "its recipe is damaged; give the artifact as it was written") from None
    if not isinstance(recipe, dict):
        raise BadInput("artifact", "its recipe is no JSON object; give the artifact as it was written")
    return recipe


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _png_chunks(stream: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset of the data and its length, of every chunk up to the last; only headers are read."""
    if stream.read(8) != _PNG_SIGNATURE:
        raise BadInput("artifact", "the PNG file is damaged; give the artifact as it was written")
    size = stream.seek(0, 2)
    position = 8
    for _ in range(_MAX_CHUNKS):
        stream.seek(position)
        header = stream.read(8)
        if len(header) < 8:
            break
        length, kind = struct.unpack(">I4s", header)
        if position + 12 + length > size:
            break
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += 12 + length
    raise BadInput("artifact", "the PNG file is cut off or damaged; give the artifact as it was written")


def _is_recipe(stream: IO[bytes], kind: bytes, offset: int) -> bool:
    if kind not in (b"tEXt", b"iTXt"):
        return False
    stream.seek(offset)
    return stream.read(len(_PNG_KEYWORD)) == _PNG_KEYWORD


def _read_png(path: Path) -> bytes | None:
    with open(path, "rb") as stream:
        for kind, offset, length in _png_chunks(stream):
            if not _is_recipe(stream, kind, offset):
                continue
            if length > MAX_RECIPE_BYTES + 64:
                raise BadInput(
                    "artifact", "its recipe is larger than any that this project writes; give another file"
                )
            stream.seek(offset)
            data, checksum = stream.read(length), stream.read(4)
            if struct.pack(">I", zlib.crc32(kind + data)) != checksum:
                raise BadInput("artifact", "its recipe is damaged; give the artifact as it was written")
            text = data[len(_PNG_KEYWORD) :]
            if (
                kind == b"iTXt"
            ):  # as other programs may have rewritten it: flags, language and translated keyword first
                parts = text[2:].split(b"\x00", 2)
                if text[:1] != b"\x00" or len(parts) != 3:
                    raise BadInput("artifact", "its recipe is damaged; give the artifact as it was written")
                text = parts[2]
            return text
    return None


def _embed_png(path: Path, text: str) -> None:
    """Copies the file chunk by chunk, without an old recipe, and puts the new one before the last chunk."""
    data = _PNG_KEYWORD + text.encode("ascii")
    chunk = struct.pack(">I", len(data)) + b"tEXt" + data + struct.pack(">I", zlib.crc32(b"tEXt" + data))
    with open(path, "rb") as stream, atomic_path(path) as temporary, open(temporary, "wb") as out:
        out.write(_PNG_SIGNATURE)
        for kind, offset, length in _png_chunks(stream):
            if _is_recipe(stream, kind, offset):
                continue
            if kind == b"IEND":
                out.write(chunk)
            stream.seek(offset - 8)
            left = length + 12
            while left:
                block = stream.read(min(left, _COPY_BYTES))
                if not block:
                    raise OSError("the PNG file was cut off while it was read")
                out.write(block)
                left -= len(block)


def _read_parquet(path: Path) -> bytes | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(
            path, thrift_string_size_limit=16 * 2**20, thrift_container_size_limit=1_000_000
        ) as file:
            metadata = file.metadata.metadata or {}
    except (pa.ArrowException, OSError, ValueError, MemoryError):
        raise BadInput(
            "artifact", "the Parquet file is damaged; give the artifact as it was written"
        ) from None
    found = metadata.get(RECIPE_KEY.encode())
    return bytes(found) if found is not None else None


def _embed_parquet(path: Path, text: str) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    metadata = {**(table.schema.metadata or {}), RECIPE_KEY.encode(): text.encode("ascii")}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)
