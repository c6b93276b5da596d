"""Volumes that people upload: NIfTI and DICOM, measured by their headers before a voxel is read.

nibabel and pydicom are imported where they are needed, never before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from domains.common.errors import BadInput, MissingLibrary
from domains.common.files import bounded_size, human_size, sniff
from domains.common.intake.archives import ArchiveLimits, opened_gzip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NIFTI1, _NIFTI2 = 348, 540  # bytes of the headers
_EXTENSIONS = 1 << 20  # bytes that may stand between header and voxels
# Voxels as they lie, or in pydicom's own run lengths.  Deflated files unpack without bound before they can be
# measured, and the JPEG family asks for decoders of many programs; both are refused.
_SYNTAXES = {
    "1.2.840.10008.1.2": "implicit little endian",
    "1.2.840.10008.1.2.1": "explicit little endian",
    "1.2.840.10008.1.2.2": "explicit big endian",
    "1.2.840.10008.1.2.5": "RLE",
}
_RLE = "1.2.840.10008.1.2.5"


@dataclass(frozen=True)
class VolumeLimits:
    """Largest volume that is read.

    Attributes:
        bytes: Size of the file.
        voxels: Of all frames and times together.
        side: Voxels along one axis.
        decoded_bytes: As it lies in memory.
        ratio: Unpacked over packed, for a gzip file.
    """

    bytes: int = 512 * 2**20
    voxels: int = 200_000_000
    side: int = 4096
    decoded_bytes: int = 1 << 30
    ratio: float = (
        1100.0  # what deflate itself reaches at most is 1032: an empty mask is no bomb, its size decides
    )


@dataclass(frozen=True)
class VolumeFacts:
    """What a volume's header says.

    Attributes:
        kind: `nifti` or `dicom`.
        shape: Voxels along each axis: x, y, z, then times; of DICOM frames, rows, columns, samples.
        dtype: numpy's name for a voxel's number format.
        decoded_bytes: Of all voxels.
        spacing: Millimetres (seconds for time) along each axis; NaN where the file does not say.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    decoded_bytes: int
    spacing: tuple[float, ...]


def nifti_facts(path: Path, field: str = "volume", limits: VolumeLimits | None = None) -> VolumeFacts:
    """Reads the header of a NIfTI file (`.nii`, or gzip of it); no voxel.

    Raises:
        BadInput: If it is none, is damaged, states sizes beyond the limits, or holds fewer bytes than it states.
        MissingLibrary: If nibabel is not installed.
    """
    limits = limits or VolumeLimits()
    size = bounded_size(path, limits.bytes, field)
    packed = sniff(path) == "gzip"
    with _plain(path, field, limits, packed) as stream:
        header = _nifti_header(stream.read(_NIFTI2), field)
    shape = tuple(int(length) for length in header.get_data_shape())
    offset = float(header["vox_offset"])
    dtype = header.get_data_dtype()
    if not math.isfinite(offset) or not 0 <= offset <= _EXTENSIONS:
        raise BadInput(field, "says that its voxels begin at an impossible place; save it again")
    facts = VolumeFacts(
        "nifti", shape, dtype.name, _measured(shape, dtype.itemsize, field, limits), _zooms(header)
    )
    if not packed and size < offset + facts.decoded_bytes:
        raise BadInput(field, "is cut off: it holds fewer voxels than its header states; copy it again")
    if packed and facts.decoded_bytes > limits.ratio * size:
        raise BadInput(field, "states more voxels than its gzip could hold; save it again")
    return facts


def read_nifti(
    path: Path, field: str = "volume", limits: VolumeLimits | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float64], VolumeFacts]:
    """The voxels, scaled as the header says, the 4 × 4 affine to millimetres, and the facts.

    Raises:
        BadInput: As `nifti_facts`, or if voxels or affine are damaged or not finite.
    """
    limits = limits or VolumeLimits()
    facts = nifti_facts(path, field, limits)
    import numpy as np
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Image

    packed = sniff(path) == "gzip"
    with _plain(path, field, limits, packed) as stream:
        data = stream.read(facts.decoded_bytes + _EXTENSIONS + _NIFTI2)
    kind = (
        Nifti1Image
        if int.from_bytes(data[:4], "little") == _NIFTI1 or data[:4] == b"\0\0\x01\x5c"
        else Nifti2Image
    )
    try:
        image = kind.from_bytes(data)
        voxels = np.asarray(image.dataobj, dtype=np.float32)
        affine = np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # nibabel raises errors of many kinds on damaged files
        raise BadInput(field, "the NIfTI file is damaged; save it again") from error
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise BadInput(field, "has an affine that maps its voxels nowhere; set its orientation again")
    if not np.isfinite(voxels).all():
        raise BadInput(field, "holds NaN or infinite voxels; replace them")
    return voxels, affine, facts


def dicom_facts(path: Path, field: str = "volume", limits: VolumeLimits | None = None) -> VolumeFacts:
    """Reads a DICOM file up to its pixels.

    Raises:
        BadInput: If it is none, is damaged, is packed in a way that is not read, or states sizes beyond the limits or
            beyond what its pixels hold.
        MissingLibrary: If pydicom is not installed.
    """
    import numpy as np

    limits = limits or VolumeLimits()
    size = bounded_size(path, limits.bytes, field)
    syntax, data = _dicom_header(path, field)
    rows, columns = _count(data, "Rows", field), _count(data, "Columns", field)
    frames, samples = _count(data, "NumberOfFrames", field, 1), _count(data, "SamplesPerPixel", field, 1)
    bits = _count(data, "BitsAllocated", field)
    if bits not in (8, 16, 32) or samples not in (1, 3):
        raise BadInput(field, f"has {samples} samples of {bits} bits a pixel, which is not read")
    shape = (frames, rows, columns, samples) if samples > 1 else (frames, rows, columns)
    decoded = _measured(shape, bits // 8, field, limits)
    # A run of PackBits is at most 128 bytes in two.
    held = size * 64 if syntax == _RLE else size
    if decoded > held:
        raise BadInput(field, "is cut off: it holds fewer pixels than its header states; copy it again")
    signed = int(data.get("PixelRepresentation", 0) or 0) == 1
    dtype = np.dtype(f"{'i' if signed else 'u'}{bits // 8}").name
    return VolumeFacts("dicom", shape, dtype, decoded, _spacing(data))


def _dicom_header(path: Path, field: str) -> tuple[str, Any]:
    """The transfer syntax and the data set without its pixels."""
    try:
        import pydicom
    except ImportError:
        raise MissingLibrary("pydicom", "medical") from None
    with open(path, "rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            raise BadInput(field, "is no DICOM file")
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        syntax = str(meta.get("TransferSyntaxUID", ""))
        if syntax not in _SYNTAXES:
            raise BadInput(field, "is packed by JPEG or deflate, or by nothing known; save it uncompressed")
        data = pydicom.dcmread(path, stop_before_pixels=True, defer_size=4096)
    except BadInput:
        raise
    except Exception as error:  # pydicom raises errors of many kinds on damaged files
        raise BadInput(field, "the DICOM file is damaged; save it again") from error
    return syntax, data


def _count(data: Any, name: str, field: str, default: int | None = None) -> int:
    value = data.get(name, default)
    try:
        count = int(default if value in (None, "") and default is not None else value)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(field, f"does not say its {name}") from None
    if not 0 < count < 1 << 31:
        raise BadInput(field, f"says {name} {count}, which cannot be")
    return count


def _spacing(data: Any) -> tuple[float, ...]:
    """Between slices, rows and columns, millimetres."""
    between = data.get("SpacingBetweenSlices") or data.get("SliceThickness")
    values = [between, *(data.get("PixelSpacing") or (None, None))][:3]
    found = []
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        found.append(number if number > 0 and math.isfinite(number) else math.nan)
    return tuple(found)


def _nifti_header(block: bytes, field: str) -> Any:
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError:
        raise MissingLibrary("nibabel", "medical") from None
    lengths = {int.from_bytes(block[:4], "little"), int.from_bytes(block[:4], "big")}
    if _NIFTI1 in lengths:
        kind, length = Nifti1Header, _NIFTI1
    elif _NIFTI2 in lengths:
        kind, length = Nifti2Header, _NIFTI2
    else:
        raise BadInput(field, "is no NIfTI file")
    try:
        header = kind(block[:length], check=True)
        if bytes(header["magic"].tobytes())[:3] not in (b"n+1", b"n+2"):
            raise BadInput(field, "keeps its voxels in another file, or is no NIfTI; save it as one .nii")
        header.get_data_shape()
        if header.get_data_dtype().kind not in "iuf":
            raise BadInput(field, "holds voxels that are no plain numbers; save one number a voxel")
    except BadInput:
        raise
    except Exception as error:  # nibabel raises errors of many kinds on damaged headers
        raise BadInput(field, "the NIfTI header is damaged; save it again") from error
    return header


def _zooms(header: Any) -> tuple[float, ...]:
    return tuple(float(zoom) if math.isfinite(zoom) and zoom > 0 else math.nan for zoom in header.get_zooms())


def _measured(shape: tuple[int, ...], itemsize: int, field: str, limits: VolumeLimits) -> int:
    """Bytes of all voxels, once their number has been found within the limits."""
    if not shape or min(shape) < 1 or max(shape) > limits.side:
        raise BadInput(
            field,
            f"states sizes of {' × '.join(map(str, shape)) or 'nothing'}; at most {limits.side} are read",
        )
    voxels = math.prod(shape)
    if voxels > limits.voxels:
        raise BadInput(
            field, f"states {voxels:,} voxels and at most {limits.voxels:,} are read; crop or resample it"
        )
    if voxels * itemsize > limits.decoded_bytes:
        most = human_size(limits.decoded_bytes)
        raise BadInput(field, f"takes {human_size(voxels * itemsize)} in memory and at most {most} are read")
    return voxels * itemsize


@contextmanager
def _plain(path: Path, field: str, limits: VolumeLimits, packed: bool) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is gzip."""
    if not packed:
        with open(path, "rb") as stream:
            yield stream
        return
    most = limits.decoded_bytes + _EXTENSIONS + _NIFTI2
    archive = ArchiveLimits(bytes=limits.bytes, member_bytes=most, ratio=limits.ratio)
    with opened_gzip(path, field, archive) as unpacked:
        yield unpacked
