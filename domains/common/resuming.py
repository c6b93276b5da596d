"""Walks that can be left and taken up again: what a task keeps of a step, and the step that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from core.sampling import Step


class Keeps(Protocol):
    """The part of a `Run` that remembers; see `domains.common.task.Run`."""

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        """Offers a checkpoint."""

    def kept(self, name: str) -> Any:
        """What an earlier attempt kept last, or None."""


class Forgetful:
    """Keeps nothing: for walks outside a run."""

    def keep(self, name: str, make: Callable[[], Any]) -> None:
        """Does nothing."""

    def kept(self, name: str) -> Any:
        """Nothing."""
        return None


def step_kept(step: Step) -> dict[str, Any]:
    """What `core.sampling.sample` needs of a step to go on after it."""
    return {"x": step.x, "memory": step.memory, "index": step.index}


def step_from(kept: Mapping[str, Any], device: str = "cpu") -> Step:
    """The step that `step_kept` described, for `sample(resume=...)`, which asks for no time and no prediction.

    Args:
        kept: What was kept.
        device: Where the walk goes on; times, which have no dimension, stay on the CPU.
    """
    x, memory = (_moved(kept[name], device) for name in ("x", "memory"))
    return Step(None, x, None, memory, kept["index"])


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device) if value.ndim else value
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, device) for item in value)
    return value
