"""What the training of every built-in model shares: the watched loop, and the card that is published."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.checkpoint import save_model
from core.training.trainer import Trainer
from domains.common.errors import BadInput
from domains.common.training_report import accelerator, append_row, plot_loss
from domains.common.training_settings import trainer_settings

Told = Callable[..., None]
Scores = dict[str, float]


def check_new(out: Path, resume: bool) -> None:
    """Refuses to train over an earlier run, and to go on with none.

    Raises:
        BadInput: Where `--resume` and the folder do not agree.
    """
    there = (out / "state.safetensors").exists()
    if there and not resume:
        raise BadInput("out", "holds a training run; add --resume to go on with it, or choose another folder")
    if resume and not there:
        raise BadInput("resume", "there is no training state in the folder; leave --resume out to begin")


@dataclass(frozen=True)
class Course:
    """A model's training, less what all models share.

    Attributes:
        network: On its device.
        loss: Address of a batch -> scalar; data and noise come from the address alone.
        judge: (averaged network, folder) -> scores on what was kept aside; leaves its sample sheet in the folder.
        say: Scores -> a few words for the bar.
        panels: Columns of the scores that `loss.png` draws together.
        copy: Makes another network of the same shape, for the average.
    """

    network: nn.Module
    loss: Callable[[int], Tensor]
    judge: Callable[[nn.Module, Path], Scores]
    say: Callable[[Scores], str]
    panels: tuple[str, ...]
    copy: Callable[[], nn.Module]


def follow(
    course: Callable[[int, int], Course],
    settings: Mapping[str, Any],
    resume: bool,
    device: str,
    out: Path,
    told: Told,
) -> tuple[Trainer, Course, Scores] | None:
    """Trains to the end of the budget, judging now and then; None in processes that do not lead.

    Args:
        course: (rank, processes) -> the course; weights are drawn inside, after the seed is set.
        settings: `COMMON` and the model's own.
        resume: Go on from the state in `out`.
        device: `cpu` or `cuda`.
        out: Folder for state, losses, metrics, samples.
        told: Called with (done, total, message).
    """
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    joined = accelerator(settings["processes"], device)
    rank, ranks = (0, 1) if joined is None else (joined.process_index, joined.num_processes)
    lessons = course(rank, ranks)
    trainer = Trainer(
        lessons.network,
        lambda step: lessons.loss(step * ranks + rank),
        trainer_settings(settings),
        out,
        joined,
    )
    if resume:
        trainer.resume()
    judged, judged_step, last = time.monotonic(), -1, {}
    for progress in trainer.run():
        told(progress.share, 1.0, f"step {progress.step}, loss {progress.loss:.3f}")
        if trainer.leading and time.monotonic() - judged > 60 * settings["judge_minutes"]:
            last = _judged(lessons, trainer, out)
            judged, judged_step = time.monotonic(), trainer.step
            told(progress.share, 1.0, lessons.say(last))
    if not trainer.leading:
        return None
    if judged_step != trainer.step:
        last = _judged(lessons, trainer, out)
    return trainer, lessons, last


def averaged(course: Course, trainer: Trainer) -> nn.Module:
    """The moving average of the weights, ready to sample."""
    twin = course.copy()
    twin.load_state_dict(trainer.average.values)
    return twin.to(trainer.device).eval().requires_grad_(False)


def _judged(course: Course, trainer: Trainer, out: Path) -> Scores:
    scores = course.judge(averaged(course, trainer), out)
    append_row(out / "metrics.csv", {"step": trainer.step, "seconds": trainer.seconds, **scores})
    plot_loss(out, course.panels)
    return scores


def publish(
    out: Path,
    trainer: Trainer,
    name: str,
    card: Mapping[str, Any],
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any],
    device: str,
    kind: torch.dtype = torch.bfloat16,
) -> None:
    """Writes the averaged weights and their card, with the command, time and machine of the training.

    Args:
        out: The model's folder.
        trainer: At the end of its budget.
        name: Of the model that the command trains.
        card: All else that the card says.
        settings, defaults: What the command set.
        device: It was trained on.
        kind: Of the weights in the file.
    """
    command = f"launch.py train {name}" + "".join(
        f" --set {k}={v}" for k, v in sorted(settings.items()) if defaults.get(k) != v
    )
    training = {
        "command": command,
        "steps": trainer.step,
        "minutes": round(trainer.seconds / 60, 1),
        "processes": settings["processes"],
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {device}",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    save_model(out, dict(trainer.average.values), {**card, "training": training}, kind)
