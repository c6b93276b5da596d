"""Pictures to files: bytes, PNG, sheets."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from domains.common.task import Artifact

_GAP, _LINE, _SCALE = 10, 12, 2
_WORDS = 21  # characters a line under a picture


def to_bytes(images: Tensor) -> NDArray[np.uint8]:
    """`[n, channels, height, width]` in [-1, 1] -> uint8 `[n, height, width, channels]`, rounded, out of range cut."""
    scaled = ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def from_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 `[n, height, width, channels]` -> float32 `[n, channels, height, width]` in [-1, 1]."""
    return torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def write_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Writes uint8 `[height, width, 3 or 4]`."""
    Image.fromarray(pixels).save(path, format="PNG")


def write_pictures(pixels: NDArray[np.uint8], folder: Path) -> list[Artifact]:
    """Writes uint8 `[n, height, width, 3 or 4]` as `image_001.png`, ..., and where there are several a sheet of all."""
    artifacts = []
    for k, picture in enumerate(pixels, 1):
        name = f"image_{k:03d}.png"
        write_png(picture, folder / name)
        artifacts.append(Artifact(name, "image", f"Picture {k}"))
    if len(pixels) > 1:
        contact_sheet(pixels, [], folder / "sheet.png")
        artifacts.append(Artifact("sheet.png", "figure", "All pictures"))
    return artifacts


def contact_sheet(pixels: NDArray[np.uint8], words: Sequence[str], path: Path, columns: int = 6) -> None:
    """Writes pictures in a grid, twice their size, each with its words beneath.

    Args:
        pixels: uint8 `[n, height, width, 3 or 4]`; transparency is laid on a light grey.
        words: One text a picture; characters that the built-in font lacks are drawn as boxes.
        path: PNG, written whole or not at all.
        columns: Pictures a row.
    """
    lines = [textwrap.wrap(text, _WORDS)[:4] for text in words]
    height, width = pixels.shape[1] * _SCALE, pixels.shape[2] * _SCALE
    cell = height + _LINE * max(1, max((len(row) for row in lines), default=1)) + 2 * _GAP
    rows = -(-len(pixels) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * cell + _GAP), "#f3f1ec")
    pen = ImageDraw.Draw(sheet)
    for k, picture in enumerate(pixels):
        left, top = _GAP + k % columns * (width + _GAP), _GAP + k // columns * cell
        drawn = Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(drawn, (left, top), drawn if drawn.mode == "RGBA" else None)
        for n, line in enumerate(lines[k] if k < len(lines) else []):
            pen.text((left, top + height + 3 + n * _LINE), line, fill="#3b3a36")
    temporary = path.with_name(f".{path.name}")
    sheet.save(temporary, format="PNG")
    temporary.replace(path)
