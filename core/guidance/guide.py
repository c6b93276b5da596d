"""What guides share: the denoiser inside, and how a gradient moves clean data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor

from core.process import Process
from core.spaces.gaussian import Gaussian
from core.state import Time


@dataclass(frozen=True)
class Guide:
    """A denoiser around a denoiser.

    Guides nest in the order Preconditioned -> Adapted -> Cached -> Guided -> Measured.

    Attributes:
        inner: The denoiser inside.
    """

    inner: Any

    @property
    def process(self) -> Process:
        """The process of the denoiser inside."""
        process: Process = self.inner.process
        return process

    def given(self, cond: Any) -> Self:
        """The same guide around the denoiser with `cond` bound."""
        return replace(self, inner=self.inner.given(cond))


def gain(process: Gaussian, x: Tensor, t: Time) -> Tensor:
    """sigma^2 / alpha: by how much a unit of gradient of log p(y | x_t) moves the mean of clean data.

    Args:
        process: Of the denoiser.
        x: The state `[batch, ...]`.
        t: Its time; alpha must not be 0, so grids of guided walks start below t = 1.

    Returns:
        0-dimensional, or one number a sample ready to multiply with `x`.
    """
    alpha, sigma = process.scales(t, x)
    return sigma**2 / alpha


def projected(process: Gaussian, gradient: Tensor) -> Tensor:
    """The gradient `[batch, ...]`, on the subspace on which the process lives."""
    return gradient if process.project is None else process.project(gradient)
