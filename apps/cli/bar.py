"""The progress bar, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from apps.engine.progress import Progress, ProgressMeter


@contextmanager
def progress_bar(wanted: bool | None = None) -> Iterator[Callable[[Progress], None]]:
    """A bar that shows each `Progress` it is given, with the time left.

    Args:
        wanted: True shows it, False does not, None shows it on a terminal.
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda moment: None
        return
    from tqdm import tqdm

    bar = tqdm(
        total=1.0,
        file=sys.stderr,
        leave=False,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}% |{bar}| {desc}",
    )

    def show(moment: Progress) -> None:
        left = "" if moment.left is None else f", {duration(moment.left)} left"
        bar.set_description_str(
            f"{moment.message or 'working'}, {duration(moment.elapsed)}{left}", refresh=False
        )
        bar.update(moment.fraction - bar.n)
        if moment.fraction == 1.0:
            bar.refresh()

    try:
        yield show
    finally:
        bar.close()


@contextmanager
def plain_progress(wanted: bool | None = None) -> Iterator[Callable[[float, float, str], None]]:
    """As `progress_bar`, for work that says `(done, total, message)`."""
    meter = ProgressMeter()
    with progress_bar(wanted) as show:

        def told(done: float, total: float, message: str = "") -> None:
            show(meter.update(done, total, message))

        yield told


def duration(seconds: float) -> str:
    """A duration in the digits that an estimate deserves.

    >>> duration(0.4), duration(12.3), duration(75), duration(4000)
    ('0.4 s', '12 s', '1 min 15 s', '1 h 7 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
