"""The training loop: it yields, so that the caller watches, draws, judges, or stops."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn

from core.checkpoint import atomic_safetensors
from core.files import atomic_write_text
from core.training.average import WeightAverage


@dataclass(frozen=True)
class TrainerSettings:
    """How to train.

    Attributes:
        steps: Optimiser steps at most.
        minutes: Wall-clock minutes at most, over all resumptions; 0 is no limit.  With a limit the learning rate
            follows the clock, so a resumed run is exact in its data and noise, but not in its rate.
        learning_rate: Peak rate of AdamW.
        warmup: Steps over which the rate rises.
        weight_decay: Of matrices; vectors and scalars are not decayed.
        clip: Largest norm of the gradient.
        average: Decay of the weights' moving average.
        bfloat16: Run the loss under bfloat16 autocast.
        log_every: Steps between rows of the log (and yields).
        save_minutes: Minutes between checkpoints of the training state.
        seed: Of weights, data and noise.
    """

    steps: int = 100_000
    minutes: float = 0.0
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    bfloat16: bool = True
    log_every: int = 50
    save_minutes: float = 2.0
    seed: int = 0


class Progress(NamedTuple):
    """Where training is.

    Attributes:
        step: Steps done.
        share: Share of the budget that is spent, 0 to 1.
        loss: Mean over the steps since the last report.
        seconds: Wall-clock seconds of training, over all resumptions.
    """

    step: int
    share: float
    loss: float
    seconds: float


class Trainer:
    """Trains a network; its state survives `kill -9` at any moment.

    `loss(step)` returns a scalar; it must take its data and noise from addresses made of the step alone, so that a
    resumed run goes on exactly where it would have gone.

    Args:
        network: The module whose parameters are trained, already on its device.
        loss: step -> scalar loss.
        settings: How to train.
        folder: Where `state.safetensors` and `loss.csv` are kept.
        accelerator: An `accelerate.Accelerator` when several processes train together; else None.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[int], Tensor],
        settings: TrainerSettings,
        folder: Path,
        accelerator: Any = None,
    ) -> None:
        self.network, self.loss, self.settings, self.folder = network, loss, settings, folder
        self.accelerator = accelerator
        decayed = [p for p in network.parameters() if p.ndim >= 2]
        plain = [p for p in network.parameters() if p.ndim < 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            foreach=True,
        )
        self.average = WeightAverage(network, settings.average)
        self.step, self.seconds = 0, 0.0
        self.device = next(network.parameters()).device

    @property
    def leading(self) -> bool:
        """Whether this process writes files."""
        return self.accelerator is None or bool(self.accelerator.is_main_process)

    @property
    def share(self) -> float:
        """Share of the budget that is spent."""
        spent = self.step / self.settings.steps
        if self.settings.minutes > 0:
            spent = max(spent, self.seconds / 60 / self.settings.minutes)
        return min(1.0, spent)

    def rate(self) -> float:
        """Learning rate of the next step: linear warm-up, then a half cosine to 2 % of the peak."""
        warm = min(1.0, (self.step + 1) / max(1, self.settings.warmup))
        decay = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.share))
        return self.settings.learning_rate * warm * decay

    def run(self) -> Iterator[Progress]:
        """Trains to the end of the budget, yielding every `log_every` steps and at the end."""
        begun, before = time.monotonic(), self.seconds
        saved, total, count = time.monotonic(), 0.0, 0
        self.network.train()
        while self.share < 1.0:
            loss, norm = self._advance()
            total, count = total + loss, count + 1
            self.step += 1
            self.seconds = before + time.monotonic() - begun
            if self.step % self.settings.log_every == 0 or self.share >= 1.0:
                self._log(total / count, norm)
                yield Progress(self.step, self.share, total / count, self.seconds)
                total, count = 0.0, 0
            if time.monotonic() - saved > 60 * self.settings.save_minutes:
                self.save()
                saved = time.monotonic()
        self.save()

    def _advance(self) -> tuple[float, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            loss = self.loss(self.step)
        if self.accelerator is None:
            loss.backward()
        else:
            self.accelerator.backward(loss)
        parameters = list(self.network.parameters())
        if self.accelerator is not None and self.accelerator.num_processes > 1:
            for p in parameters:
                if p.grad is not None:
                    p.grad.copy_(self.accelerator.reduce(p.grad, reduction="mean"))
        norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.clip))
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(norm):
            raise ArithmeticError(f"loss or gradient is not finite at step {self.step}; lower learning_rate")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.network, self.step)
        return value, norm

    def _log(self, loss: float, norm: float) -> None:
        if not self.leading:
            return
        path = self.folder / "loss.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "seconds", "loss", "gradient_norm", "learning_rate"])
            writer.writerow(
                [self.step, f"{self.seconds:.2f}", f"{loss:.6f}", f"{norm:.5f}", f"{self.rate():.3e}"]
            )

    # ---------------------------------------------------------------- state

    def save(self) -> None:
        """Writes weights, average, optimiser, step and seconds as one file, atomically."""
        if not self.leading:
            return
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.values.items()}
        for name, parameter in self.network.named_parameters():
            state = self.optimiser.state.get(parameter)
            if state:
                tensors[f"first.{name}"] = state["exp_avg"]
                tensors[f"second.{name}"] = state["exp_avg_sq"]
        facts = {"step": self.step, "seconds": self.seconds, "settings": asdict(self.settings)}
        atomic_safetensors(self.folder / "state.safetensors", tensors, {"training": json.dumps(facts)})

    def resume(self) -> bool:
        """Takes up the state in the folder; False where there is none.

        Raises:
            ValueError: If the file does not belong to this network.
        """
        path = self.folder / "state.safetensors"
        if not path.exists():
            return False
        with safe_open(path, framework="pt", device=str(self.device)) as file:
            facts = json.loads((file.metadata() or {}).get("training", "{}"))
            names = set(file.keys())
            wanted = {f"network.{k}" for k in self.network.state_dict()}
            if not wanted <= names or "step" not in facts:
                raise ValueError(f"{path.name} belongs to another network; train into a new folder")
            self.network.load_state_dict({k.removeprefix("network."): file.get_tensor(k) for k in wanted})
            self.average.load({k: file.get_tensor(f"average.{k}") for k in self.average.values})
            for name, parameter in self.network.named_parameters():
                if f"first.{name}" in names:
                    self.optimiser.state[parameter] = {
                        "step": torch.tensor(float(facts["step"])),
                        "exp_avg": file.get_tensor(f"first.{name}"),
                        "exp_avg_sq": file.get_tensor(f"second.{name}"),
                    }
        self.step, self.seconds = int(facts["step"]), float(facts["seconds"])
        self._trim_log()
        return True

    def _trim_log(self) -> None:
        """Drops rows that were logged after the state was saved: they will be trained again."""
        path = self.folder / "loss.csv"
        if not path.exists():
            return
        lines = path.read_text().splitlines()
        kept = [
            line
            for line in lines[1:]
            if line.split(",")[0].isdigit() and int(line.split(",")[0]) <= self.step
        ]
        atomic_write_text(path, "\n".join([lines[0], *kept]) + "\n")
