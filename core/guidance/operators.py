"""Measurement operators y = A x on R^n: forward, adjoint, pseudo-inverse, and solving with A A^T."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from core.gradients import differentiable
from core.state import wide


class Operator(Protocol):
    """A linear map from states `[batch, ...]` to measurements `[batch, m]`."""

    def __call__(self, x: Tensor) -> Tensor:
        """A x."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y, of the state's shape."""
        ...

    def solve(self, y: Tensor, scale: float, shift: float) -> Tensor:
        """(scale A A^T + shift)^+ y, `[batch, m]`; numbers at least 0, not both 0."""
        ...

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y = A^T (A A^T)^+ y, of the state's shape."""
        ...


class Spectral(Operator, Protocol):
    """An operator whose singular vectors are known, A = U S V^T with `k` singular values above zero."""

    @property
    def singular(self) -> Tensor:
        """The singular values `[k]`."""
        ...

    def into(self, x: Tensor) -> Tensor:
        """V^T x, `[batch, k]`."""
        ...

    def back(self, c: Tensor) -> Tensor:
        """V c, of the state's shape."""
        ...

    def coordinates(self, y: Tensor) -> Tensor:
        """S^-1 U^T y, `[batch, k]`: V^T of any x with A x = y."""
        ...


@dataclass(frozen=True)
class Matrix:
    """A matrix on flattened states, by its singular value decomposition.

    Attributes:
        matrix: `[m, n]`.
        shape: Of one state, without the batch; `(n,)` where empty.
    """

    matrix: Tensor
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        u, s, vh = torch.linalg.svd(self.matrix.double(), full_matrices=False)
        above = s > s.max() * 1e-10
        object.__setattr__(self, "_svd", (u[:, above], s[above], vh[above]))

    @classmethod
    def of(cls, function: Callable[[Tensor], Tensor], like: Tensor) -> Matrix:
        """The matrix of a linear function from `[batch, ...]` to `[batch, m]`.

        Args:
            function: Blur, downsampling, a projection ...
            like: One state, without the batch; small enough that its n x n identity fits in memory.
        """
        eye = torch.eye(like.numel(), dtype=torch.float64, device=like.device).reshape(-1, *like.shape)
        return cls(function(eye).flatten(1).T, tuple(like.shape))

    def _factors(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        u, s, vh = self._svd  # type: ignore[attr-defined]
        return u.to(like), s.to(like), vh.to(like)

    def _shaped(self, flat: Tensor) -> Tensor:
        return flat.reshape(-1, *(self.shape or flat.shape[1:]))

    def __call__(self, x: Tensor) -> Tensor:
        """A x, `[batch, m]`."""
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y."""
        return self._shaped(y @ self.matrix.to(y))

    def solve(self, y: Tensor, scale: float, shift: float) -> Tensor:
        """(scale A A^T + shift)^+ y, by the singular values, `[batch, m]`."""
        u, s, _ = self._factors(y)
        inner = (y @ u) / (scale * s**2 + shift)
        outside = (y - (y @ u) @ u.T) / shift if shift > 0 else 0.0
        return inner @ u.T + outside

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y."""
        return self.back(self.coordinates(y))

    @property
    def singular(self) -> Tensor:
        """The singular values above zero, float64 `[k]`."""
        values: Tensor = self._svd[1]  # type: ignore[attr-defined]
        return values

    def into(self, x: Tensor) -> Tensor:
        """V^T x."""
        return x.flatten(1) @ self._factors(x)[2].T

    def back(self, c: Tensor) -> Tensor:
        """V c, of coordinates `[batch, k]`."""
        return self._shaped(c @ self._factors(c)[2])

    def coordinates(self, y: Tensor) -> Tensor:
        """S^-1 U^T y, of measurements `[batch, m]`."""
        u, s, _ = self._factors(y)
        return (y @ u) / s


@dataclass(frozen=True)
class Mask:
    """Entries of the state as they are: inpainting.

    Attributes:
        mask: Booleans of the shape of one state, without the batch; y has one number for each that is set.
    """

    mask: Tensor

    @property
    def _chosen(self) -> Tensor:
        return self.mask.flatten().nonzero()[:, 0]

    def __call__(self, x: Tensor) -> Tensor:
        """The entries that are set, `[batch, m]`."""
        return x.flatten(1)[:, self._chosen]

    def adjoint(self, y: Tensor) -> Tensor:
        """The entries `[batch, m]` in their places, zero elsewhere."""
        flat = y.new_zeros(len(y), self.mask.numel())
        return flat.index_copy(1, self._chosen, y).reshape(-1, *self.mask.shape)

    def solve(self, y: Tensor, scale: float, shift: float) -> Tensor:
        """Y / (scale + shift), `[batch, m]`, since A A^T is the identity."""
        return y / (scale + shift)

    def pinv(self, y: Tensor) -> Tensor:
        """The adjoint."""
        return self.adjoint(y)

    @property
    def singular(self) -> Tensor:
        """Ones `[m]`."""
        return torch.ones(len(self._chosen), dtype=torch.float64, device=self.mask.device)

    def into(self, x: Tensor) -> Tensor:
        """The entries that are set."""
        return self(x)

    def back(self, c: Tensor) -> Tensor:
        """The adjoint of `[batch, m]`."""
        return self.adjoint(c)

    def coordinates(self, y: Tensor) -> Tensor:
        """The measurements `[batch, m]` themselves."""
        return y


@dataclass(frozen=True)
class Linear:
    """A linear function too large for a matrix (blur, downsampling), by autograd and conjugate gradients.

    Attributes:
        function: From states `[batch, ...]` to measurements `[batch, m]`; differentiable and linear.
        shape: Of one state, without the batch.
        iterations: Conjugate gradient steps at most.
        tolerance: Residual over the right side at which they stop.
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    iterations: int = 100
    tolerance: float = 1e-6

    def __call__(self, x: Tensor) -> Tensor:
        """A x, `[batch, m]`."""
        return self.function(x).flatten(1)

    def adjoint(self, y: Tensor) -> Tensor:
        """A^T y of measurements `[batch, m]`, by one vector–Jacobian product."""
        with differentiable():
            x = torch.zeros(len(y), *self.shape, dtype=y.dtype, device=y.device, requires_grad=True)
            out: Tensor = torch.autograd.grad(self(x), x, y.detach().clone())[0]
        return out

    def solve(self, y: Tensor, scale: float, shift: float) -> Tensor:
        """(scale A A^T + shift)^-1 y of measurements `[batch, m]`, by conjugate gradients."""
        solution = torch.zeros_like(y)
        residual = direction = wide(y)
        square = residual.square().sum(1, keepdim=True)
        goal = self.tolerance**2 * square
        tiny = torch.finfo(residual.dtype).tiny
        for _ in range(self.iterations):
            if bool((square <= goal).all()):
                break
            image = scale * self(self.adjoint(direction)) + shift * direction
            length = square / (direction * image).sum(1, keepdim=True).clamp_min(tiny)
            solution = solution + length * direction
            residual = residual - length * image
            new = residual.square().sum(1, keepdim=True)
            direction, square = residual + new / square.clamp_min(tiny) * direction, new
        return solution

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y of measurements `[batch, m]` in the range of A."""
        return self.adjoint(self.solve(y, 1.0, 0.0))
