"""The scorer: pictures read into objects and attributes, and judged against what their captions assert."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.checkpoint import load_model
from domains.common.models import find_model
from domains.image.scenes.assertions import Asserted, Found, FoundItem, Score, judge
from domains.image.scenes.prompts import read_prompt
from domains.image.scenes.scorer_network import CELL, Reading, SceneReader
from domains.image.scenes.vocabulary import ATTRIBUTES, BACKGROUNDS, SIDE, STYLES, TONED, TONES

NAME = "scenes-scorer"
_BATCH = 128
_SURE = 0.4  # probability from which on a cell is taken to hold a centre
_APART = 4.5  # pixels; centres of two objects are never so near
_MOST = (
    6  # objects looked for: more than a scene holds, so that surplus ones in generated pictures are counted
)

Images = Tensor | NDArray[np.generic]


@dataclass(frozen=True)
class Scorer:
    """The network with what turns its answers into objects.

    Attributes:
        network: On the device where it is to run, in evaluation mode.
        card: Of the model; empty for one that was not loaded from a folder.
    """

    network: SceneReader
    card: dict[str, Any] = field(default_factory=dict)

    def read(self, images: Images) -> list[Found]:
        """What is in each picture.

        Args:
            images: `[n, 3, 64, 64]`: uint8, or floating in [-1, 1].

        Raises:
            ValueError: If the shape or the type is another.
        """
        found: list[Found] = []
        for batch, reading in self._readings(images):
            found += self._found(batch, reading)
        return found

    def score(self, images: Images, asserted: Sequence[Asserted | str]) -> list[Score]:
        """Whether each picture shows what is asserted of it, assertion by assertion.

        Args:
            images: As in `read`.
            asserted: One for each picture: assertions, or a prompt, which is read with `read_prompt`.

        Raises:
            BadInput: If a prompt cannot be read.
            ValueError: If there are not as many pictures as assertions.
        """
        if len(images) != len(asserted):
            raise ValueError(f"{len(images)} pictures and {len(asserted)} assertions; give one for each")
        known = [read_prompt(a) if isinstance(a, str) else a for a in asserted]
        return [judge(found, a) for found, a in zip(self.read(images), known, strict=True)]

    def features(self, images: Images) -> Tensor:
        """What the network knows before its answers, float32 `[n, features]`, for Fréchet distances.

        Raises:
            ValueError: As `read`.
        """
        rows = [reading.features.float().cpu() for _, reading in self._readings(images)]
        width = self.network.globals.in_features
        return torch.cat(rows) if rows else torch.empty(0, width)

    def _readings(self, images: Images) -> list[tuple[int, Reading]]:
        whole = torch.as_tensor(images)
        if whole.ndim != 4 or tuple(whole.shape[1:]) != (3, SIDE, SIDE):
            raise ValueError(f"pictures are [n, 3, {SIDE}, {SIDE}], not {list(whole.shape)}")
        if whole.dtype != torch.uint8 and not whole.is_floating_point():
            raise ValueError(f"pictures are uint8, or floating in [-1, 1], not {whole.dtype}")
        device = next(self.network.parameters()).device
        readings = []
        with torch.no_grad():
            for part in whole.split(_BATCH):
                x = part.to(device).float()
                x = x / 127.5 - 1 if part.dtype == torch.uint8 else x.clamp(-1, 1)
                readings.append((len(part), self.network(x)))
        return readings

    def _found(self, count: int, reading: Reading) -> list[Found]:
        likely = reading.centre.sigmoid()
        picture, row, column = (likely > _SURE).nonzero(as_tuple=True)
        middle = CELL * (torch.stack([column, row], 1) + 0.5) + reading.offset[picture, :, row, column]
        kept = torch.tensor(
            _distinct(picture.tolist(), middle.tolist(), likely[picture, row, column].tolist()),
            dtype=torch.long,
            device=picture.device,
        )
        picture, row, column, middle = picture[kept], row[kept], column[kept], middle[kept]
        answers = {
            name: logits[picture, :, row, column].argmax(1).tolist()
            for name, logits in reading.attributes.items()
        }
        ground = {name: logits.argmax(1).tolist() for name, logits in reading.globals.items()}
        points, owners = middle.tolist(), picture.tolist()
        members: list[list[int]] = [[] for _ in range(count)]
        for k, owner in enumerate(owners):
            members[owner].append(k)
        radius = reading.radius[picture, row, column].exp()
        front = self._front(reading, picture, middle, radius, members)
        found = []
        for i, mine in enumerate(members):
            items = tuple(
                FoundItem(
                    **{name: words[answers[name][k]] for name, words in ATTRIBUTES.items()},
                    x=points[k][0],
                    y=points[k][1],
                )
                for k in mine
            )
            kind = ground["background"][i]
            tone = TONES[ground["tone"][i]] if kind < TONED else None
            found.append(Found(items, front[i], BACKGROUNDS[kind], tone, STYLES[ground["style"][i]]))
        return found

    def _front(
        self, reading: Reading, picture: Tensor, middle: Tensor, radius: Tensor, members: list[list[int]]
    ) -> list[frozenset[tuple[int, int]]]:
        pairs = [
            (i, a, b)
            for i, mine in enumerate(members)
            for a in range(len(mine))
            for b in range(a + 1, len(mine))
        ]
        front: list[set[tuple[int, int]]] = [set() for _ in members]
        if pairs:
            one = torch.tensor([members[i][a] for i, a, _ in pairs], device=middle.device)
            other = torch.tensor([members[i][b] for i, _, b in pairs], device=middle.device)
            touching, nearer = self.network.pair(
                reading.cells, picture[one], (middle[one], middle[other]), (radius[one], radius[other])
            )
            for (i, a, b), touches, near in zip(pairs, touching.tolist(), nearer.tolist(), strict=True):
                if touches > 0:
                    front[i].add((a, b) if near > 0 else (b, a))
        return [frozenset(pairs) for pairs in front]


def _distinct(picture: list[int], middle: list[list[float]], likely: list[float]) -> list[int]:
    """The likeliest of the cells that point to one centre, for each centre; a picture's likeliest first."""
    kept: list[int] = []
    chosen: dict[int, list[list[float]]] = {}
    for k in sorted(range(len(picture)), key=lambda k: (picture[k], -likely[k])):
        others = chosen.setdefault(picture[k], [])
        if len(others) < _MOST and all(math.dist(middle[k], other) > _APART for other in others):
            others.append(middle[k])
            kept.append(k)
    return kept


def load_scorer(folder: Path | None = None, device: str = "cpu") -> Scorer:
    """The built-in scorer, or one in a folder that `launch.py train scenes-scorer` made.

    Raises:
        BadInput: If the built-in one is not there.
        core.checkpoint.BadModel: If the folder is damaged.
        ValueError: If it holds a model of another kind.
    """
    tensors, card = load_model(folder if folder is not None else find_model(NAME).folder)
    model = card.get("model", {})
    if model.get("network") != "scene-reader":
        raise ValueError(f"this model is no scorer of scenes but {str(model.get('network'))[:40]!r}")
    network = SceneReader(**model["config"])
    network.load_state_dict(tensors)
    return Scorer(network.to(device).eval().requires_grad_(False), card)


@lru_cache(maxsize=1)
def builtin_scorer() -> Scorer:
    """The built-in scorer on the CPU, loaded once."""
    return load_scorer()
