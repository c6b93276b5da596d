"""Known elements within one part: they are held at clock 0 while the rest is noised and walked back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from core.noise import Noise
from core.process import Process
from core.state import append_axes, time64


class Elementwise(Protocol):
    """A kernel that is independent over elements and knows the log-probability of each."""

    def sample(self, noise: Noise) -> Tensor:
        """A state `[batch, ...]`."""
        ...

    def log_probs(self, x: Tensor) -> Tensor:
        """Log-probability of each element, point or token of `x`, in nats, `[batch, ...]`."""
        ...


@dataclass(frozen=True)
class Held:
    """A kernel whose known elements stay as they are.

    Attributes:
        kernel: The kernel of all elements.
        x: The state that it starts from, `[batch, ...]`.
        known: bool, broadcastable over the elements of `x`.
    """

    kernel: Elementwise
    x: Tensor
    known: Tensor

    def sample(self, noise: Noise) -> Tensor:
        """A draw of the unknown elements among the known ones."""
        y = self.kernel.sample(noise)
        return torch.where(_over(self.known, y), self.x.to(y.dtype), y)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of the unknown elements given the known ones, nats, `[batch]`."""
        each_one = self.kernel.log_probs(x)
        return torch.where(_over(self.known, each_one), 0.0, each_one).reshape(len(x), -1).sum(1)


def _over(known: Tensor, x: Tensor) -> Tensor:
    """`known` with axes appended until it broadcasts over `x`: a point or a row of logits is known as a whole."""
    return known.to(x.device).reshape(known.shape + (1,) * (x.ndim - known.ndim))


@dataclass(frozen=True, eq=False)
class Masked:
    """A process of which some elements are known: inpainting and scaffolding within one part.

    Known elements keep their clean values in every verb; only the others count in divergences and log-probabilities.
    The denoiser sees them clean and must know which they are: a network is trained so (`target` and `corrupt` are this
    process' own), an exact denoiser is asked at `clocks`.  Kernels of the process must be elementwise, as those of
    `Gaussian` without a projection, `Categorical` and `Brownian` are.

    Attributes:
        process: Of all elements.
        known: bool, True where known, `[batch, ...]` or with 1 for the batch; of a state's elements, of its tokens, or
            of its points (a rotation is known as a whole).

    Raises:
        ValueError: If `known` is not a bool tensor with the state's axes.
    """

    process: Process
    known: Tensor

    def __post_init__(self) -> None:
        if self.known.dtype != torch.bool or self.known.ndim < 2:
            raise ValueError(
                "known must be a bool tensor of the state's axes, the batch's included (1 for all samples)"
            )

    @property
    def smooth(self) -> Any:
        """As of the process."""
        return self.process.smooth

    def log_snr(self, t: Tensor) -> Any:
        """The clock of the unknown elements."""
        return self.process.log_snr(t)

    def clocks(self, t: Tensor, like: Tensor) -> Tensor:
        """The time of each element, 0 where it is known; float64 `[batch, ...]`, with the axes of `known`.

        Args:
            t: 0-dimensional or `[batch]`.
            like: A state `[batch, ...]`.
        """
        shape = torch.broadcast_shapes(self.known.shape, like.shape[: self.known.ndim])
        times = append_axes(time64(t), like.double().reshape(*like.shape[: self.known.ndim], -1)[..., 0])
        return torch.where(self.known, 0.0, times.double()).expand(shape)

    def _keep(self, clean: Tensor, x: Tensor) -> Tensor:
        return torch.where(_over(self.known, x), clean.to(x.dtype), x)

    def prior(self, like: Tensor, noise: Noise) -> Tensor:
        """x_1 among the known elements of `like` `[batch, ...]`, which must be clean there."""
        return self._keep(like, self.process.prior(like, noise))

    def corrupt(self, x0: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_0; known elements stay."""
        return self._keep(x0, self.process.corrupt(x0, t, noise))

    def renoise(self, x: Tensor, s: Tensor, t: Tensor, noise: Noise) -> Tensor:
        """x_t given x_s, t >= s; known elements stay."""
        return self._keep(x, self.process.renoise(x, s, t, noise))

    def point(self, x0: Tensor) -> Any:
        """As of the process."""
        return self.process.point(x0)

    def target(self, x0: Tensor, x: Tensor, t: Tensor) -> Any:
        """As of the process; at known elements the clean data itself."""
        return self._keep(self.process.point(x0), self.process.target(x0, x, t))

    def bridge(self, q: Tensor, x: Tensor, t: Tensor, s: Tensor, eta: Any = 1.0) -> Held:
        """The process' kernel for the unknown elements; the known stay, whatever is predicted of them."""
        return Held(self.process.bridge(q, x, t, s, eta), x, self.known)  # type: ignore[arg-type]  # elementwise

    def blend(self, x: Tensor, qs: Sequence[Any], ws: Sequence[Any]) -> Any:
        """As of the process."""
        return self.process.blend(x, qs, ws)

    def divergence(self, x: Tensor, p: Any, q: Any) -> Tensor:
        """The mean over unknown elements, `[batch]`; zero where all are known."""
        # Known elements agree and add nothing; the mean over all is put right to one over the unknown.
        among = self.process.divergence(x, p, self._keep(p, q))
        whole = self.known.expand(torch.broadcast_shapes(self.known.shape, x.shape[: self.known.ndim]))
        unknown = (~whole).to(among).flatten(1).mean(1)
        return torch.where(unknown > 0, among / unknown.clamp_min(1e-30), 0.0)


@dataclass(frozen=True)
class Knowing:
    """A denoiser of `Masked` states made of one that takes a time an element, as exact denoisers do.

    Attributes:
        inner: Called with times `[batch, ...]` of each element, 0 where it is known.
        process: Which elements those are.
    """

    inner: Any
    process: Masked

    def __call__(self, x: Tensor, t: Tensor) -> Any:
        """The prediction of all elements."""
        return self.inner(x, self.process.clocks(t, x))
