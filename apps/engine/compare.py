"""How far two artifacts are apart: what replay says where bytes differ, and goes by on another kind of device.

The same request on the same kind of device gives the same bytes.  A GPU sums in another order than a CPU, so there the
last digits differ: of bfloat16, in which networks may run, the third; and a walk of many steps may make them larger.
What is not a number (letters, atoms, connections, the shape of a table) has to be equal everywhere.
"""

from __future__ import annotations

import logging
import math
import re
import struct
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from domains.common.recipes.registry import format_of
from domains.common.recipes.splice import spliced

_log = logging.getLogger(__name__)

# Published in docs/recipes.md.
NUMBERS_TOLERANCE = 0.02  # of the largest magnitude of the same column or array
SIGNALS_TOLERANCE = 5 / 255  # root mean square, of full scale: pixels and sound
_MAX_BYTES = 256 * 2**20  # larger files are compared by their bytes alone
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|NaN|-?inf(?:inity)?")
_VOLUMES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


@dataclass(frozen=True)
class Difference:
    """How far apart two artifacts are.

    Attributes:
        size: Largest difference of numbers over the largest magnitude of their column or array; of pictures and sound
            the root mean square of the difference, of full scale.
        tolerance: What is allowed from one kind of device to another.
    """

    size: float
    tolerance: float

    @property
    def allowed(self) -> bool:
        """Whether another kind of device may have made it."""
        return self.size <= self.tolerance


def difference(recorded: Path, made: Path) -> Difference | None:
    """How far apart two artifacts are whose bytes differ; None where more than numbers differ, or no reader is at hand.

    Recipes in them do not count.
    """
    try:
        if max(recorded.stat().st_size, made.stat().st_size) > _MAX_BYTES:
            return None
        formats = format_of(recorded), format_of(made)
        if formats[0] is not formats[1]:
            return None
        title = formats[0].title if formats[0] is not None else ""
        if title in _SIGNALS:
            return _signals(_SIGNALS[title](recorded), _SIGNALS[title](made))
        pairs = list(zip(_ARRAYS.get(title, _text)(recorded), _ARRAYS.get(title, _text)(made), strict=True))
        return _numbers(pairs)
    except Exception:  # each library has faults of its own, and of all of them the same follows
        _log.debug("cannot compare %s files", recorded.suffix, exc_info=True)
        return None


def _numbers(pairs: list[tuple[Any, Any]]) -> Difference | None:
    """The largest difference among pairs of arrays; anything that is no number has to be equal."""
    worst = 0.0
    for one, other in pairs:
        if {getattr(one, "dtype", np.dtype(object)).kind, getattr(other, "dtype", np.dtype(object)).kind} == {
            "S",
            "f",
        }:
            one, other = one.astype(np.float64), other.astype(np.float64)
        if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype.kind == "f":
            if one.shape != other.shape or one.dtype != other.dtype:
                return None
            gone = ~np.isfinite(one)
            if (
                not np.array_equal(one[gone], other[gone], equal_nan=True)
                or not np.isfinite(other[~gone]).all()
            ):
                return None
            scale = float(np.abs(one[~gone]).max(initial=0.0)) or 1.0
            apart = np.abs(one[~gone].astype(np.float64) - other[~gone].astype(np.float64))
            worst = max(worst, float(apart.max(initial=0.0)) / scale)
        elif not np.array_equal(np.asarray(one), np.asarray(other)):
            return None
    return Difference(worst, NUMBERS_TOLERANCE)


def _signals(one: np.ndarray, other: np.ndarray) -> Difference | None:
    if one.shape != other.shape:
        return None
    apart = one.astype(np.float64) - other.astype(np.float64)
    return Difference(math.sqrt(float(np.mean(np.square(apart)))) if apart.size else 0.0, SIGNALS_TOLERANCE)


def _text(path: Path) -> Iterator[Any]:
    """The words between numbers, and the numbers: each column of a table apart, else each place in a line."""
    text = _without_recipe(path)
    yield _NUMBER.sub(b"#", text)
    columns: dict[int, list[bytes]] = {}
    for line in text.splitlines():
        for index, number in enumerate(_NUMBER.findall(line)):
            columns.setdefault(min(index, 1024), []).append(number)
    for index in sorted(columns):  # whole numbers name things; they stay as spelled, and have to be equal
        whole = all(number.lstrip(b"+-").isdigit() for number in columns[index])
        yield np.array(columns[index], "S" if whole else np.float64)


def _without_recipe(path: Path) -> bytes:
    format = format_of(path)
    if format is None or format.gzipped:
        return path.read_bytes()
    with open(path, "rb") as stream:
        return b"".join(spliced(stream, format.edits(stream, None)))


def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, use_threads=False)
    yield str(table.schema.remove_metadata())
    for column in table.columns:
        values = column.to_numpy()
        yield values if values.dtype.kind == "f" else np.array(column.to_pylist(), dtype=object)


def _npz(path: Path) -> Iterator[Any]:
    with np.load(path, allow_pickle=False) as arrays:
        yield arrays.files
        for name in arrays.files:
            yield arrays[name]


def _volume(path: Path) -> Iterator[Any]:
    """The header but for what the recipe moves, and the data."""
    import gzip

    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        with gzip.open(path) as stream:
            data = stream.read(4 * _MAX_BYTES)
            if stream.read(1):
                raise ValueError("too large")
    order = "<" if data[:4] in (struct.pack("<i", 348), struct.pack("<i", 540)) else ">"
    first = data[344:348] == b"n+1\x00"
    place = (
        int(struct.unpack_from(order + "f", data, 108)[0])
        if first
        else struct.unpack_from(order + "q", data, 168)[0]
    )
    (code,) = struct.unpack_from(order + "h", data, 70 if first else 12)
    yield data[:108] + data[112:348] if first else data[:168] + data[176:540]
    body = data[place:]
    kind = np.dtype(order + _VOLUMES[code])
    yield np.frombuffer(body, kind, count=len(body) // kind.itemsize)


def _picture(path: Path) -> np.ndarray:
    """Every frame, RGBA in [0, 1]."""
    from PIL import Image

    with Image.open(path) as picture:
        frames = []
        for index in range(getattr(picture, "n_frames", 1)):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGBA"), np.float32) / 255)
    return np.stack(frames)


def _sound(path: Path) -> np.ndarray:
    """Samples in [-1, 1]."""
    with wave.open(str(path), "rb") as source:
        width, data = source.getsampwidth(), source.readframes(source.getnframes())
    if width == 1:
        return np.frombuffer(data, np.uint8).astype(np.float32) / 128 - 1
    if width == 3:
        raise ValueError("24 bits")
    return np.frombuffer(data, f"<i{width}").astype(np.float64) / 2 ** (8 * width - 1)


_ARRAYS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "Parquet": _parquet,
    "npz": _npz,
    "NIfTI": _volume,
    "NIfTI, gzipped": _volume,
}
_SIGNALS: dict[str, Callable[[Path], np.ndarray]] = {
    "PNG": _picture,
    "JPEG": _picture,
    "WebP": _picture,
    "GIF": _picture,
    "WAV": _sound,
}
