"""A run that is left at any step and taken up again makes the very bytes of one that was not."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from apps.engine.checkpoints import Checkpoints
from apps.engine.environment import cpu_count, thread_count
from apps.engine.run import Finished, run_task
from apps.engine.validation import make_request
from domains.common.errors import Cancelled
from domains.registry import find_task

FINGERPRINT = {"request": 1}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four hundred hours of two waves with gaps in several windows of the model."""
    lines = ["hour,low,high"]
    for hour in range(400):
        low = "" if hour % 100 in range(40, 52) else f"{10 + 3 * math.sin(hour / 4):.3f}"
        lines.append(f"{hour},{low},{math.cos(hour / 7):.4f}")
    path = tmp_path / "waves.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def run(
    name: str,
    out: Path,
    fields: dict[str, Any],
    checkpoints: Checkpoints | None = None,
    stop: int | None = None,
) -> tuple[Finished, int]:
    """Runs a task, cancelled after `stop` reports of progress; what it made, and the number of its reports."""
    cancel, seen = Event(), 0

    def watch(_: object) -> None:
        nonlocal seen
        seen += 1
        if stop is not None and seen >= stop:
            cancel.set()

    task = find_task(name)
    request = make_request(task, fields)
    return run_task(task, request, out=out, on_progress=watch, cancel=cancel, checkpoints=checkpoints), seen


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        f"impute, {solver}": ("series.impute", {"samples": 3, "steps": 5, "solver": solver, "seed": 4})
        for solver in ("multistep", "unipc", "sa-solver", "ipndm", "adaptive", "edm")
    },
    "forecast": ("series.forecast", {"samples": 3, "horizon": 150, "steps": 5, "seed": 2}),
    "forecast, stochastic": (
        "series.forecast",
        {"samples": 3, "horizon": 150, "steps": 5, "solver": "multistep-sde"},
    ),
    "plane": ("lab.theory", {"law": "moons", "samples": 100, "steps": 12}),
    "learned": (
        "lab.theory",
        {"law": "rings", "samples": 100, "score": "learned", "training": 120, "steps": 8},
    ),
    "guided": (
        "lab.theory",
        {"law": "pair", "samples": 100, "towards": "first", "steps": 8, "sampling": {"guidance": 2.0}},
    ),
    "tokens": ("lab.theory", {"law": "token-pair", "samples": 100, "steps": 6}),
    "rotations": ("lab.theory", {"law": "rotations", "samples": 60, "steps": 6}),
    "bench": (
        "lab.solvers",
        {
            "problem": "mixture-2",
            "solvers": ["multistep", "ancestral", "adaptive"],
            "evaluations": [4, 6],
            "samples": 16,
            "seeds": 2,
            "sampling": {"steps": 200},
        },
    ),
}


QUICK = ("impute, multistep", "forecast", "plane", "tokens")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_left_and_taken_up_again_it_makes_the_same_bytes(case: str, table: Path, tmp_path: Path) -> None:
    name, fields = CASES[case]
    if name.startswith("series"):
        fields = {**fields, "table": str(table)}
    straight, reports = run(name, tmp_path / "straight", fields)
    dice, resumed = random.Random(case), 0
    # Left early, then further on each time; at last it may run to its end.
    for stop in [*sorted(dice.randrange(2, reports) for _ in range(4)), None]:
        checkpoints = Checkpoints(tmp_path / "checkpoints", FINGERPRINT, interval=0.0)
        try:
            done, _ = run(name, tmp_path / "resumed", fields, checkpoints, stop)
        except Cancelled:
            assert not (tmp_path / "resumed").exists()
        resumed += checkpoints.resumed
    assert resumed >= 2, "the test is empty where nothing was resumed"
    same = {n: h for n, h in done.recipe.content_sha256.items() if n not in TIMED}
    assert same == {n: h for n, h in straight.recipe.content_sha256.items() if n not in TIMED}
    assert same and done.nfe == straight.nfe


# The bench measures seconds, which are never the same twice; the figure shows them too.
TIMED = ("seconds.csv",)


@pytest.fixture(autouse=True)
def _timeless_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds as the bench's figure shows them, made to stand still."""
    import domains.lab.bench as bench

    ticks = iter(range(10**9))
    monkeypatch.setattr(bench.time, "perf_counter", lambda: float(next(ticks)))


def test_a_checkpoint_holds_its_tree_bit_for_bit(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    tree = {
        "x": {"a": shared, "b": shared.T},
        "memory": (3, None, [(torch.tensor(0.1, dtype=torch.float64), shared.bfloat16())], (2**62, "prior")),
        "weights": [0.1, -0.0, 1e-300, True],
        "array": np.arange(3),
        "empty": torch.zeros(0, 4),
    }
    Checkpoints(tmp_path, FINGERPRINT, 0.0).keep("walk", lambda: tree)
    found = Checkpoints(tmp_path, FINGERPRINT).kept("walk")
    assert isinstance(found["memory"], tuple) and isinstance(found["memory"][2], list)
    assert found["memory"][3] == (2**62, "prior") and found["weights"] == tree["weights"]
    assert torch.equal(found["x"]["b"], shared.T) and found["memory"][2][0][1].dtype is torch.bfloat16
    assert found["memory"][2][0][0].item() == 0.1 and found["empty"].shape == (0, 4)
    assert isinstance(found["array"], np.ndarray) and found["array"].tolist() == [0, 1, 2]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]


def test_a_state_of_arrays_needs_no_torch(tmp_path: Path) -> None:
    Checkpoints(tmp_path, FINGERPRINT, 0.0).keep("walk", lambda: {"x": np.array([0.1, 0.2])})
    assert Checkpoints(tmp_path, FINGERPRINT).kept("walk")["x"].tolist() == [0.1, 0.2]


def test_a_checkpoint_of_another_run_is_not_taken_up(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, FINGERPRINT, 0.0)
    assert mine.usable() is None
    mine.keep("walk", lambda: 1)
    other = Checkpoints(tmp_path, {"request": 2})
    assert other.kept("walk") is None and other.usable() is False and not other.resumed
    assert mine.usable() is True and mine.kept("another") is None
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert Checkpoints(tmp_path, FINGERPRINT).kept("walk") in (None, 1), "damaged files are no error"


def test_the_number_of_threads_does_not_depend_on_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in which torch was loaded by another job must take up the checkpoint of one in which it was not."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delitem(sys.modules, "torch")
    assert thread_count() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert thread_count() == cpu_count()


def test_checkpoints_keep_their_distance(tmp_path: Path) -> None:
    made: list[int] = []
    rare = Checkpoints(tmp_path, FINGERPRINT, interval=1000.0)
    for step in range(100):
        rare.keep("walk", lambda step=step: made.append(step))  # type: ignore[misc]
    assert made == [] and not list(tmp_path.iterdir())
    rare.suspend.set()
    with pytest.raises(Cancelled):
        rare.keep("walk", lambda: made.append(-1))
    assert made == [-1]


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("apps.engine.checkpoints.atomic_write_bytes", full)
    kept: list[int] = []
    checkpoints = Checkpoints(tmp_path, FINGERPRINT, 0.0, lambda: kept.append(1))
    checkpoints.keep("walk", lambda: {"x": 1})
    assert kept == [] and checkpoints.kept("walk") is None
