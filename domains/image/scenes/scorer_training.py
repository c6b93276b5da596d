"""`launch.py train scenes-scorer`: the network that reads pictures, from scenes rendered as it goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from core.noise import Noise
from domains.common.errors import BadInput
from domains.common.training_loop import Course, Told, averaged, check_new, follow, publish
from domains.common.training_report import in_processes
from domains.common.training_settings import COMMON, parse_settings
from domains.image.scenes.assertions import OVERLAP, overlaps
from domains.image.scenes.augment import augment
from domains.image.scenes.render import Rendered, render
from domains.image.scenes.sampler import draw_scenes
from domains.image.scenes.scene import Scenes
from domains.image.scenes.scorer_evaluation import evaluate_scorer, reading_scores
from domains.image.scenes.scorer_network import CELL, GRID, Reading, SceneReader
from domains.image.scenes.vocabulary import ATTRIBUTES, OBJECTS, TONED

NAME = "scenes-scorer"
# The built-in scorer's settings; `--set key=value` changes any of them.
DEFAULTS: dict[str, Any] = {
    **COMMON, "stem": 32, "width": 72, "deep": 128, "batch": 32,
    "minutes": 30.0, "learning_rate": 2e-3, "warmup": 100, "average": 0.998, "weight_decay": 0.02,
    "judge_minutes": 10.0,
}  # fmt: skip
_SHOWN = ("shape", "colour", "texture", "order")
_SPREAD = 0.7  # cells, of the hill around a centre


def train(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains `scenes-scorer` into a model folder.

    Args:
        data: None; the scenes are rendered.
        settings: `--set` texts; see `DEFAULTS`.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, loss, metrics, and the finished model.
        told: Called with (done, total, message).

    Raises:
        BadInput: For data, or a setting that cannot be used.
    """
    if data is not None:
        raise BadInput("data", "the scorer is trained on rendered scenes alone; leave --data out")
    check_new(out, resume)
    chosen = parse_settings(settings, DEFAULTS)
    out.mkdir(parents=True, exist_ok=True)
    in_processes(_train, (chosen, resume, device, out, told), chosen["processes"], device)


def _train(settings: dict[str, Any], resume: bool, device: str, out: Path, told: Told) -> None:
    shape = {name: settings[name] for name in ("stem", "width", "deep")}

    def course(rank: int, ranks: int) -> Course:
        network = SceneReader(**shape).to(device)
        return Course(
            network,
            lambda address: batch_loss(network, address, settings["batch"], settings["seed"], device),
            lambda averaged, _: reading_scores(averaged, count=500, split="val"),
            lambda scores: ", ".join(f"{name} {scores[name]:.3f}" for name in _SHOWN),
            _SHOWN,
            lambda: SceneReader(**shape),
        )

    ended = follow(course, settings, resume, device, out, told)
    if ended is None:
        return
    trainer, lessons, _ = ended
    told(1.0, 1.0, "reading pictures of the test split")
    card = {
        "name": NAME,
        "summary": "Reads pictures of scenes: objects with shape, colour, size, texture, place, order; style, ground.",
        "model": {"network": "scene-reader", "config": shape},
        "data": [
            {
                "name": "scenes, rendered while training",
                "licence": "this project's own",
                "pictures": "endless",
            }
        ],
        "limits": "Pictures of 64 by 64 pixels in the manner of the renderer; nothing else is read sensibly.",
        "validation": evaluate_scorer(averaged(lessons, trainer)),
        "paper": "after CenterNet (Zhou, Wang & Krähenbühl 2019)",
        "licence": "Apache-2.0",
    }
    publish(out, trainer, NAME, card, settings, DEFAULTS, device)


def batch_loss(network: SceneReader, step: int, batch: int, seed: int, device: str) -> Tensor:
    """The loss of step `step`'s freshly rendered, augmented pictures, a scalar."""
    index = range(step * batch, (step + 1) * batch)
    scenes = draw_scenes(seed, index, "train", "all")
    truth = render(scenes)
    images = torch.from_numpy(truth.images).float() / 127.5 - 1
    rng = Noise((seed,), ("scenes-scorer", step)).shared()
    reading = network(augment(images, rng).to(device))
    return reading_loss(network, reading, scenes, truth)


def reading_loss(network: SceneReader, reading: Reading, scenes: Scenes, truth: Rendered) -> Tensor:
    """Focal loss of centres (Law & Deng 2018, equation 1), cross-entropy of attributes, absolute error of measures."""
    device = reading.centre.device
    picture, slot = np.nonzero(scenes.present)
    middle = np.stack([scenes.x[picture, slot], scenes.y[picture, slot]], 1)
    total = _centre_loss(reading.centre, picture, middle)

    # The four cells nearest to a centre all answer for the object, so that a neighbour's answer serves, too.
    first = np.floor(middle / CELL - 0.5).astype(np.int64)
    cells = (first[:, None] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])).clip(0, GRID - 1)
    column, row = (torch.from_numpy(cells[..., k].ravel()).to(device) for k in (0, 1))
    where = torch.from_numpy(picture.repeat(4)).to(device)
    offset = torch.from_numpy((middle[:, None] - CELL * (cells + 0.5)).reshape(-1, 2).astype(np.float32)).to(
        device
    )
    radius = torch.from_numpy(np.log(scenes.radius[picture, slot]).repeat(4)).to(device)
    total = total + 0.2 * (reading.offset[where, :, row, column] - offset).abs().mean()
    total = total + 1.0 * (reading.radius[where, row, column] - radius).abs().mean()
    for name in ATTRIBUTES:
        value = torch.from_numpy(getattr(scenes, name)[picture, slot].repeat(4)).to(device)
        total = total + functional.cross_entropy(reading.attributes[name][where, :, row, column], value)
    for name, logits in reading.globals.items():
        value = torch.from_numpy(getattr(scenes, name)).to(device)
        toned = torch.from_numpy(scenes.background < TONED).to(device)
        losses = functional.cross_entropy(logits, value, reduction="none")
        total = total + 0.3 * (losses * toned if name == "tone" else losses).mean()
    common = overlaps(truth)
    deeper = scenes.depth[:, :, None] > scenes.depth[:, None]
    touching = (
        (common >= OVERLAP)
        & scenes.present[:, :, None]
        & scenes.present[:, None]
        & ~np.eye(OBJECTS, dtype=bool)
    )
    order = np.stack([(touching & deeper).any(2), (touching & ~deeper).any(2)], -1)[picture, slot].repeat(
        4, 0
    )
    wanted = torch.from_numpy(order.astype(np.float32)).to(device)
    said = reading.order[where, :, row, column]
    total = total + functional.binary_cross_entropy_with_logits(said, wanted)
    return total + _pair_loss(network, reading, scenes, common)


def _centre_loss(logits: Tensor, picture: np.ndarray, middle: np.ndarray) -> Tensor:
    line = np.arange(GRID) + 0.5
    far = (line[None, None] - middle[:, :1, None] / CELL) ** 2
    square = far + (line[None, :, None] - middle[:, 1:, None] / CELL) ** 2
    hill = np.exp(-square / (2 * _SPREAD**2)).astype(np.float32)
    target = np.zeros(logits.shape, np.float32)
    np.maximum.at(target, picture, hill)
    cell = (middle / CELL).astype(np.int64)
    target[picture, cell[:, 1], cell[:, 0]] = 1
    wanted = torch.from_numpy(target).to(logits.device)
    p = logits.sigmoid()
    hit = functional.logsigmoid(logits) * (1 - p) ** 2 * (wanted == 1)
    miss = functional.logsigmoid(-logits) * p**2 * (1 - wanted) ** 4 * (wanted < 1)
    return -(hit + miss).sum() / len(picture)


def _pair_loss(network: SceneReader, reading: Reading, scenes: Scenes, common: np.ndarray) -> Tensor:
    """Whether pairs overlap, and which is in front where they do."""
    device = reading.centre.device
    picture, a, b = np.nonzero(
        scenes.present[:, :, None] & scenes.present[:, None] & np.tri(OBJECTS, k=-1, dtype=bool)
    )
    if not len(picture):
        return reading.centre.sum() * 0

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    one, other = (tensor(np.stack([scenes.x[picture, k], scenes.y[picture, k]], 1)) for k in (a, b))
    radii = tensor(scenes.radius[picture, a]), tensor(scenes.radius[picture, b])
    touching, front = network.pair(reading.cells, torch.from_numpy(picture).to(device), (one, other), radii)
    pixels = common[picture, a, b]
    touch, clear = tensor(pixels >= OVERLAP), tensor((pixels >= OVERLAP) | (pixels == 0))
    nearer = tensor(scenes.depth[picture, a] < scenes.depth[picture, b])
    plain = functional.binary_cross_entropy_with_logits
    overlapping = (plain(touching, touch, reduction="none") * clear).mean()
    return overlapping + (plain(front, nearer, reduction="none") * touch).sum() / touch.sum().clamp_min(1)
