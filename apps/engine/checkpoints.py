"""Checkpoints of a run: states of walks in safetensors files, written atomically and not too often.

A state is a tree of tensors, arrays, numbers, strings, None, lists, tuples and dicts with string keys.  Its tensors are
stored as they are, bit for bit; the rest of the tree is JSON in the file's metadata.  Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from core.files import atomic_write_bytes
from domains.common.errors import Cancelled

_log = logging.getLogger(__name__)
_SHARE = 20  # a checkpoint is followed by at least so many times the time that it took: 5 % of a run at most
_LIMIT = 2 << 30  # bytes of a checkpoint


class Checkpoints:
    """The checkpoints of one job.

    Args:
        folder: Where they lie; made at the first one.
        fingerprint: What a checkpoint must have been made with to be of use: request, model, versions, threads.
        interval: Seconds between checkpoints, at least.
        on_kept: Told after one has been written.

    Attributes:
        suspend: Setting it makes the next `keep` write at once and end the run.
        resumed: Whether the run has taken a checkpoint up.
    """

    def __init__(
        self,
        folder: Path,
        fingerprint: Mapping[str, Any],
        interval: float = 5.0,
        on_kept: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.interval = folder, interval
        self.fingerprint = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
        self.suspend = Event()
        self.resumed = False
        self._on_kept = on_kept
        self._due = time.monotonic() + interval
        self._offered = False

    def usable(self) -> bool | None:
        """Whether there are checkpoints that fit this run; None where there are none at all."""
        found = list(self.folder.glob("*.safetensors"))
        return any(self._metadata(path) is not None for path in found) if found else None

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        """Writes `make()` under `name` where that is due.

        Raises:
            Cancelled: After writing, where the run is to be suspended.
        """
        self._offered = True
        suspending = self.suspend.is_set()
        if suspending or time.monotonic() >= self._due:
            began = time.monotonic()
            self._write(name, make())
            ended = time.monotonic()
            self._due = ended + max(self.interval, _SHARE * (ended - began))
        if suspending:
            raise Cancelled("the run was suspended")

    def kept(self, name: str) -> Any:
        """What was kept under `name` by a run of the same fingerprint; None where there is nothing."""
        from safetensors import safe_open

        path = self._path(name)
        tree = self._metadata(path)
        if tree is None:
            return None
        try:
            with safe_open(path, "pt" if '{"tensor": ' in tree else "np") as file:
                state = _join(json.loads(tree), file.get_tensor)
        except Exception as error:  # the library has errors of its own kind
            _log.warning("a checkpoint cannot be read (%s); the run begins anew", type(error).__name__)
            return None
        self.resumed = True
        return state

    def check(self) -> None:
        """Ends a run that is to be suspended and offers no checkpoints.

        Raises:
            Cancelled: If so.
        """
        if self.suspend.is_set() and not self._offered:
            raise Cancelled("the run was suspended")

    def clear(self) -> None:
        """Removes all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, state: Any) -> None:
        if _bytes(state) > _LIMIT:
            return
        tensors: dict[str, Any] = {}
        tree = json.dumps(_split(state, tensors))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            metadata = {"fingerprint": self.fingerprint, "tree": tree}
            atomic_write_bytes(self._path(name), _serialised(tensors, metadata))
        except OSError as error:  # a full disk: the run may still end well
            _log.warning("no checkpoint could be written: %s", error.strerror)
            return
        if self._on_kept is not None:
            self._on_kept()

    def _path(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.safetensors"

    def _metadata(self, path: Path) -> str | None:
        """The tree of a checkpoint of this fingerprint."""
        from safetensors import safe_open

        with contextlib.suppress(Exception), safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") == self.fingerprint:
                return str(metadata["tree"])
        return None


def _serialised(tensors: Mapping[str, Any], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file; loads torch only where a state holds tensors."""
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save as save_arrays

        return bytes(save_arrays(dict(tensors), metadata))
    import torch
    from safetensors.torch import save

    mixed = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in tensors.items()}
    return bytes(save(mixed, metadata))


def _bytes(value: Any) -> int:
    """What the tensors of a tree take."""
    if isinstance(value, Mapping):
        return sum(_bytes(item) for item in value.values())
    if isinstance(value, list | tuple):
        return sum(_bytes(item) for item in value)
    return int(getattr(value, "nbytes", 0))


def _split(value: Any, tensors: dict[str, Any]) -> Any:
    """A tree as JSON, its tensors moved to `tensors`; containers are tagged, so that they come back as they were."""
    if isinstance(value, np.ndarray):
        name = str(len(tensors))
        tensors[name] = np.array(value, order="C")
        return {"array": name}
    if hasattr(value, "detach"):  # a torch.Tensor
        import torch

        name = str(len(tensors))
        # A copy: states share memory with one another and with what the walk goes on to change.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": {str(key): _split(item, tensors) for key, item in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_split(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_split(item, tensors) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _join(value: Any, tensor: Callable[[str], Any]) -> Any:
    """The inverse of `_split`."""
    if isinstance(value, list):
        return [_join(item, tensor) for item in value]
    if isinstance(value, dict):
        ((kind, inner),) = value.items()
        if kind == "tensor":
            return tensor(inner)
        if kind == "array":
            found = tensor(inner)
            return (
                found if isinstance(found, np.ndarray) else found.numpy()
            )  # torch's, where tensors lie beside it
        if kind == "dict":
            return {key: _join(item, tensor) for key, item in inner.items()}
        return tuple(_join(item, tensor) for item in inner)
    return value
