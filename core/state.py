"""States, times and predictions: a tensor, or a dict of tensors for joint states; and maps over both alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

# A state is a `Tensor` or, for products, a `dict[str, Tensor]`; which of them, its process says.  Static types leave it
# open, so that a solver takes any process while a Gaussian's own methods say `Tensor`.
State: TypeAlias = Any
Prediction: TypeAlias = Any
Time: TypeAlias = Any


def part(value: Any, name: str) -> Any:
    """The entry of `value` that belongs to the part `name`; one value for all parts is shared by them."""
    return value[name] if isinstance(value, Mapping) else value


def each(function: Callable[..., Any], *values: Any) -> Any:
    """Applies `function` to numbers or tensors, or part by part where any of them is a mapping.

    Args:
        function: Takes one argument a value.
        values: Scalars, tensors, or mappings with equal keys; a plain value is shared by all parts.

    Returns:
        `function(*values)`, or a dict of such results.
    """
    for value in values:
        if isinstance(value, Mapping):
            return {name: each(function, *(part(v, name) for v in values)) for name in value}
    return function(*values)


def leaves(value: Any) -> list[tuple[str, Tensor]]:
    """(dotted part name, tensor) for every tensor in a state; the name of a plain tensor is empty."""
    if isinstance(value, Mapping):
        return [
            (f"{name}.{inner}" if inner else name, leaf)
            for name in value
            for inner, leaf in leaves(value[name])
        ]
    return [("", value)] if isinstance(value, Tensor) else []


def take(value: Any, index: Any) -> Any:
    """Indexes the leading (batch) axis of every tensor in `value`."""
    return each(lambda v: v[index], value)


def batch_size(x: State) -> int:
    """Number of samples in a state."""
    return len(leaves(x)[0][1])


def append_axes(t: Tensor, x: Tensor) -> Tensor:
    """Appends axes to a `[batch]` tensor until it broadcasts over `x`; a scalar stays as it is.

    A 0-dimensional tensor keeps its float64, since PyTorch then neither promotes `x` nor loses digits; a `[batch]`
    tensor is cast to the device and dtype of `x`, but to float32 at the least.
    """
    if t.ndim == 0:
        return t
    dtype = torch.promote_types(x.dtype, torch.float32)
    return t.to(device=x.device, dtype=dtype).reshape(t.shape + (1,) * (x.ndim - t.ndim))


def wide(x: Tensor) -> Tensor:
    """`x`, in float32 where it is of half precision: 8 bits would lose the small differences that a step makes."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def time64(t: Tensor | float) -> Tensor:
    """`t` as float64: schedules are evaluated in double precision whatever the state's dtype."""
    return torch.as_tensor(t, dtype=torch.float64)
