"""Twisted sequential Monte Carlo: particles whose proposals lean to the reward, and whose weights make it right.

The target is the law of the walk tilted by exp(reward(x_0)).  At each step the reward of the prediction stands in for
the final one; the proposal leans by the tilt of the kernel that is natural to its space, and the weight

    exp(g_s reward(q_s) - g_t reward(q_t)) kernel(x_s | x_t) / proposal(x_s | x_t)

is exact whatever the lean and whatever share g of the reward counts on the way, as long as all of it counts at the end:
a bad choice costs spread and never bias (Wu et al. 2023, "Twisted diffusion sampler").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.gradients import differentiable, fresh
from core.noise import Noise
from core.process import Process
from core.requirements import Unsuited
from core.sampling import Step
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.state import Prediction, State, Time, leaves, part, wide
from core.steering import Reward, at_clean_end, resampled


def _each_part(process: Process, function: Callable[..., Any], *values: Any) -> Any:
    """`function(process, *values)`, or a dict of such results, one a part of a product."""
    if isinstance(process, Product):
        return {
            name: _each_part(inner, function, *(part(v, name) for v in values))
            for name, inner in process.parts.items()
        }
    return function(process, *values)


def _root(process: Any, x: Tensor) -> Tensor | None:
    """A zero to differentiate by, in the tangent space of `x`; None for tokens, which have none."""
    if isinstance(process, Categorical):
        return None
    if isinstance(process, Gaussian):
        return torch.zeros_like(wide(x)).requires_grad_(True)
    if not hasattr(process, "manifold"):
        raise Unsuited(f"Twisted steering is not defined for {type(process).__name__} processes")
    return torch.zeros_like(process.manifold.log(x, x)).requires_grad_(True)


def _moved(process: Any, x: Tensor, root: Tensor | None) -> Tensor:
    if root is None:
        return x
    moved: Tensor = x + root if isinstance(process, Gaussian) else process.manifold.exp(x, root)
    return moved


def _probabilities(process: Any, q: Tensor) -> Tensor | None:
    """Those of tokens, to differentiate by; None for parts that have a tangent space."""
    if not isinstance(process, Categorical):
        return None
    probs = wide(q).softmax(-1)
    return probs if probs.requires_grad else probs.requires_grad_(True)


def _seen(process: Any, q: Tensor, probs: Tensor | None) -> Tensor:
    return q if probs is None else probs.clamp_min(1e-30).log()


def _degenerate(process: Any, s: Tensor) -> bool:
    """Whether the kernel onto `s` draws nothing, so that there is nothing to lean: smooth parts at t = 0."""
    return bool(process.smooth) and float(s) == 0


@dataclass(frozen=True)
class Slope:
    """A prediction, its reward, and where the reward rises.

    Attributes:
        prediction: The denoiser's.
        reward: Of it, `[particles]`.
        rise: The reward's derivative, part by part: by the state, a tangent vector at it, where it is smooth; by the
            prediction's probabilities for tokens.
    """

    prediction: Prediction
    reward: Tensor
    rise: Any


def slope(f: Denoiser, x: State, t: Time, reward: Reward) -> Slope:
    """The reward of the prediction at `x` and its derivative, through the denoiser where a part is smooth.

    Args:
        f: The denoiser; differentiable where a part of the state is smooth.
        x: The state `[particles, ...]`.
        t: The time, one for all particles.
        reward: prediction -> `[particles]`; where it cannot be differentiated it rises nowhere.
    """
    process = f.process
    with differentiable():
        x = fresh(x)
        roots = _each_part(process, _root, x)
        q = f(_each_part(process, _moved, x, roots), t)
        probs = _each_part(process, _probabilities, q)
        value = reward(_each_part(process, _seen, q, probs))
        wanted = [leaf for tree in (roots, probs) for _, leaf in leaves(tree)]
        found = torch.autograd.grad(value.sum(), wanted, allow_unused=True) if value.requires_grad else ()
    known = {id(leaf): rise for leaf, rise in zip(wanted, found, strict=False) if rise is not None}

    def rise(process: Any, root: Tensor | None, probs: Tensor | None) -> Tensor:
        leaf = probs if root is None else root
        assert leaf is not None
        return known.get(id(leaf), torch.zeros_like(leaf)).detach()

    plain = _each_part(process, lambda _, v: v.detach(), q)
    return Slope(plain, value.detach(), _each_part(process, rise, roots, probs))


def leaning(
    process: Process, q: Prediction, rise: Any, x: State, t: Time, s: Time, strength: float = 1.0
) -> Prediction:
    """The prediction to which the proposal of x_s is a bridge.

    The kernel's mean moves by its variance times the derivative by the state (Wu et al. 2023, section 3).  Each token's
    clean law is tilted by exp of the derivative by its probability: the exact per-site tilt where the reward is a sum
    over sites of expectations, the first-order one elsewhere.  A kernel that draws nothing does not lean.

    Args:
        process: The process.
        q: The prediction at `x`.
        rise: See `Slope`.
        x: The state at `t`, `[particles, ...]`.
        t: The time left.
        s: The time to reach.
        strength: How far to lean.
    """

    def one(process: Any, q: Tensor, rise: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        if isinstance(process, Categorical):
            return wide(q).log_softmax(-1).clamp_min(-1e4) + strength * rise
        if float(s) == 0:
            return q
        kernel = process.bridge(q, x, t, s, 1.0)
        if isinstance(process, Gaussian):
            ones = torch.ones_like(wide(x))
            lead = process.bridge(ones, torch.zeros_like(ones), t, s, 1.0).mean
            shift = strength * kernel.std**2 * rise
            if process.project is not None:
                shift = process.project(shift)
            return wide(q) + torch.where(lead > 0, shift / lead.clamp_min(1e-30), 0.0)
        ratio = torch.exp(process.log_snr(t) - process.log_snr(s))  # sigma_s / sigma_t
        share = (1 - ratio**2).clamp_min(1e-30)  # of the way to q that the ancestral step goes
        curved: Tensor = process.manifold.exp(
            x, process.manifold.log(x, q) + strength * kernel.std**2 / share * rise
        )
        return curved

    return _each_part(process, one, q, rise, x, t, s)


def log_ratio(process: Process, plain: Any, lent: Any, x: State, t: Time, s: Time, y: State) -> Tensor:
    """Logarithm of kernel(y | x) / proposal(y | x), `[particles]`, over the parts that draw anything.

    Args:
        process: The process.
        plain: The prediction of the kernel.
        lent: The prediction of the proposal.
        x: The state at `t`.
        t: The time left.
        s: The time reached.
        y: The state there.
    """

    def one(process: Any, plain: Any, lent: Any, x: Tensor, t: Tensor, s: Tensor, y: Tensor) -> Tensor:
        if _degenerate(process, s):
            return torch.zeros(len(y), dtype=torch.float64, device=y.device)
        above, below = process.bridge(plain, x, t, s, 1.0), process.bridge(lent, x, t, s, 1.0)
        difference: Tensor = above.log_prob(y) - below.log_prob(y)
        return difference.double()

    parts = _each_part(process, one, plain, lent, x, t, s, y)
    return torch.stack([value for _, value in leaves(parts)]).sum(0)


def by_uncertainty(process: Gaussian, std: float, data_std: float = 1.0) -> Callable[[Tensor], float]:
    """For a Gaussian measurement: the share std^2 / (std^2 + r_t^2) of its log-likelihood, for `Twisted.temper`.

    r_t^2 is the variance of x_0 given x_t for normal data, as in pseudoinverse guidance (Song et al. 2023, sec. 3.3).

    Args:
        process: Of the denoiser.
        std: Of the measurement's noise.
        data_std: Of the data.
    """

    def share(t: Tensor) -> float:
        alpha, sigma = (float(v) for v in process.schedule(t))
        spread = (data_std * sigma) ** 2 / ((data_std * alpha) ** 2 + sigma**2)
        return std**2 / (std**2 + spread)

    return share


@dataclass(frozen=True)
class Twisted:
    """The twisted diffusion sampler (Wu et al. 2023, algorithm 1), on R^n, tokens, rotations and products of them.

    The batch is the population of particles.  After the last step, onto clean data, all count alike, and
    `Step.memory["log_normaliser"]` estimates log E[exp(reward(x_0))] under the ancestral walk; its exponential is
    unbiased.  The reward has to be differentiable by the prediction; where it is not, particles do not lean.

    Attributes:
        reward: prediction -> `[particles]`, in nats.
        threshold: Particles are resampled when their effective number falls below this share of all.
        strength: How far proposals lean; any value leaves the target as it is.
        temper: t -> the share of the reward that counts at time t, 1 at the end; any leaves the target as it is.  A
            sharp reward judges early predictions as if they were certain, and all but one particle die: see
            `by_uncertainty`.
    """

    reward: Reward
    threshold: float = 0.5
    strength: float = 1.0
    temper: Callable[[Tensor], float] | None = None
    order = 1
    evaluations = 1

    def _reward_at(self, t: Time) -> Reward:
        share = 1.0 if self.temper is None else self.temper(t)
        return self.reward if share == 1 else lambda q: share * self.reward(q)

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation and its gradient (two at the first, none after the last).

        Memory: prediction, its reward and where it rises, log-weights, log-normaliser.
        """
        process = f.process
        if memory is None:
            first = slope(f, x, t, self._reward_at(t))
            memory = {**vars(first), "log_weights": first.reward.double(), "log_normaliser": 0.0}
        x, memory = resampled(x, memory, noise.at("resample"), self.threshold)
        q, old = memory["prediction"], memory["reward"]
        lent = leaning(process, q, memory["rise"], x, t, s, self.strength)
        y = process.bridge(lent, x, t, s, 1.0).sample(noise.at("move"))
        end = at_clean_end(s)
        if end:
            certain = process.point(y)
            new = Slope(certain, self.reward(certain), memory["rise"])
        else:
            new = slope(f, y, s, self._reward_at(s))
        grown = new.reward.double() - old.double() + log_ratio(process, q, lent, x, t, s, y)
        after = {**vars(new), "log_weights": memory["log_weights"] + grown, "aimed": q}
        after["log_normaliser"] = memory["log_normaliser"]
        if end:
            y, after = resampled(y, after, noise.at("last"), self.threshold, always=True)
        return Step(s, y, after.pop("aimed"), after)
