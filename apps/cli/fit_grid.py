"""`launch.py fit-grid MODEL [--steps N ...] [--samples N] [--seed N]`: a model's best time grid for few evaluations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apps.cli.bar import plain_progress
from apps.cli.parser import Parser
from apps.cli.stopping import stop_on_terminate
from core.files import atomic_write_text
from domains.common.bench_problems import PROBLEMS, bench_problem
from domains.common.errors import BadInput
from domains.common.models import CARD, find_model

STEPS = (4, 5, 6, 8, 10, 15, 20)


def main(arguments: Sequence[str]) -> int:
    """Fits grids and blend weights for some numbers of steps, and writes them into the model's card under "grids"."""
    parser = Parser(
        "fit-grid",
        "Fits a model's own time grids for few denoiser evaluations; --solver fitted then walks along them.",
    )
    parser.add_argument("model", metavar="MODEL", help="a built-in model or a folder made by train")
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS), metavar="N", help="2 to 50")
    parser.add_argument("--samples", type=int, default=48, help="prior draws to fit on and to choose by")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--progress", action="store_true", default=None, help="show the bar though no terminal"
    )
    chosen = parser.read(arguments)
    if min(chosen.steps) < 2 or max(chosen.steps) > 50:
        raise BadInput("steps", "must be 2 to 50 each")
    if not 16 <= chosen.samples <= 4096:
        raise BadInput("samples", "must be 16 to 4096")
    if not 0 <= chosen.seed < 2**63:
        raise BadInput("seed", "must be a number from 0 up")
    folder = find_model(chosen.model)
    kind = str(folder.card.get("name", folder.name))
    if kind not in PROBLEMS:
        raise BadInput(
            "model", f"{kind[:60]} offers no problem to fit on; the models that do: {', '.join(PROBLEMS)}"
        )

    from core.fitting.fit import Fit, fine_walk, fit_grid
    from core.noise import Noise

    problem = bench_problem(kind, Noise.of(chosen.seed, chosen.samples), model=chosen.model)
    f, x, options = problem.denoiser, problem.state, Fit(start=problem.start)
    grids = dict(folder.card.get("grids") or {})
    begun, lines, card = time.monotonic(), [], dict(folder.card)
    with stop_on_terminate(), plain_progress(chosen.progress) as told:
        told(0, len(chosen.steps) + 1, "a fine walk to compare with")
        goal = fine_walk(f, x, options)
        for k, steps in enumerate(sorted(set(chosen.steps))):
            told(k + 1, len(chosen.steps) + 1, f"{steps} steps")
            grid = fit_grid(f, x, steps, options, goal=goal)
            grids[str(steps)] = grid.to_dict()
            better = grid.unfitted / max(grid.error, 1e-30)
            lines.append(
                f"{steps:3d} steps: error {grid.error:.3g}, {better:.1f} times below {grid.solver}'s best"
            )
            # After each fit, so that stopping early keeps those that are done.
            card = _written(
                folder.folder, card | {"grids": {name: grids[name] for name in sorted(grids, key=int)}}
            )
            if problem.calibrate is not None:
                told(k + 1, len(chosen.steps) + 1, f"{steps} steps: calibrating the bands")
                try:
                    row = problem.calibrate(folder.folder, steps)
                except BadInput:
                    lines.append(
                        "           bands are those of other walks: the tables to calibrate on are not there"
                    )
                    continue
                before = card.get("calibration", {})
                of_grids = {**before.get("grids", {}), str(steps): row}
                known = {name: of_grids[name] for name in sorted(of_grids, key=int)}
                card = _written(folder.folder, card | {"calibration": {**before, "grids": known}})
                lines.append(f"           calibrated: {', '.join(f'{k} {v:.4g}' for k, v in row.items())}")
    print("\n".join(lines))
    print(f"{folder.folder / CARD}  use them with --solver fitted ({time.monotonic() - begun:.0f} s)")
    return 0


def _written(folder: Path, card: dict[str, Any]) -> dict[str, Any]:
    atomic_write_text(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return card
