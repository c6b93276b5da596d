"""Emoji with their names, and colours that are changed together with the words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.files import file_sha256
from core.noise import Noise
from domains.common.errors import BadInput
from domains.image.files import from_bytes
from domains.image.given import known_pixels, random_masks
from domains.image.stream import Batch

Floats = NDArray[np.floating]
SIDE = 64
FILE = "noto_emoji64.npz"
# Hue of each colour word in turns; grey has none.
HUES = {"red": 0.0, "orange": 0.075, "yellow": 0.14, "green": 0.33, "blue": 0.6, "purple": 0.77, "pink": 0.91}
GREY = "grey"
_COLOURED = re.compile(r"\b(red|orange|yellow|green|blue|purple|pink|gr[ea]y|black|white|brown)\b")
_MOST_PIXELS = 1 << 26
_COLOUR = 0.12  # mean chroma from which on a picture has a colour to change


@dataclass(frozen=True)
class EmojiSet:
    """Pictures and their names.

    Attributes:
        pixels: uint8 `[n, 64, 64, 4]`; where nothing shows, colour is 0.
        names: One a picture.
        sha256: Of the file.
    """

    pixels: NDArray[np.uint8]
    names: list[str]
    sha256: str

    def part(self, split: str) -> EmojiSet:
        """`train` or `val`: every twentieth picture is kept aside."""
        aside = np.arange(len(self.names)) % 20 == 7
        chosen = np.nonzero(aside if split == "val" else ~aside)[0]
        return EmojiSet(self.pixels[chosen], [self.names[k] for k in chosen], self.sha256)


def read_emoji(folder: Path) -> EmojiSet:
    """The set in a folder of packed data.

    Raises:
        BadInput: If it is not there, or not what it should be.
    """
    path = next((p for p in (folder / FILE, folder / "images" / FILE) if p.is_file()), None)
    if path is None:
        raise BadInput("data", f"{FILE} is not there; name the folder that holds it")
    try:
        with np.load(path, allow_pickle=False) as packed:
            pixels, names = packed["rgba"], [str(name) for name in packed["captions"]]
    except (OSError, ValueError, KeyError) as error:
        raise BadInput("data", f"{FILE} cannot be read: {error}") from None
    if pixels.shape != (len(names), SIDE, SIDE, 4) or pixels.dtype != np.uint8 or pixels.size > _MOST_PIXELS:
        raise BadInput("data", f"{FILE} holds no pictures of {SIDE} x {SIDE} with opacity, one for each name")
    return EmojiSet(pixels * (pixels[..., 3:] > 0), names, file_sha256(path))


def tinted(pixels: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """One picture uint8 `[height, width, 4]` whose strongest hue is turned to that of a colour word.

    All hues turn by the same angle, so that parts keep their differences; grey takes the colour away.
    """
    rgb = pixels[..., :3].astype(np.float32) / 255
    high, low = rgb.max(-1), rgb.min(-1)
    turned: Floats
    if colour == GREY:
        grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
        turned = np.repeat(grey[..., None], 3, -1)
    else:
        chroma = high - low
        hue = _hue(rgb, high, chroma)
        weight = chroma * (pixels[..., 3] > 127)
        # The mean direction on the circle of hues, weighed by how much colour there is.
        angle = 2 * np.pi * hue
        mean = np.arctan2((weight * np.sin(angle)).sum(), (weight * np.cos(angle)).sum()) / (2 * np.pi)
        turned = _from_hue((hue - mean + HUES[colour]) % 1.0, chroma, low)
    out = pixels.copy()
    out[..., :3] = np.round(255 * turned.clip(0, 1)) * (pixels[..., 3:] > 0)
    return out


def colourful(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture uint8 `[height, width, 4]` has enough colour for another hue to show."""
    chroma = (pixels[..., :3].max(-1).astype(np.float32) - pixels[..., :3].min(-1)) / 255
    seen = pixels[..., 3] > 127
    return bool(seen.any()) and float(chroma[seen].mean()) > _COLOUR


def _hue(rgb: Floats, high: Floats, chroma: Floats) -> Floats:
    r, g, b = np.moveaxis(rgb, -1, 0)
    safe = np.where(chroma > 0, chroma, 1)
    sixth = np.where(
        high == r, ((g - b) / safe) % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    hue: Floats = sixth / 6
    return hue


def _from_hue(hue: Floats, chroma: Floats, low: Floats) -> Floats:
    channels = []
    for offset in (0.0, 4.0, 2.0):
        place = (6 * hue + offset) % 6
        channels.append(low + chroma * np.clip(np.abs(place - 3) - 1, 0, 1))
    return np.stack(channels, -1)


@dataclass(frozen=True)
class EmojiStream:
    """Endless batches of named emoji, some of them in another colour with the word for it, some moved a little.

    Attributes:
        emoji: What is drawn from.
        seed: Of the draws.
        batch: Pictures a batch.
        coloured: Share that is given another colour; not those whose name already says one.
        moved: Pixels by which a picture is moved at most, either way.
        masked: Share of pictures of which a part is given.
    """

    emoji: EmojiSet
    seed: int
    batch: int
    coloured: float = 0.4
    moved: int = 2
    masked: float = 0.2

    def batch_at(self, address: int) -> Batch:
        """The batch at an address, a whole number from 0."""
        rng = Noise((self.seed,), ("emoji", address)).shared()
        chosen = rng.integers(len(self.emoji.names), size=self.batch)
        pixels, names = [], []
        words = [*HUES, GREY]
        for k in chosen:
            picture, name = self.emoji.pixels[k], self.emoji.names[k]
            word = words[int(rng.integers(len(words)))]
            wanted = rng.random() < self.coloured and not _COLOURED.search(name)
            if wanted and (word == GREY or colourful(picture)):
                picture, name = tinted(picture, word), f"{word} {name}"
            pixels.append(picture)
            names.append(name)
        images = _moved(from_bytes(np.stack(pixels)), self.moved, rng)
        hidden = np.ones((self.batch, SIDE, SIDE), bool)
        shown = rng.random(self.batch) < self.masked
        hidden[shown] = random_masks(int(shown.sum()), SIDE, rng)
        return Batch(images, names, known_pixels(images, torch.from_numpy(hidden)))


def _moved(images: Tensor, most: int, rng: np.random.Generator) -> Tensor:
    side = images.shape[-1]
    padded = functional.pad(images, (most, most, most, most), value=-1.0)
    out = images.clone()
    for k, (down, right) in enumerate(rng.integers(2 * most + 1, size=(len(images), 2)).tolist()):
        out[k] = padded[k, :, down : down + side, right : right + side]
    return out
