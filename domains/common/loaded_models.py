"""Models that stay in memory between requests, found by name or folder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from core.checkpoint import BadModel
from domains.common.errors import BadInput
from domains.common.models import CARD, find_model

M = TypeVar("M")
_KEPT = 4


class LoadedModels(Generic[M]):
    """Loads models of one kind, each once; one whose files have changed is loaded again.

    Args:
        load: (folder, device) -> the model, ready to sample.
        default: The built-in model that is taken where none is named.
    """

    def __init__(self, load: Callable[[Path, str], M], default: str) -> None:
        self._load, self._default, self._lock = load, default, Lock()
        self._kept: OrderedDict[tuple[Path, int, int, str], M] = OrderedDict()

    def __call__(self, name: str | None, device: str = "cpu") -> M:
        """A built-in or installed model by name, or one in a folder that `train` made.

        Raises:
            BadInput: If there is none, it is damaged, or of another kind.
        """
        found = find_model(name or self._default)
        try:
            stamps = [path.stat().st_mtime_ns for path in (found.weights, found.folder / CARD)]
            key = (found.folder, stamps[0], stamps[1], device)
            with self._lock:
                if key not in self._kept:
                    self._kept[key] = self._load(found.folder, device)
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
                self._kept.move_to_end(key)
                return self._kept[key]
        except (BadModel, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            if isinstance(error, BadInput):
                raise
            raise BadInput("model", f"{found.name} cannot be used: {error}") from None
