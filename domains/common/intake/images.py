"""Images that people upload: kind by content, pixels and decoded bytes by header, then decoded once, turned upright."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from domains.common.errors import BadInput, MissingLibrary
from domains.common.files import bounded_size, human_size, sniff

if TYPE_CHECKING:
    from PIL import Image

KINDS = {"png": "PNG", "jpeg": "JPEG", "gif": "GIF", "webp": "WEBP"}
_BYTES_A_PIXEL = {
    "1": 1,
    "L": 1,
    "P": 1,
    "LA": 2,
    "I;16": 2,
    "I;16B": 2,
    "RGB": 3,
    "YCbCr": 3,
    "LAB": 3,
    "HSV": 3,
}


@dataclass(frozen=True)
class ImageLimits:
    """Largest image that is read.

    Attributes:
        bytes: Size of the file.
        pixels: Width times height.
        side: Width or height.
        frames: Frames of an animation.
        decoded_bytes: All frames as they lie in memory.
    """

    bytes: int = 64 * 2**20
    pixels: int = 40_000_000
    side: int = 16_384
    frames: int = 512
    decoded_bytes: int = 512 * 2**20


@dataclass(frozen=True)
class ImageFacts:
    """What an image's header says.

    Attributes:
        kind: `png`, `jpeg`, `gif` or `webp`.
        width, height: Pixels, as stored.
        frames: Number of frames.
        mode: Pillow's name for its pixels.
        decoded_bytes: Bytes of all frames in memory.
    """

    kind: str
    width: int
    height: int
    frames: int
    mode: str
    decoded_bytes: int


def image_facts(path: Path, field: str = "image", limits: ImageLimits | None = None) -> ImageFacts:
    """Reads the header of an image; decodes nothing.

    Raises:
        BadInput: If it is no image of a known kind, is damaged, or is larger than the limits.
        MissingLibrary: If Pillow is not installed.
    """
    with _opened(path, field, limits or ImageLimits()) as (_, facts):
        return facts


def read_image(path: Path, field: str = "image", limits: ImageLimits | None = None) -> Image.Image:
    """The first frame, upright as its EXIF says, in mode RGB, or RGBA where it has transparency.

    Raises:
        BadInput: As `image_facts`, or if its pixels cannot be decoded.
    """
    return read_frames(path, field, limits, most=1)[0]


def read_frames(
    path: Path, field: str = "image", limits: ImageLimits | None = None, most: int | None = None
) -> list[Image.Image]:
    """The frames of an image (all, or the first `most`), each as `read_image` gives it.

    Raises:
        BadInput: As `read_image`.
    """
    from PIL import ImageOps, ImageSequence

    frames: list[Image.Image] = []
    with _opened(path, field, limits or ImageLimits()) as (image, _):
        for frame in ImageSequence.Iterator(image):
            upright = ImageOps.exif_transpose(frame)
            clear = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
            frames.append(upright.convert("RGBA" if clear else "RGB"))
            if most is not None and len(frames) == most:
                break
    return frames


@contextmanager
def _opened(path: Path, field: str, limits: ImageLimits) -> Iterator[tuple[Image.Image, ImageFacts]]:
    try:
        from PIL import Image
    except ImportError:
        raise MissingLibrary("pillow", "app") from None
    bounded_size(path, limits.bytes, field)
    kind = sniff(path)
    if kind not in KINDS:
        raise BadInput(field, f"holds {kind} and must be an image: {', '.join(KINDS)}")
    # What stands before decoding is ours; Pillow's own bound is the backstop, for what headers may hide.
    Image.MAX_IMAGE_PIXELS = limits.pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=(KINDS[kind],)) as image:
                facts = _facts(image, kind)
                _check(facts, field, limits)
                yield image, facts
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadInput(field, f"has more than {limits.pixels:,} pixels; make it smaller") from None
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        MemoryError,
        KeyError,
        IndexError,
        OverflowError,
    ) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(field, f"the {kind} image is damaged; save it again") from None


def _facts(image: Image.Image, kind: str) -> ImageFacts:
    frames = int(getattr(image, "n_frames", 1))
    width, height = image.size
    # Frames of an animation are put together in full colour.
    wide = 4 if frames > 1 else _BYTES_A_PIXEL.get(image.mode, 4)
    return ImageFacts(kind, width, height, frames, image.mode, width * height * wide * frames)


def _check(facts: ImageFacts, field: str, limits: ImageLimits) -> None:
    size = f"is {facts.width} × {facts.height}"
    if max(facts.width, facts.height) > limits.side:
        raise BadInput(field, f"{size} and at most {limits.side} a side are read; make it smaller")
    if facts.width * facts.height > limits.pixels:
        raise BadInput(field, f"{size} and at most {limits.pixels:,} pixels are read; make it smaller")
    if facts.frames > limits.frames:
        raise BadInput(field, f"has {facts.frames} frames and at most {limits.frames} are read; shorten it")
    if facts.decoded_bytes > limits.decoded_bytes:
        most = human_size(limits.decoded_bytes)
        raise BadInput(
            field, f"takes {human_size(facts.decoded_bytes)} in memory and at most {most} are read"
        )
