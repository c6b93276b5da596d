"""How well the scorer reads pictures whose truth is known."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from domains.image.scenes.assertions import Found, clear_relations, relation_holds, true_findings
from domains.image.scenes.augment import augment
from domains.image.scenes.render import render
from domains.image.scenes.sampler import Kind, Split, draw_scenes
from domains.image.scenes.scorer import Scorer
from domains.image.scenes.scorer_network import SceneReader
from domains.image.scenes.vocabulary import ATTRIBUTES, HELD_OUT

_NEAR = 6.0  # pixels between a true centre and the one read


def evaluate_scorer(network: nn.Module, count: int = 4000, seed: int = 7) -> dict[str, object]:
    """Accuracies on pictures of the test split: clean, worn as in training, of held-out pairs; and by guessing.

    An object counts as read where a centre is found within 6 pixels; a missed object is wrong in every attribute.

    Returns:
        For each row, the share of right answers by attribute.
    """
    scorer = _scorer(network)
    truth, images = known_pictures(count, seed, "all", "test")
    worn = augment(images.float() / 127.5 - 1, np.random.default_rng(seed))
    aside_truth, aside = known_pictures(count // 4, seed, "held-out", "test")
    return {
        "what": f"{count} pictures of the test split; share of objects, relations or pictures that are read right",
        "clean": accuracies(truth, scorer.read(images)),
        "worn": accuracies(truth, scorer.read(worn)),
        "held_out_pairs": accuracies(aside_truth, scorer.read(aside)),
        "always_the_commonest": _guessing(truth),
    }


def reading_scores(network: nn.Module, count: int, split: Split, seed: int = 11) -> dict[str, float]:
    """Accuracies on clean pictures of a split; see `accuracies`."""
    truth, images = known_pictures(count, seed, "all", split)
    return accuracies(truth, _scorer(network).read(images))


def _scorer(network: nn.Module) -> Scorer:
    if not isinstance(network, SceneReader):
        raise TypeError("the scorer's network is a SceneReader")
    return Scorer(network)


def known_pictures(count: int, seed: int, kind: Kind, split: Split) -> tuple[list[Found], Tensor]:
    """What is in pictures, and the pictures, uint8 `[count, 3, 64, 64]`."""
    scenes = draw_scenes(seed, count, split, kind)
    rendered = render(scenes)
    return true_findings(scenes, rendered), torch.from_numpy(rendered.images)


def accuracies(truth: Sequence[Found], read: Sequence[Found]) -> dict[str, float]:
    """Share of right answers by attribute, of count, relations, front and ground, and of pictures read wholly right."""
    right: dict[str, list[bool]] = defaultdict(list)
    for true, found in zip(truth, read, strict=True):
        match = _nearest(true, found)
        begun = {name: len(values) for name, values in right.items()}
        for k, item in enumerate(true.items):
            other = match[k]
            same = {
                name: other is not None and getattr(found.items[other], name) == getattr(item, name)
                for name in ATTRIBUTES
            }
            for name, hit in same.items():
                right[name].append(hit)
            if (item.colour, item.shape) in HELD_OUT:
                right["held_out_binding"].append(same["colour"] and same["shape"])
        right["count"].append(len(true.items) == len(found.items))
        for a, relation, b in clear_relations(true):
            one, other = match[a], match[b]
            hit = one is not None and other is not None and relation_holds(found, one, relation, other)
            right["order" if relation in ("in front of", "behind") else "relation"].append(hit)
        for name in ("style", "background", "tone"):
            right[name].append(getattr(true, name) == getattr(found, name))
        right["picture"].append(all(all(values[begun.get(name, 0) :]) for name, values in right.items()))
    return {name: round(float(np.mean(values)), 5) for name, values in right.items()}


def _nearest(true: Found, found: Found) -> list[int | None]:
    """For each true object the nearest one that was read, each used once."""
    match: list[int | None] = [None] * len(true.items)
    pairs = sorted(
        (float(np.hypot(t.x - f.x, t.y - f.y)), a, b)
        for a, t in enumerate(true.items)
        for b, f in enumerate(found.items)
    )
    used: set[int] = set()
    for far, a, b in pairs:
        if far <= _NEAR and match[a] is None and b not in used:
            match[a] = b
            used.add(b)
    return match


def _guessing(truth: Sequence[Found]) -> dict[str, float]:
    """How often the commonest value is right: what a scorer gets that does not look."""
    values: dict[str, list[object]] = defaultdict(list)
    for found in truth:
        values["count"].append(len(found.items))
        for name in ("style", "background", "tone"):
            values[name].append(getattr(found, name))
        for item in found.items:
            for name in ATTRIBUTES:
                values[name].append(getattr(item, name))
    return {name: round(Counter(v).most_common(1)[0][1] / len(v), 5) for name, v in values.items()}
