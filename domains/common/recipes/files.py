"""Recipes in and beside files: `embed_recipe`, `read_recipe`, `strip_recipe`, `content_sha256`.

The copy beside `NAME` is called `NAME.recipe.json`.  No payload is decoded or encoded again: what a file holds besides
its recipe stays the same byte for byte, but for gzip, whose content does.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from domains.common.errors import BadInput
from domains.common.files import atomic_path, atomic_write_text, file_sha256, read_bounded
from domains.common.recipes.notation import MAX_RECIPE_BYTES, MAX_STORED_BYTES, decode, encode
from domains.common.recipes.registry import format_of
from domains.common.recipes.splice import Damaged, Format, NoPlace, spliced

RECIPE_SUFFIX = ".recipe.json"
_MAX_GUNZIPPED = 8 * 2**30  # bytes


def recipe_sidecar(path: Path) -> Path:
    """Where the copy of the recipe beside an artifact lies."""
    return path.with_name(path.name + RECIPE_SUFFIX)


def embed_recipe(path: Path, recipe: dict[str, Any]) -> Path:
    """Writes a recipe beside an artifact, and into it where its format has a place; the payload stays as it is.

    A recipe that is there already is replaced.  Both files are written atomically.  A file that is not built as its
    format says, or a variant without a place, is not touched: its recipe lies beside it.

    Args:
        path: An artifact that exists.
        recipe: JSON values only; at most 1 MiB as JSON.

    Returns:
        The file beside the artifact.

    Raises:
        ValueError: If the recipe is not JSON (NaN and infinities are not), or is too large.
        OSError: If a file cannot be read or written.
    """
    path = Path(path)
    text = encode(recipe)
    format = format_of(path)
    if format is not None:
        _rewrite(path, format, text)
    sidecar = recipe_sidecar(path)
    readable = json.dumps(recipe, indent=2, ensure_ascii=False, allow_nan=False)
    # A long list takes a line an entry: what reading refuses for its size is not written.
    fits = len(readable) <= MAX_RECIPE_BYTES // 2
    atomic_write_text(sidecar, (readable if fits else text.decode("ascii")) + "\n")
    return sidecar


def strip_recipe(path: Path) -> None:
    """Takes the recipe out of an artifact, and away from beside it; the payload stays as it is.

    Raises:
        OSError: If a file cannot be read or written.
    """
    path = Path(path)
    format = format_of(path)
    if format is not None:
        _rewrite(path, format, None)
    recipe_sidecar(path).unlink(missing_ok=True)


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
        return decode(read_bounded(path, MAX_STORED_BYTES, "artifact"))
    try:
        inside = _read(path)
    except OSError as error:
        raise BadInput(
            "artifact", f"the file cannot be read ({error.strerror}); check its permissions"
        ) from None
    if inside is not None:
        return decode(inside)
    sidecar = recipe_sidecar(path)
    if sidecar.is_file():
        return decode(read_bounded(sidecar, MAX_STORED_BYTES, "artifact"))
    return None


def content_sha256(path: Path) -> str:
    """SHA-256 of an artifact's bytes without any recipe in them, in hexadecimal; of gzipped volumes, of what is zipped.

    It is the same before and after `embed_recipe`.

    Raises:
        OSError: If the file cannot be read.
    """
    format = format_of(path)
    if format is None:
        return file_sha256(path)
    digest = hashlib.sha256()
    try:
        with _payload(path, format) as stream:
            for block in _bounded(spliced(stream, format.edits(stream, None)), format):
                digest.update(block)
    except (Damaged, NoPlace):
        return file_sha256(path)
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    format = format_of(path)
    if format is None:
        return None
    try:
        with _payload(path, format) as stream:
            return format.read(stream)
    except NoPlace:
        return None
    except Damaged:
        raise BadInput(
            "artifact", f"the {format.title} file is cut off or damaged; give the artifact as it was written"
        ) from None


def _rewrite(path: Path, format: Format, text: bytes | None) -> None:
    try:
        with _payload(path, format) as stream:
            edits = format.edits(stream, text)
            if not edits:
                return
            with atomic_path(path) as temporary, open(temporary, "wb") as out:
                # Without a time and a name in it, the same content gives the same file.
                zipped = gzip.GzipFile("", "wb", 6, out, mtime=0) if format.gzipped else None
                target = cast(IO[bytes], zipped) if zipped is not None else out
                for block in _bounded(spliced(stream, edits), format):
                    target.write(block)
                if zipped is not None:
                    zipped.close()
    except (Damaged, NoPlace):
        return


@contextmanager
def _payload(path: Path, format: Format) -> Iterator[IO[bytes]]:
    """What a file holds, unzipped; every fault of the zip is `Damaged`."""
    if not format.gzipped:
        with open(path, "rb") as stream:
            yield stream
        return
    try:
        with gzip.open(path, "rb") as unzipped:
            yield cast(IO[bytes], unzipped)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise Damaged from None


def _bounded(blocks: Iterator[bytes], format: Format) -> Iterator[bytes]:
    left = _MAX_GUNZIPPED
    for block in blocks:
        left -= len(block)
        if format.gzipped and left < 0:
            raise NoPlace
        yield block
