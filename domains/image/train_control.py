"""`launch.py train scenes-control --set hint=edges kind=controlnet`: a control branch of `scenes`, its base frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from core.adapters.controlled import Kind, build_branch
from core.noise import Noise
from core.training.losses import denoising_loss
from domains.common.errors import BadInput
from domains.common.training_loop import Course, Scores, Told, check_new, follow, publish
from domains.common.training_report import in_processes
from domains.common.training_settings import COMMON, parse_settings
from domains.image.control import backbone, controlled
from domains.image.files import contact_sheet
from domains.image.hints import channels, make_hint, shown_hint
from domains.image.model import ImageModel, image_model
from domains.image.requests import HintKind
from domains.image.scenes.captions import USUAL, write_captions
from domains.image.scenes.sampler import Split, draw_scenes
from domains.image.scenes.truth import render_truth
from domains.image.scenes.words import Language

DEFAULTS: dict[str, Any] = {
    **COMMON, "base": "scenes", "hint": "edges", "kind": "controlnet", "batch": 64, "untold": 0.3, "chinese": 0.4,
    "minutes": 30.0, "learning_rate": 5e-4, "warmup": 100, "average": 0.998, "judge_minutes": 10.0,
}  # fmt: skip
_STRIDE = 1_000_003
_ASIDE = 128  # scenes that the branch is judged on


@dataclass(frozen=True)
class HintStream:
    """Endless scenes with captions and a hint; batch `k` is the same whenever it is made.

    Attributes:
        hint: Which.
        seed: Of scenes, words and shaking hands.
        batch: Pictures a batch.
        chinese: Share of captions in Chinese.
        split: Of the scenes.
    """

    hint: HintKind
    seed: int
    batch: int
    chinese: float
    split: Split = "train"

    def batch_at(self, address: int) -> tuple[Tensor, list[str], Tensor]:
        """(pictures in [-1, 1], captions, hints) at an address, a whole number from 0."""
        scenes = draw_scenes(self.seed, range(address * self.batch, (address + 1) * self.batch), self.split)
        truth = render_truth(scenes)
        rng = Noise((self.seed,), ("hints", address)).shared()
        language: Language = "zh" if rng.random() < self.chinese else "en"
        captions = write_captions(scenes, truth.rendered, int(rng.integers(2**31)), language, USUAL)
        images = torch.from_numpy(truth.rendered.images.astype(np.float32)) / 127.5 - 1
        return images, [c.text for c in captions], make_hint(self.hint, truth, rng)


def hinted_loss(
    model: ImageModel, batch: tuple[Tensor, list[str], Tensor], seed: int, untold: float, device: str
) -> Tensor:
    """Denoising loss `[batch]` of pictures with captions and hints.

    Args:
        model: With its branch bound.
        batch: As `HintStream` gives it.
        seed: Address of times, noise, and of which captions are left out.
        untold: Share of those.
        device: `cpu` or `cuda`.
    """
    images, captions, hint = batch
    noise = Noise.of(seed, len(images))
    kept = torch.from_numpy(noise.at("told").shared().random(len(images)) >= untold)
    f = model.denoiser.given({**model.network.words(captions, kept), "hint0": hint.to(device)})
    return denoising_loss(f, images.to(device), noise)


def train(
    data: Path | None, settings: dict[str, str], resume: bool, device: str, out: Path, told: Told
) -> None:
    """Trains a control branch into a model folder.

    Args:
        data: None; the scenes are rendered.
        settings: `--set` texts: `base`, `hint`, `kind` and what `DEFAULTS` lists.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, samples, metrics, and the finished branch.
        told: Called with (done, total, message).

    Raises:
        BadInput: For data, or a setting that cannot be used.
    """
    if data is not None:
        raise BadInput("data", "scenes are rendered, not read; leave --data out")
    check_new(out, resume)
    chosen = parse_settings(settings, DEFAULTS)
    for name, known in (("hint", get_args(HintKind)), ("kind", get_args(Kind))):
        if chosen[name] not in known:
            raise BadInput("set", f"{name} must be one of {', '.join(known)}")
    backbone(image_model(chosen["base"], device))
    out.mkdir(parents=True, exist_ok=True)
    in_processes(_train, (chosen, resume, device, out, told), chosen["processes"], device)


def _train(settings: dict[str, Any], resume: bool, device: str, out: Path, told: Told) -> None:
    base = image_model(settings["base"], device)
    hint, kind = settings["hint"], settings["kind"]
    stream = HintStream(hint, settings["seed"], settings["batch"], settings["chinese"])
    aside = HintStream(hint, settings["seed"], _ASIDE, settings["chinese"], "val").batch_at(0)

    def branch() -> nn.Module:
        return build_branch(kind, backbone(base), channels(hint)).to(device)

    def course(rank: int, ranks: int) -> Course:
        network = branch()
        bound = controlled(base, [network], [1.0])

        def loss(address: int) -> Tensor:
            seed = settings["seed"] * _STRIDE + address
            return hinted_loss(bound, stream.batch_at(address), seed, settings["untold"], device).mean()

        def judged(averaged: nn.Module, folder: Path) -> Scores:
            with torch.no_grad():
                with_hint = hinted_loss(controlled(base, [averaged], [1.0]), aside, 1, 0.0, device).mean()
                without = hinted_loss(controlled(base, [averaged], [0.0]), aside, 1, 0.0, device).mean()
            contact_sheet(
                np.stack([shown_hint(hint, h) for h in aside[2][:12]]), aside[1][:12], folder / "samples.png"
            )
            return {"loss_aside": float(with_hint), "loss_without": float(without)}

        return Course(
            network,
            loss,
            judged,
            lambda scores: (
                f"loss {scores['loss_aside']:.4f}, without the branch {scores['loss_without']:.4f}"
            ),
            ("loss_aside", "loss_without"),
            branch,
        )

    ended = follow(course, settings, resume, device, out, told)
    if ended is None:
        return
    trainer, _, scores = ended
    card = {
        "name": out.name,
        "summary": f"Lets {hint} say where things are drawn by {settings['base']}.",
        "model": {
            "network": "control",
            "kind": kind,
            "hint": hint,
            "config": {},
            "base": settings["base"],
            "base_sha256": base.card.get("sha256"),
        },
        "data": [{"group": "scenes", "licence": "this project's own", "pictures": "endless, rendered"}],
        "validation": {
            "what": f"denoising loss on {_ASIDE} scenes kept aside, with the branch and without",
            **{k: round(v, 5) for k, v in scores.items()},
        },
        "limits": f"Hints as the renderer's {hint}, at 64 x 64; only with the weights of its base.",
        "paper": "after ControlNet (Zhang et al. 2023) and its kin",
        "licence": "Apache-2.0",
    }
    publish(out, trainer, "scenes-control", card, settings, DEFAULTS, device)
