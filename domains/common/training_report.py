"""What every training run leaves for people: the curve of its loss; and how several processes train together."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from domains.common.errors import MissingLibrary


def plot_loss(folder: Path, metrics: Sequence[str]) -> None:
    """Draws `loss.csv` of a training folder, and columns of its `metrics.csv` if there is one, to `loss.png`."""
    try:
        import matplotlib
    except ImportError:  # a bare training machine; the numbers are in the files
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [("loss.csv", ["loss"]), ("metrics.csv", [*metrics])]
    present = [(name, keys) for name, keys in panels if (folder / name).is_file()]
    if not present:
        return
    figure, axes = pyplot.subplots(1, len(present), figsize=(5.5 * len(present), 3.4), squeeze=False)
    for axis, (name, keys) in zip(axes[0], present, strict=True):
        with (folder / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        for key in [k for k in keys if rows and k in rows[0]]:
            minutes = [float(row["seconds"]) / 60 for row in rows]
            axis.plot(minutes, [float(row[key]) for row in rows], label=key.replace("_", " "))
        axis.set_xlabel("minutes of training")
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    temporary = folder / ".loss.png"
    figure.savefig(temporary, dpi=100, format="png")
    pyplot.close(figure)
    temporary.replace(folder / "loss.png")


def append_row(path: Path, row: dict[str, float]) -> None:
    """Appends a row to a CSV file, with a header where the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" for k, v in row.items()})


def in_processes(
    function: Callable[..., None], arguments: tuple[Any, ...], processes: int, device: str
) -> None:
    """Calls `function(*arguments)` once, or in several processes that `accelerate` joins.

    Raises:
        MissingLibrary: If several processes are asked for and accelerate is not installed.
    """
    if processes <= 1:
        function(*arguments)
        return
    try:
        from accelerate import debug_launcher, notebook_launcher
    except ImportError:
        raise MissingLibrary("accelerate", "train") from None
    if device == "cpu":
        debug_launcher(function, args=arguments, num_processes=processes)
    else:
        notebook_launcher(function, args=arguments, num_processes=processes)


def accelerator(processes: int, device: str) -> Any:
    """The `accelerate.Accelerator` of this process, or None where it trains alone."""
    if processes <= 1:
        return None
    from accelerate import Accelerator

    return Accelerator(cpu=device == "cpu")
