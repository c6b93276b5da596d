"""The person's cache folder: what can be made again, kept so that it need not be."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from pathlib import Path


@cache
def cache_folder(name: str) -> Path:
    """A folder of ours called `name`, made where it is absent; a temporary one where the cache cannot be written to."""
    folder = cache_home() / "langevin" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"langevin-{name}-"))


def cache_home() -> Path:
    """Where this system keeps caches: `XDG_CACHE_HOME` where it is set and absolute."""
    stated = os.environ.get("XDG_CACHE_HOME", "")
    if stated and Path(stated).is_absolute():
        return Path(stated)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
