"""Exact denoisers: laws whose diffusion is known in closed form.

Solvers, guides, likelihoods and steering are tested against these, and the Lab teaches with them.  Each takes a process
of its space and answers with the true prediction at any state and time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.noise import Noise
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical, Categories
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.spaces.rotations import igso3_log_density
from core.state import part, time64


@dataclass(frozen=True)
class GaussianMixture:
    """A mixture of isotropic normals in R^d; states `[batch, d]`.

    Attributes:
        process: Any Gaussian process.
        means: `[components, d]`.
        stds: `[components]`.
        weights: `[components]`, summing to one.
    """

    process: Gaussian
    means: Tensor
    stds: Tensor
    weights: Tensor

    def log_responsibilities(self, x: Tensor, t: Tensor) -> Tensor:
        """Log of weight times density of each component at `x`, up to a shared constant, `[batch, components]`."""
        alpha, sigma = (c if c.ndim == 0 else c[:, None].to(x) for c in self.process.schedule(time64(t)))
        variance = alpha**2 * self.stds**2 + sigma**2
        squares = (x[:, None] - _expand(alpha) * self.means).square().sum(-1)
        return self.weights.log() - 0.5 * (squares / variance + x.shape[1] * variance.log())

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """E[x_0 | x_t = x], `[batch, d]`."""
        alpha, sigma = (c if c.ndim == 0 else c[:, None].to(x) for c in self.process.schedule(time64(t)))
        gain = alpha * self.stds**2 / (alpha**2 * self.stds**2 + sigma**2)
        means = self.means + _expand(gain) * (x[:, None] - _expand(alpha) * self.means)
        return (self.log_responsibilities(x, t).softmax(-1)[..., None] * means).sum(1).to(x)

    def sample(self, noise: Noise, like: Tensor) -> Tensor:
        """Exact draws of x_0, of the shape of `like`."""
        z = noise.at("within").normal(like)
        k = Categories(self.weights.to(like).expand(len(like), -1)).sample(noise.at("component"))
        return self.means.to(like)[k] + self.stds.to(like)[k, None] * z


def _expand(c: Tensor) -> Tensor:
    return c[..., None] if c.ndim else c


@dataclass(frozen=True)
class RotationMixture:
    """A mixture of points on SO(3), each blurred to IGSO(3) by the process; states `[batch, 3, 3]`.

    Attributes:
        process: Brownian motion.
        centres: `[components, 3, 3]`.
        weights: `[components]`.
    """

    process: Brownian
    centres: Tensor
    weights: Tensor

    def _parts(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        sigma = self.process.schedule(time64(t))[1].clamp_min(1e-4)
        width = sigma[:, None] if sigma.ndim else sigma
        away = self.process.manifold.log(self.centres.to(x)[None], x[:, None])
        angle = away.norm(dim=-1)
        log_density, slope = igso3_log_density(angle, width)
        return away, angle, slope, self.weights.double().log() + log_density

    def log_responsibilities(self, x: Tensor, t: Tensor) -> Tensor:
        """Log of weight times density of each component at `x`, `[batch, components]`."""
        return self._parts(x, t)[3]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """exp_x(sigma^2 score), `[batch, 3, 3]`."""
        away, angle, slope, log_weight = self._parts(x, t)
        return self.aim(x, t, log_weight.softmax(-1), away, angle, slope)

    def aim(self, x: Tensor, t: Tensor, p: Tensor, away: Tensor, angle: Tensor, slope: Tensor) -> Tensor:
        """The prediction where the components' posterior is `p` `[batch, components]`."""
        sigma = self.process.schedule(time64(t))[1].clamp_min(1e-4)
        score = ((p * slope / angle.double().clamp_min(1e-7))[..., None] * away).sum(1)
        square = (sigma**2)[:, None] if sigma.ndim else sigma**2
        return self.process.manifold.exp(x, (square * score).to(x))


@dataclass(frozen=True)
class TokenTable:
    """A joint law of tokens given as a table; states int64 `[batch, length]`.

    Attributes:
        process: Any categorical process; its vocabulary may be larger than the table's by a mask token at the end.
        table: `[V] * length`, summing to one.
    """

    process: Categorical
    table: Tensor

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """Logits of each site's marginal posterior, `[batch, length, vocabulary]`."""
        size, length = self.table.shape[0], self.table.ndim
        joint = self.table[..., None].expand(*self.table.shape, len(x)).clone()
        transition = _transition(self.process, t, size, self.table.dtype)
        likelihoods = [_likelihood(transition, x[:, i]) for i in range(length)]
        for i in range(length):
            shape = [1] * (length + 1)
            shape[i], shape[-1] = size, len(x)
            joint = joint * likelihoods[i].T.reshape(shape)
        probs = torch.stack([_marginal(joint, i, length).T for i in range(length)], 1)
        # Tokens drawn in one step may reach a state of probability zero: each site then answers for itself.
        alone = torch.stack([_marginal(self.table, i, length) * likelihoods[i] for i in range(length)], 1)
        probs = torch.where(probs.sum(-1, keepdim=True) > 0, probs, alone)
        probs = torch.nn.functional.pad(probs, (0, self.process.vocabulary - size))
        return (probs / probs.sum(-1, keepdim=True)).log().clamp_min(-1e4)


def _marginal(table: Tensor, site: int, length: int) -> Tensor:
    """Sums out all of the first `length` axes but one."""
    others = [d for d in range(length) if d != site]
    return table.sum(others) if others else table  # PyTorch takes an empty list for all axes


def _transition(process: Categorical, t: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """q(x_t | x_0), `[size, vocabulary]` or `[batch, size, vocabulary]`."""
    keep = process.keep(t).to(dtype)
    keep = keep[:, None, None] if keep.ndim else keep
    eye = torch.eye(size, process.vocabulary, dtype=dtype)
    return keep * eye + (1 - keep) * torch.tensor(process.stationary, dtype=dtype)


def _likelihood(transition: Tensor, token: Tensor) -> Tensor:
    """q(token | x_0) for each x_0, `[batch, size]`."""
    if transition.ndim == 2:
        return transition[:, token].T
    return transition.gather(2, token[:, None, None].expand(-1, transition.shape[1], 1))[..., 0]


@dataclass(frozen=True)
class JointMixture:
    """Components that each fix a normal position, a token and a rotation: the joint law that products must recover.

    States are dicts with any of the parts `position` `[batch, d]`, `token` `[batch, 1]`, `rotation` `[batch, 3, 3]`.

    Attributes:
        process: A product with parts of these names.
        weights: `[components]`.
        means: `[components, d]`.
        std: Standard deviation of every component's position.
        tokens: int64 `[components]`.
        rotations: `[components, 3, 3]`.
    """

    process: Product
    weights: Tensor
    means: Tensor
    std: float
    tokens: Tensor
    rotations: Tensor

    def __call__(self, x: Mapping[str, Any], t: Any) -> dict[str, Any]:
        """The exact joint prediction."""
        gaussian, categorical, brownian = (self.process.parts[k] for k in ("position", "token", "rotation"))
        assert isinstance(gaussian, Gaussian) and isinstance(categorical, Categorical)
        assert isinstance(brownian, Brownian)
        flat = torch.full_like(self.weights, 1 / len(self.weights))
        position = GaussianMixture(gaussian, self.means, torch.full_like(flat, self.std), flat)
        rotation = RotationMixture(brownian, self.rotations, flat)
        away, angle, slope, log_rotation = rotation._parts(x["rotation"], part(t, "rotation"))
        transition = _transition(categorical, part(t, "token"), categorical.vocabulary, self.weights.dtype)
        log_token = _likelihood(transition, x["token"][:, 0])[:, self.tokens].log()
        log_position = position.log_responsibilities(x["position"], part(t, "position"))
        p = (self.weights.log() + log_position + log_token + log_rotation).softmax(-1)

        alpha, sigma = (c[:, None] if c.ndim else c for c in gaussian.schedule(time64(part(t, "position"))))
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)
        means = self.means + _expand(gain) * (x["position"][:, None] - _expand(alpha) * self.means)
        tokens = torch.zeros(len(p), categorical.vocabulary, dtype=p.dtype)
        tokens.index_add_(1, self.tokens, p)
        return {
            "position": (p[..., None] * means).sum(1).to(x["position"]),
            "token": tokens.log().clamp_min(-1e4)[:, None],
            "rotation": rotation.aim(x["rotation"], part(t, "rotation"), p, away, angle, slope),
        }
