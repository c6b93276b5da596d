"""Files that are small on disk and large, false or dangerous inside; each is written where a test asks for it."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import pathlib; pathlib.Path('/tmp/langevin-was-here').touch()",))


def png(width: int, height: int, rows: bytes | None = None, extra: bytes = b"") -> bytes:
    """A PNG that states a size; its pixels are zeros packed as small as they get."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packed = zlib.compress(b"\0" * min(height * (width + 1), 1 << 26), 9) if rows is None else rows
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def png_text_bomb() -> bytes:
    """A tiny PNG whose compressed text unpacks to 256 MB."""
    data = b"Comment\0\0" + zlib.compress(b"\0" * (256 << 20), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return png(2, 2, zlib.compress(b"\0" * 6), chunk)


def gif(frames: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    pictures = [Image.new("RGB", (8, 8), (i % 256, i // 256, 0)) for i in range(frames)]
    pictures[0].save(stream, "GIF", save_all=True, append_images=pictures[1:], duration=10, disposal=2)
    return stream.getvalue()


def zipped(entries: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change is not None:
                change(info)
            archive.writestr(info, data)
    return stream.getvalue()


def zip_link() -> bytes:
    def as_link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    return zipped({"link": b"/etc/passwd"}, as_link)


def zip_that_lies(size: int = 100) -> bytes:
    """Says in both headers that a file of 4 MB unpacks to `size` bytes."""
    data = bytearray(zipped({"a": bytes(4 << 20)}))
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    data[local + 22 : local + 26] = data[central + 24 : central + 28] = struct.pack("<I", size)
    return bytes(data)


def zip_of_many(count: int, claimed: int | None = None) -> bytes:
    """A list of `count` members, with another count at its end where `claimed` is given."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for index in range(count):
            archive.writestr(f"{index}", b"")
    data = bytearray(stream.getvalue())
    if claimed is not None:
        at = data.rindex(b"PK\x05\x06")
        data[at + 8 : at + 12] = struct.pack("<HH", claimed, claimed)
    return bytes(data)


def gzip_bomb(size: int = 256 << 20) -> bytes:
    return gzip.compress(bytes(size), 9)


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensors(count: int) -> bytes:
    header = {f"t{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(count)}
    return safetensors(header, bytes(count))


def pickled(protocol: int) -> bytes:
    return pickle.dumps({"state_dict": Payload()}, protocol)


def torch_zip() -> bytes:
    return zipped({"archive/data.pkl": pickled(2), "archive/version": b"3"})


def nifti(shape: tuple[int, ...] = (4, 5, 6), data: bytes | None = None, **fields: Any) -> bytes:
    """A NIfTI-1 of int16 zeros; `fields` overwrite those of its header."""
    import nibabel
    import numpy as np

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.eye(4), code=1)
    for name, value in fields.items():
        header[name] = value
    block: bytes = header.binaryblock
    voxels = bytes(2 * int(np.prod([max(1, n) for n in shape]))) if data is None else data
    return block + bytes(4) + voxels


def dicom(path: Path, syntax: str | None = None, pixels: int | None = None, **fields: Any) -> Path:
    """A DICOM slice of zeros; `fields` overwrite its elements."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.UID(syntax or pydicom.uid.ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    values: dict[str, Any] = {
        "Rows": 16,
        "Columns": 12,
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [0.5, 0.5],
        "SliceThickness": 2.0,
    }
    for name, value in {**values, **fields}.items():
        if value is not None:
            setattr(data, name, value)
    zeros = bytes(pixels if pixels is not None else 16 * 12 * 2)
    packed = meta.TransferSyntaxUID.is_encapsulated
    data.PixelData = pydicom.encaps.encapsulate([zeros]) if packed else zeros
    data["PixelData"].VR = "OB" if packed else "OW"
    data.save_as(path, enforce_file_format=False)
    return path
