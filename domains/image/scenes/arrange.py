"""A scene that shows what a prompt asserts, found by drawing scenes until one does."""

from __future__ import annotations

import numpy as np

from domains.common.errors import BadInput
from domains.image.scenes.assertions import (
    CLEAR,
    Asserted,
    Found,
    place_holds,
    relation_holds,
    true_findings,
)
from domains.image.scenes.prompts import read_prompt
from domains.image.scenes.render import render
from domains.image.scenes.sampler import draw_scenes
from domains.image.scenes.scene import Scene, Scenes
from domains.image.scenes.vocabulary import ATTRIBUTES, BACKGROUNDS, RADII, SIDE, STYLES, TONED, TONES

_BATCH, _BATCHES = 512, 12
_ROOM = 0.74  # least distance of two centres over the sum of their radii


def scene_for(prompt: str | Asserted, seed: int = 0) -> Scene:
    """A scene of which everything that a prompt asserts is true; what it leaves unsaid is drawn at random.

    Args:
        prompt: In English or Chinese, or what it asserts.
        seed: Other seeds give other scenes.

    Raises:
        BadInput: If the prompt cannot be read, or no drawn scene fits it, as where it contradicts itself.
    """
    asserted = read_prompt(prompt) if isinstance(prompt, str) else prompt
    if asserted.background is not None and asserted.tone is not None:
        toned = BACKGROUNDS.index(asserted.background) < TONED
        if not toned:
            raise BadInput("prompt", f"a {asserted.background} has no tone; leave it out")
    for batch in range(_BATCHES):
        drawn = draw_scenes(seed, range(batch * _BATCH, (batch + 1) * _BATCH), "test", "all")
        scenes = _imposed(drawn.take(drawn.count == len(asserted.mentions)), asserted)
        scenes = scenes.take(_roomy(scenes))
        for first in range(0, len(scenes), 64):
            part = scenes.take(slice(first, first + 64))
            for i, found in enumerate(true_findings(part, render(part))):
                if _true_of(found, asserted):
                    return part.scene(i)
    raise BadInput(
        "prompt", "no scene was found that shows all of it; say less, or nothing that excludes itself"
    )


def _imposed(scenes: Scenes, asserted: Asserted) -> Scenes:
    """The scenes with what is asserted put into them; places and relations are left to chance."""
    columns = {name: getattr(scenes, name).copy() for name in (*ATTRIBUTES, "radius", "x", "y")}
    for k, mention in enumerate(asserted.mentions):
        for name, value in mention.said().items():
            columns[name][:, k] = ATTRIBUTES[name].index(value)
    low, high = RADII[columns["size"]].transpose(2, 0, 1)
    columns["radius"] = np.where(scenes.present, np.clip(columns["radius"], low, high), 0).astype(np.float32)
    edge = columns["radius"] + 1.5
    for name in ("x", "y"):
        columns[name] = np.where(scenes.present, np.clip(columns[name], edge, SIDE - edge), 0).astype(
            np.float32
        )
    ground = {name: getattr(scenes, name).copy() for name in ("background", "tone", "style")}
    if asserted.background is not None:
        ground["background"][:] = BACKGROUNDS.index(asserted.background)
    elif asserted.tone is not None:
        ground["background"] %= TONED
    if asserted.tone is not None:
        ground["tone"][:] = TONES.index(asserted.tone)
    ground["tone"] = np.where(ground["background"] < TONED, ground["tone"], 0)
    if asserted.style is not None:
        ground["style"][:] = STYLES.index(asserted.style)
    return scenes.with_columns(**columns, **ground)


def _roomy(scenes: Scenes) -> np.ndarray:
    fine = np.ones(len(scenes), bool)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        far = np.hypot(scenes.x[:, a] - scenes.x[:, b], scenes.y[:, a] - scenes.y[:, b])
        fine &= (far >= _ROOM * (scenes.radius[:, a] + scenes.radius[:, b])) | (scenes.count <= b)
    return fine


def _true_of(found: Found, asserted: Asserted) -> bool:
    places = all(
        m.place is None or place_holds(item, m.place, 0.0)
        for m, item in zip(asserted.mentions, found.items, strict=True)
    )
    return places and all(relation_holds(found, a, r, b, CLEAR) for a, r, b in asserted.relations)
