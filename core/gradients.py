"""Gradients, whatever mode the caller is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from core.state import each


@contextmanager
def differentiable() -> Iterator[None]:
    """Gradients are recorded inside, also under `torch.no_grad` and `torch.inference_mode`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def fresh(value: Any) -> Any:
    """Copies of tensors, cut from every graph; made inside `differentiable` they may enter a new one."""
    return each(lambda v: torch.as_tensor(v).detach().clone(), value)
