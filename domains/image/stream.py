"""Training batches of captioned scenes, rendered as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.noise import Noise
from domains.image.given import known_pixels, random_masks, source_picture
from domains.image.scenes.captions import EVERYTHING, USUAL, write_captions
from domains.image.scenes.edits import draw_edits, edit_pictures
from domains.image.scenes.instructions import instruction
from domains.image.scenes.render import render
from domains.image.scenes.sampler import draw_scenes


class Batch(NamedTuple):
    """Captioned pictures, and what is given of them.

    Attributes:
        images: `[batch, channels, side, side]` in [-1, 1].
        captions: One a picture: what it shows, or how it differs from the picture that is given.
        given: `[batch, channels + 1, side, side]`; see `domains.image.given`.
    """

    images: Tensor
    captions: list[str]
    given: Tensor


@dataclass(frozen=True)
class SceneStream:
    """Endless captioned scenes; batch `k` is the same whenever and wherever it is made.

    Attributes:
        seed: Of the scenes and of what is said of them.
        batch: Pictures a batch.
        chinese: Share of captions in Chinese.
        thorough: Share of captions that say everything.
        masked: Share of pictures of which a part is given.
        edited: Share of pictures that are given before an edit, with the instruction in place of a caption.
    """

    seed: int
    batch: int
    chinese: float = 0.4
    thorough: float = 0.25
    masked: float = 0.2
    edited: float = 0.2

    def batch_at(self, address: int) -> Batch:
        """The batch at an address, a whole number from 0."""
        edited = round(self.batch * self.edited)
        parts = [self._scenes(address, self.batch - edited)] if edited < self.batch else []
        parts += [self._edits(address, edited)] if edited else []
        return Batch(
            torch.cat([part.images for part in parts]),
            [caption for part in parts for caption in part.captions],
            torch.cat([part.given for part in parts]),
        )

    def _scenes(self, address: int, count: int) -> Batch:
        scenes = draw_scenes(self.seed, range(address * count, (address + 1) * count))
        rendered = render(scenes)
        rng = Noise((self.seed,), ("captions", address)).shared()
        said = EVERYTHING if rng.random() < self.thorough else USUAL
        number = int(rng.integers(2**31))
        english = write_captions(scenes, rendered, number, "en", said)
        chinese = write_captions(scenes, rendered, number, "zh", said)
        spoken = rng.random(count) < self.chinese
        captions = [(zh if z else en).text for z, en, zh in zip(spoken, english, chinese, strict=True)]
        images = _scaled(rendered.images)
        hidden = np.ones((count, *images.shape[2:]), bool)
        shown = rng.random(count) < self.masked
        hidden[shown] = random_masks(int(shown.sum()), images.shape[-1], rng)
        return Batch(images, captions, known_pixels(images, torch.from_numpy(hidden)))

    def _edits(self, address: int, count: int) -> Batch:
        # Scenes of their own, so that no address of the others is used twice.
        edits = draw_edits(self.seed + 1, range(address * count, (address + 1) * count))
        pictures = edit_pictures(edits)
        rng = Noise((self.seed,), ("instructions", address)).shared()
        captions = [
            instruction(edit.change, edit.before, rng, "zh" if rng.random() < self.chinese else "en")
            for edit in edits
        ]
        return Batch(
            _scaled(pictures.after.images), captions, source_picture(_scaled(pictures.before.images))
        )


def _scaled(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.astype(np.float32)) / 127.5 - 1
