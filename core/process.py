"""The verbs of a process: the only code that knows what kind of thing a state is.

A process corrupts data x_0 into noise x_1.  Solvers, guides, losses, steering and everything else in the core are
written in these verbs, and so hold for images, tokens, rotations and products of these alike:

    prior       x_1 ~ q(x_1)
    corrupt     x_t ~ q(x_t | x_0)
    renoise     x_t ~ q(x_t | x_s), t >= s: forward again from a state that is noisy already
    target      what a denoiser regresses at x_t: x_0 itself, save on curved spaces
    point       the prediction that is certain of x_0
    bridge      the kernel q(x_s | x_t, prediction), s < t
    blend       a weighted combination of predictions; weights sum to one and may be negative
    divergence  how far a prediction is from another, per sample: the loss, and the distance everywhere else
    log_snr     the clock in which predictions vary smoothly
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from core.noise import Noise
from core.state import Prediction, State, Time


class Kernel(Protocol):
    """A distribution from which the next state is drawn."""

    def sample(self, noise: Noise) -> State:
        """A state `[batch, ...]`; draws nothing where the kernel is deterministic."""
        ...

    def log_prob(self, x: State) -> Tensor:
        """Log-density or log-mass of `x`, in nats, `[batch]`."""
        ...


class Process(Protocol):
    """How a kind of state is corrupted; see the module's page for the verbs.

    Times are 0-dimensional or `[batch]` tensors in [0, 1], or mappings of these, one a part; 0 is clean, 1 the prior.
    """

    @property
    def smooth(self) -> Any:
        """Whether predictions vary smoothly in `log_snr` (True, False, or one a part): jumps do not extrapolate."""
        ...

    def prior(self, like: State, noise: Noise) -> State:
        """A draw of x_1 with the shape, dtype and device of `like`."""
        ...

    def corrupt(self, x0: State, t: Time, noise: Noise) -> State:
        """A draw of x_t given clean data `x0`."""
        ...

    def renoise(self, x: State, s: Time, t: Time, noise: Noise) -> State:
        """A draw of x_t given x_s = `x`, for t >= s; `x` itself where t = s.

        Corrupting to s and renoising to t has the law of corrupting to t.  Restarts, RePaint's time travel and
        multistep consistency sampling are walks that renoise now and then.
        """
        ...

    def point(self, x0: State) -> Prediction:
        """The prediction that puts all its mass on `x0`."""
        ...

    def target(self, x0: State, x: State, t: Time) -> Prediction:
        """What a denoiser is regressed on at the corrupted state `x`."""
        ...

    def bridge(self, q: Prediction, x: State, t: Time, s: Time, eta: Any = 1.0) -> Kernel:
        """The kernel of x_s given x_t = `x` and the prediction `q`, for s < t.

        Args:
            eta: 1 is the ancestral kernel, 0 the deterministic one where the space has one; between them it
                interpolates.  One number, or one a part.
        """
        ...

    def blend(self, x: State, qs: Sequence[Prediction], ws: Sequence[Any]) -> Prediction:
        """The combination of predictions made at `x`, with weights that sum to one (numbers, or one a part)."""
        ...

    def divergence(self, x: State, p: Prediction, q: Prediction) -> Tensor:
        """How far `q` is from `p`, both made at `x`: `[batch]`, zero where they agree."""
        ...

    def log_snr(self, t: Time) -> Any:
        """log(alpha_t / sigma_t), decreasing in t; one a part for products."""
        ...
