"""Trains one PyPOTS model for a fixed time and fills tables with it; runs inside PyPOTS' own environment.

usage: python pypots_impute.py JOB.json

The models, their losses, optimisers and samplers are PyPOTS' own.  The loop around them is written here, because
PyPOTS counts epochs and the comparison is of equal minutes: windows of the training part are drawn at random places,
each with a fresh mask, the learning rate falls tenfold at 75 % and at 90 % of the time (CSDI's own schedule), and the
weights with the least validation loss at 60, 80 and 100 % of the time are kept.  Validation counts as training time.

The job names an archive with `train` and `valid` `[T, C]` (complete, standardised) and tables `[T, C]` with NaN in
their gaps.  Filled tables go to another archive: `[T, C]` of a model that gives points, `[S, T, C]` of CSDI.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float32]

# SAITS: the base model of its paper (Du et al. 2023) and of PyPOTS' tutorials.  BRITS: TSI-Bench's choice for ETTh1.
# CSDI: the base configuration of its paper (Tashiro et al. 2021), with its batch of 16.
SETTINGS: dict[str, dict[str, Any]] = {
    "SAITS": {
        "n_layers": 2, "d_model": 256, "n_heads": 4, "d_k": 64, "d_v": 64, "d_ffn": 128, "dropout": 0.1,
        "lr": 1e-3, "batch_size": 32,
    },
    "BRITS": {"rnn_hidden_size": 512, "lr": 5e-3, "batch_size": 32},
    "CSDI": {
        "n_layers": 4, "n_heads": 8, "n_channels": 64, "d_time_embedding": 128, "d_feature_embedding": 16,
        "d_diffusion_embedding": 128, "n_diffusion_steps": 50, "schedule": "quad", "beta_start": 1e-4, "beta_end": 0.5,
        "target_strategy": "random", "is_unconditional": False, "lr": 1e-3, "batch_size": 16,
    },
}  # fmt: skip
BLOCK = 24
VALIDATE_AT = (0.6, 0.8, 1.0)
CSDI_VALIDATION_WINDOWS = 16  # its validation loss evaluates all 50 noise levels


def say(text: str) -> None:
    """A line that the benchmark shows to the person who waits."""
    print(f"progress: {text}", flush=True)


def build(name: str, settings: dict[str, Any], steps: int, features: int) -> Any:
    """A fresh PyPOTS model."""
    from pypots.imputation import BRITS, CSDI, SAITS
    from pypots.optim import Adam

    chosen = dict(settings)
    optimizer = Adam(lr=chosen.pop("lr"))
    kind = {"SAITS": SAITS, "BRITS": BRITS, "CSDI": CSDI}[name]
    return kind(n_steps=steps, n_features=features, optimizer=optimizer, device="cpu", **chosen)


def draw_masks(rng: np.random.Generator, count: int, steps: int, features: int) -> NDArray[np.bool_]:
    """Observed cells `[count, steps, features]`: three windows of four lose cells at random, at a rate uniform on
    5 to 95 %; the fourth loses blocks of 24 rows, a column in about 60 % of cases, as often as a window of 48 rows
    meets one where blocks cover a fifth of a table."""
    observed = rng.random((count, steps, features)) >= rng.uniform(0.05, 0.95, (count, 1, 1))
    start = rng.integers(1 - BLOCK, steps, (count, 1, features))
    row = np.arange(steps)[None, :, None]
    in_block = (row >= start) & (row < start + BLOCK) & (rng.random((count, 1, features)) < 0.6)
    return np.where(rng.random((count, 1, 1)) < 0.75, observed, ~in_block)


def gaps(mask: torch.Tensor) -> torch.Tensor:
    """Steps since the last observation, `[batch, steps, features]`, as GRU-D and BRITS define them."""
    out = torch.zeros_like(mask)
    for step in range(1, mask.shape[1]):
        out[:, step] = 1 + (1 - mask[:, step - 1]) * out[:, step - 1]
    return out


def as_batch(name: str, truth: Array, observed: NDArray[np.bool_], validating: bool) -> list[torch.Tensor]:
    """What PyPOTS' data set of this model would deliver for these windows, in its order."""
    whole = torch.from_numpy(np.ascontiguousarray(truth, dtype=np.float32))
    mask = torch.from_numpy(observed.astype(np.float32))
    index = torch.arange(len(whole))
    if name == "CSDI":
        places = torch.arange(whole.shape[1], dtype=torch.float32).expand(len(whole), -1)
        return [index, whole, 1 - mask, mask, places]
    seen = whole * mask
    if name == "SAITS":
        return [index, seen, mask, whole, 1 - mask]
    back_seen, back_mask = seen.flip(1), mask.flip(1)
    batch = [index, seen, mask, gaps(mask), back_seen, back_mask, gaps(back_mask)]
    return [*batch, whole, 1 - mask] if validating else batch


def windows(table: Array, steps: int) -> Array:
    """Windows `[n, steps, C]` one after another; the last one is moved back to end with the table."""
    starts = [*range(0, len(table) - steps + 1, steps)]
    if len(table) % steps:
        starts.append(len(table) - steps)
    return np.stack([table[s : s + steps] for s in starts])


def joined(parts: Array, rows: int) -> Array:
    """Undoes `windows` on `[n, ..., steps, C]`: `[..., rows, C]`; of the last window, only rows not covered before."""
    steps = parts.shape[-2]
    whole, rest = divmod(rows, steps)
    pieces = [parts[k] for k in range(whole)]
    if rest:
        pieces.append(parts[-1][..., steps - rest :, :])
    return np.concatenate(pieces, axis=-2)


def clock() -> float:
    """Processor seconds per thread: a busy machine takes no training away from anybody."""
    return time.process_time() / torch.get_num_threads()


class Trainer:
    """One model, its clock, and the best weights so far."""

    def __init__(
        self, name: str, model: Any, train: Array, valid: list[tuple[Array, Array]], job: dict[str, Any]
    ):
        self.name, self.model, self.train, self.job = name, model, train, job
        self.rng = np.random.default_rng(job["seed"])
        self.batch_size = job["settings"]["batch_size"]
        truth, seen = (np.concatenate([windows(pair[k], job["window"]) for pair in valid]) for k in (0, 1))
        if name == "CSDI":
            kept = (
                np.linspace(0, len(truth) - 1, min(CSDI_VALIDATION_WINDOWS, len(truth))).round().astype(int)
            )
            truth, seen = truth[kept], seen[kept]
        self.valid = truth, ~np.isnan(seen)
        self.best: tuple[float, dict[str, Any]] | None = None
        self.history: list[dict[str, float]] = []
        self.steps = 0

    def step(self) -> float:
        """One step of PyPOTS' optimiser on random windows; returns the loss."""
        length = self.job["window"]
        starts = self.rng.integers(0, len(self.train) - length + 1, self.batch_size)
        truth = np.stack([self.train[s : s + length] for s in starts])
        observed = draw_masks(self.rng, *truth.shape)
        self.model.model.train()
        inputs = self.model._assemble_input_for_training(as_batch(self.name, truth, observed, False))
        self.model.optimizer.zero_grad()
        loss = self.model.model(inputs, calc_criterion=True)["loss"].sum()
        loss.backward()
        self.model.optimizer.step()
        self.steps += 1
        return float(loss)

    @torch.no_grad()
    def validate(self, share: float) -> None:
        """Keeps the weights if their validation loss is the least so far; those judged already are not judged again."""
        if self.history and self.history[-1]["steps"] == self.steps:
            return
        self.model.model.eval()
        losses, sizes = [], []
        with torch.random.fork_rng():
            torch.manual_seed(0)  # CSDI's loss draws noise: the same noise for every candidate
            for start in range(0, len(self.valid[0]), 32):
                truth, observed = (part[start : start + 32] for part in self.valid)
                inputs = self.model._assemble_input_for_validating(as_batch(self.name, truth, observed, True))
                losses.append(float(self.model.model(inputs, calc_criterion=True)["metric"].sum()))
                sizes.append(int((~observed).sum()))
        loss = float(np.average(losses, weights=sizes))
        self.history.append({"share": share, "steps": self.steps, "loss": loss})
        if self.best is None or loss < self.best[0]:
            weights = {k: v.detach().clone() for k, v in self.model.model.state_dict().items()}
            self.best = loss, weights

    def run(self) -> float:
        """Trains for the minutes of the job, then loads the best weights; returns the seconds it took."""
        budget = 60.0 * self.job["minutes"]
        optimizer = self.model.optimizer.torch_optimizer
        rate = optimizer.param_groups[0]["lr"]
        started = clock()
        pending, validation = list(VALIDATE_AT), 0.0
        while pending:
            elapsed = clock() - started
            # The last validation, too, has to end within the budget.
            due = pending[0] * budget - (validation if len(pending) == 1 else 0.0)
            if elapsed < due or self.steps == 0:
                share = elapsed / budget
                optimizer.param_groups[0]["lr"] = rate * (
                    1.0 if share < 0.75 else 0.1 if share < 0.9 else 0.01
                )
                self.step()
                continue
            self.validate(pending.pop(0))
            validation = clock() - started - elapsed
            say(
                f"{self.name}: step {self.steps}, {elapsed / 60:.1f} min, loss {self.history[-1]['loss']:.4f}"
            )
        assert self.best is not None
        self.model.model.load_state_dict(self.best[1])
        return clock() - started


def fill(name: str, model: Any, table: Array, steps: int, samples: int) -> Array:
    """Fills a table by PyPOTS' own `predict`: `[T, C]`, or `[samples, T, C]` of CSDI."""
    cut = {"X": windows(table, steps)}
    if name == "CSDI":
        drawn = model.predict(cut, n_sampling_times=samples)["imputation"]  # [windows, samples, steps, C]
        return joined(np.asarray(drawn), len(table))
    return joined(np.asarray(model.predict(cut)["imputation"]), len(table))


def main(path: Path) -> None:
    """Runs the job; its files lie beside it."""
    job = json.loads(path.read_text())
    torch.set_num_threads(job["threads"])
    name = job["model"]
    job["settings"] = {**SETTINGS[name], **job.get("settings", {})}
    import pypots
    from pypots.utils.random import set_random_seed

    set_random_seed(job["seed"])
    with np.load(path.parent / job["input"], allow_pickle=False) as archive:
        tables = {key: archive[key].astype(np.float32) for key in archive.files}
    train, valid = tables["train"], tables["valid"]
    model = build(name, job["settings"], job["window"], train.shape[1])
    trainer = Trainer(name, model, train, [(valid, tables[key]) for key in job["validate"]], job)
    say(
        f"{name}: {sum(p.numel() for p in model.model.parameters()):,} parameters, {job['minutes']:g} min of training"
    )
    seconds = trainer.run()
    filled: dict[str, Array] = {}
    spent: dict[str, float] = {}
    for number, key in enumerate(job["fill"], 1):
        started = clock()
        filled[key] = fill(name, model, tables[key], job["window"], job["samples"])
        spent[key] = clock() - started
        say(f"{name}: filled {number} of {len(job['fill'])} tables, {spent[key]:.1f} s")
    np.savez(path.parent / job["output"], **filled)
    report = {
        "model": name,
        "settings": job["settings"],
        "parameters": sum(p.numel() for p in model.model.parameters()),
        "training_seconds": seconds,
        "training_steps": trainer.steps,
        "validation": trainer.history,
        "seconds": spent,
        "clock": "processor",
        "evaluations": job["settings"]["n_diffusion_steps"] if name == "CSDI" else 1,
        "versions": {"pypots": pypots.__version__, "torch": torch.__version__},
    }
    (path.parent / job["report"]).write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
