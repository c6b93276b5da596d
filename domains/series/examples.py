"""Example input: the weekly carbon dioxide record of Mauna Loa, which has real gaps."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from domains.common.cache import cache_home
from domains.common.errors import MissingLibrary
from domains.common.files import atomic_write_bytes

CO2_NAME = "mauna_loa_co2.csv"
# Of the file that `_co2_bytes` makes: an intact copy is used without loading statsmodels.
CO2_SHA256 = "c81c3530b5079ec397531291a770113dde31613ef3cc319b6ffc95a6d41d0b68"


def co2_table() -> Path:
    """Weekly CO2 at Mauna Loa, 1958–2001, in parts per million by volume: 2,284 rows of which 59 are missing.

    The record of C. D. Keeling and T. P. Whorf, as statsmodels carries it. It is written once, into the person's cache
    folder, or into a temporary folder where that cannot be written to; the bytes are always the same.

    Raises:
        MissingLibrary: If statsmodels is not installed and no intact copy is there.
    """
    path = _folder() / CO2_NAME
    if not _intact(path):
        atomic_write_bytes(path, _co2_bytes())
    return path


def _co2_bytes() -> bytes:
    try:
        from statsmodels.datasets import co2
    except ImportError:
        raise MissingLibrary("statsmodels", "series") from None
    series = co2.load_pandas().data["co2"]
    lines = ["date,co2_ppm"]
    for day, value in series.items():
        lines.append(f"{day:%Y-%m-%d},{'' if value != value else format(value, '.1f')}")
    return ("\n".join(lines) + "\n").encode()


def _intact(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == CO2_SHA256
    except OSError:
        return False


@lru_cache(maxsize=1)
def _folder() -> Path:
    folder = cache_home() / "langevin" / "examples"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK) or _intact(folder / CO2_NAME):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="langevin-examples-"))
