"""Scenes: a procedural captioned world of one to three objects, whose pictures come with all that is true of them.

The names below are the interface; each is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domains.image.scenes.arrange import scene_for
    from domains.image.scenes.captions import Caption, Said, phrase, write_captions
    from domains.image.scenes.edits import draw_edits, edit_pictures
    from domains.image.scenes.prompts import read_prompt
    from domains.image.scenes.sampler import draw_scenes
    from domains.image.scenes.scene import Item, Scene, Scenes, stack
    from domains.image.scenes.scorer import Scorer, load_scorer
    from domains.image.scenes.truth import render_truth
    from domains.image.scenes.unseen import unseen_prompts

_WHERE = {
    "Caption": "captions",
    "Item": "scene",
    "Said": "captions",
    "Scene": "scene",
    "Scenes": "scene",
    "Scorer": "scorer",
    "draw_edits": "edits",
    "draw_scenes": "sampler",
    "edit_pictures": "edits",
    "load_scorer": "scorer",
    "phrase": "captions",
    "read_prompt": "prompts",
    "render_truth": "truth",
    "scene_for": "arrange",
    "stack": "scene",
    "unseen_prompts": "unseen",
    "write_captions": "captions",
}
__all__ = [
    "Caption",
    "Item",
    "Said",
    "Scene",
    "Scenes",
    "Scorer",
    "draw_edits",
    "draw_scenes",
    "edit_pictures",
    "load_scorer",
    "phrase",
    "read_prompt",
    "render_truth",
    "scene_for",
    "stack",
    "unseen_prompts",
    "write_captions",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"domains.image.scenes.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
