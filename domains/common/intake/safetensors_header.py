"""safetensors from strangers: the header alone decides whether a file is what it says; nothing is unpickled, ever.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domains.common.errors import BadInput
from domains.common.files import bounded_size, human_size, sniff
from domains.common.intake.json_text import parse_json
from domains.common.intake.text import plain_text

BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
}
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(1, 6))
_OLD_PICKLE = (b"(", b"c", b"]", b"}", b"I", b"S")  # protocol 0 is text


@dataclass(frozen=True)
class WeightLimits:
    """Largest file of weights that is read.

    Attributes:
        bytes: Size of the file.
        header_bytes: Its header.
        tensors: Tensors that the header names.
        rank: Dimensions of a tensor.
        name_length: Characters of a tensor's name.
        metadata: Entries of free text.
    """

    bytes: int = 8 * 2**30
    header_bytes: int = 8 * 2**20
    tensors: int = 16_384
    rank: int = 8
    name_length: int = 512
    metadata: int = 1024


@dataclass(frozen=True)
class TensorEntry:
    """What the header says of a tensor.

    Attributes:
        dtype: Name of its number format.
        shape: Its sizes.
        begin, end: Where its bytes lie, counted from the end of the header.
    """

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def safetensors_header(
    path: Path, field: str = "weights", limits: WeightLimits | None = None
) -> dict[str, TensorEntry]:
    """Name -> tensor, in the order of their bytes, once the whole header has been found true; reads no weights.

    Raises:
        BadInput: If the file is a pickle or anything else but safetensors, or its header lies, overlaps, leaves holes,
            or passes a limit.
    """
    limits = limits or WeightLimits()
    size = bounded_size(path, limits.bytes, field)
    with open(path, "rb") as stream:
        _refuse_pickles(path, stream.read(64), field)
        stream.seek(0)
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES + 2 or length > size - _LENGTH_BYTES:
            raise BadInput(field, "is no safetensors file, or one that is cut off; download it again")
        if length > limits.header_bytes:
            most = human_size(limits.header_bytes)
            raise BadInput(field, f"has a header of {human_size(length)} and at most {most} are read")
        data = stream.read(length)
    if data[:1] != b"{" or len(data) != length:
        raise BadInput(field, "is no safetensors file: its header is no JSON object")
    if data.count(b'"data_offsets"') > limits.tensors:
        raise BadInput(field, f"names more than {limits.tensors} tensors")
    header = parse_json(data.rstrip(b" "), field, limit=limits.header_bytes, depth=4)
    _check_metadata(header.pop(_METADATA, {}), field, limits)
    entries = {name: _entry(name, entry, field, limits) for name, entry in header.items()}
    return _contiguous(entries, size - _LENGTH_BYTES - length, field)


def _refuse_pickles(path: Path, head: bytes, field: str) -> None:
    """Says so where a file is a pickle, or a zip or tar as torch.save makes, whatever its name."""
    protocol0 = head[:1] in _OLD_PICKLE and b"{" not in head[_LENGTH_BYTES : _LENGTH_BYTES + 1]
    if sniff(path) == "zip" or head.startswith(_PICKLE) or protocol0:
        raise BadInput(
            field,
            "is a pickle, which may run code; convert it to safetensors where you trust it, and give that",
        )


def _check_metadata(metadata: Any, field: str, limits: WeightLimits) -> None:
    plain = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    if not plain or len(metadata) > limits.metadata:
        raise BadInput(field, f"has metadata other than at most {limits.metadata} texts")


def _entry(name: str, entry: Any, field: str, limits: WeightLimits) -> TensorEntry:
    shown = plain_text(name, 40)
    if not name or len(name) > limits.name_length or not name.isprintable():
        raise BadInput(field, f"names a tensor oddly: {shown!r}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadInput(
            field, f"describes tensor {shown!r} by other fields than dtype, shape and data_offsets"
        )
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise BadInput(field, f"tensor {shown!r} has no dtype that is known")
    if not _whole(shape) or len(shape) > limits.rank:
        raise BadInput(field, f"tensor {shown!r} has no shape of at most {limits.rank} sizes")
    if not _whole(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BadInput(field, f"tensor {shown!r} has no two offsets in order")
    count = 1
    for length in shape:
        count *= length
        if count > 1 << 60:
            raise BadInput(field, f"tensor {shown!r} is larger than any file")
    if count * BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        raise BadInput(field, f"tensor {shown!r} has a shape that does not fit its bytes")
    return TensorEntry(dtype, tuple(shape), offsets[0], offsets[1])


def _whole(numbers: Any) -> bool:
    """Whether these are whole numbers from 0 on; true and false are none."""
    return isinstance(numbers, list) and all(
        type(number) is int and 0 <= number < 1 << 62 for number in numbers
    )


def _contiguous(entries: dict[str, TensorEntry], size: int, field: str) -> dict[str, TensorEntry]:
    """The entries by place; each byte after the header belongs to one tensor."""
    ordered = sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end))
    at = 0
    for name, entry in ordered:
        if entry.begin != at:
            what = "overlaps another" if entry.begin < at else "leaves a hole before it"
            raise BadInput(field, f"tensor {plain_text(name, 40)!r} {what}; save the file again")
        at = entry.end
    if at != size:
        what = "is cut off" if at > size else "holds bytes that belong to no tensor"
        raise BadInput(field, f"the file {what}; download it again")
    return dict(ordered)


def is_safetensors(path: Path) -> bool:
    """Whether the first bytes look like safetensors: a length that fits the file, and the beginning of JSON."""
    with open(path, "rb") as stream:
        head = stream.read(_LENGTH_BYTES + 1)
    return head[_LENGTH_BYTES:] == b"{" and int.from_bytes(head[:_LENGTH_BYTES], "little") <= os.path.getsize(
        path
    )
