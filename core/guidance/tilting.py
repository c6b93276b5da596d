"""The exact change of a prediction by a likelihood: what conditioning on y does to it, in each space.

With L(x) = p(y | x_t = x) the denoiser of the conditional law is known from that of the prior and L alone:

    R^n        E[x_0 | x_t, y] = E[x_0 | x_t] + sigma^2 / alpha  grad log L
    manifolds  tangent at x_t  + sigma^2 grad log L, the gradient in the frame of x_t
    tokens     the posterior of each site times l(v) = p(y | x_t but for this site, x_0 = v here)

For tokens l follows from L at all states that differ from x_t in one site (`site_likelihood`), which is the guidance of
rates by Nisonoff et al. 2024 written for predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from core.gradients import differentiable, fresh
from core.guidance.guide import gain, projected
from core.process import Process
from core.requirements import Unsuited
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.masked import Masked
from core.spaces.product import Product
from core.state import Prediction, State, Time, append_axes, part, time64, wide

Path = tuple[str, ...]


def members(process: Process, path: Path = ()) -> list[tuple[Path, Process]]:
    """(path, process) of every part that is no product itself; the path of a plain process is empty.

    Of a part with known elements it is the process of all: its bridge holds the known ones whatever is predicted.
    """
    if isinstance(process, Masked):
        return members(process.process, path)
    if isinstance(process, Product):
        return [found for name, inner in process.parts.items() for found in members(inner, (*path, name))]
    return [(path, process)]


def pick(value: Any, path: Path) -> Any:
    """The entry of a state, prediction or time that belongs to a part."""
    for name in path:
        value = part(value, name)
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy of a state or prediction with the part at `path` replaced by `new`."""
    if not path:
        return new
    return {**value, path[0]: put(value[path[0]], path[1:], new)}


def loosened(process: Process, x: State) -> tuple[State, dict[Path, Tensor]]:
    """The state again, made of coordinates in which it can be differentiated; call it inside `differentiable`.

    Returns:
        (state, coordinates by part): on R^n the state itself, on a manifold a zero tangent vector; of tokens none.
    """
    state, coordinates = fresh(x), {}
    for path, inner in members(process):
        here = pick(state, path)
        if isinstance(inner, Gaussian):
            coordinates[path] = wide(here).requires_grad_(True)
            state = put(state, path, coordinates[path])
        elif isinstance(inner, Brownian):
            start = wide(here)
            coordinates[path] = torch.zeros_like(inner.manifold.log(start, start)).requires_grad_(True)
            state = put(state, path, inner.manifold.exp(start, coordinates[path]))
    return state, coordinates


def gradients(value: Tensor, coordinates: dict[Path, Tensor]) -> dict[Path, Tensor]:
    """The slope of sum(value) in the coordinates; zero where `value` does not depend on them. `value` is `[batch]`."""
    if not coordinates or not value.requires_grad:
        return {path: torch.zeros_like(c) for path, c in coordinates.items()}
    found = torch.autograd.grad(value.sum(), list(coordinates.values()), allow_unused=True)
    return {
        path: torch.zeros_like(c) if g is None else g.detach()
        for (path, c), g in zip(coordinates.items(), found, strict=True)
    }


def shifted(process: Process, q: Prediction, x: State, t: Time, gradient: Tensor) -> Prediction:
    """The prediction `q` at `x` when log p(y | x_t) has this gradient in the coordinates of `loosened`.

    Args:
        process: `Gaussian` or `Brownian`.
        q: The prediction of the prior.
        x: The state `[batch, ...]`.
        t: Its time.
        gradient: Of the shape of `x`; on manifolds of tangent vectors `[batch, ..., tangent]`.

    Raises:
        Unsuited: If the process has no gradients.
    """
    if isinstance(process, Gaussian):
        return wide(q) + gain(process, x, t) * projected(process, gradient)
    if isinstance(process, Brownian):
        start, square = wide(x), process.sigma(t, x) ** 2
        return process.manifold.exp(start, process.manifold.log(start, wide(q)) + square * gradient)
    raise Unsuited(f"gradient guidance is not defined for {type(process).__name__} processes")


def site_likelihood(process: Categorical, q: Tensor, x: Tensor, t: Time, log_likelihood: Tensor) -> Tensor:
    """The value log p(y | x_t elsewhere, x_0 = v here) for each site and token, up to a constant a site.

    With c(v) = p(x_0 = v here | x_t elsewhere), keep a and stationary law pi, L at the neighbours is a mixture of the l
    wanted, which solves to l(v) = L(v) + (1 - a) / a  pi(v) / c(v)  (L(v) - S), S the mean of L over the token x_t
    here. With absorbing tokens the second term is zero: unmasking to v tells all that v tells.

    Args:
        process: Of the tokens.
        q: Logits of the prior's prediction `[batch, ..., vocabulary]`.
        x: Tokens `[batch, ...]`.
        t: Their time.
        log_likelihood: log L of the state whose site has been replaced by each token `[batch, ..., vocabulary]`.
    """
    keep = append_axes(process.keep(time64(t)), q).to(q.dtype).clamp_min(1e-6)
    law = torch.tensor(process.stationary, dtype=q.dtype, device=q.device)
    hot = functional.one_hot(x, process.vocabulary).to(q.dtype)
    here = (hot * law).sum(-1, keepdim=True)
    arrival = keep * hot + (1 - keep) * here  # q(x_t | x_0) for each x_0
    free = torch.where(arrival > 0, q.softmax(-1) / arrival.clamp_min(torch.finfo(q.dtype).tiny), 0.0)
    free = free / free.sum(-1, keepdim=True)
    # Where no token at all could have been seen with y, nothing is tilted.
    top = log_likelihood.max(-1, keepdim=True).values.clamp_min(torch.finfo(q.dtype).min)
    likelihood = (log_likelihood - top).exp()
    mean = (likelihood * (keep * free + (1 - keep) * law)).sum(-1, keepdim=True)
    share = torch.where(free > 0, (1 - keep) / keep * law / free.clamp_min(torch.finfo(q.dtype).tiny), 0.0)
    exact = likelihood + share * (likelihood - mean)
    # A learned likelihood need not be one of any law: what it puts below zero is as good as impossible.
    return exact.clamp_min(1e-30).log()


def tilt(
    process: Process,
    q: Prediction,
    x: State,
    t: Time,
    log_likelihood: Callable[[State], Tensor],
    scale: float = 1.0,
    first_order: bool = False,
) -> Prediction:
    """The prediction `q` at `x`, conditioned on what has the likelihood L^scale; cut from every graph.

    Args:
        process: Of the prediction; products are tilted part by part.
        q: The prediction of the prior.
        x: The state `[batch, ...]`.
        t: Its time.
        log_likelihood: state -> log p(y | x_t), nats, `[batch]`; differentiable in the parts that have gradients.
        scale: Power of the likelihood.
        first_order: Read the likelihood of neighbouring tokens off one gradient (Nisonoff et al. 2024, Taylor
            approximation) instead of evaluating it at each of them; `log_likelihood` then gets tokens as one-hot
            vectors `[batch, ..., vocabulary]` of floats.

    Raises:
        Unsuited: If a part's space has no known tilt.
    """
    parts = members(process)
    tokens = [(path, inner) for path, inner in parts if isinstance(inner, Categorical)]
    with differentiable():
        state, coordinates = loosened(process, x)
        if first_order:
            for path, chosen in tokens:
                hot = functional.one_hot(pick(state, path), chosen.vocabulary)
                coordinates[path] = hot.to(wide(pick(q, path)).dtype).requires_grad_(True)
                state = put(state, path, coordinates[path])
        slopes = gradients(log_likelihood(state), coordinates) if coordinates else {}
    for path, inner in parts:
        mine, here, when = pick(q, path), pick(x, path), pick(t, path)
        if not isinstance(inner, Categorical):
            new = shifted(inner, mine, here, when, scale * slopes.get(path, torch.zeros(())))
        else:
            if first_order:
                table = slopes[path]
            else:
                table = _neighbours(inner, here, partial(_elsewhere, log_likelihood, x, path))
            logits = wide(mine).log_softmax(-1).clamp_min(-1e4)
            new = logits + site_likelihood(inner, logits, here, when, scale * table.to(logits))
        q = put(q, path, new.detach())
    return q


def _elsewhere(log_likelihood: Callable[[State], Tensor], x: State, path: Path, here: Tensor) -> Tensor:
    return log_likelihood(put(x, path, here))


@torch.no_grad()
def _neighbours(process: Categorical, x: Tensor, log_likelihood: Callable[[Tensor], Tensor]) -> Tensor:
    """Log L with each site replaced by each token: sites times vocabulary evaluations."""
    flat = x.flatten(1)
    rows = []
    for site in range(flat.shape[1]):
        for token in range(process.vocabulary):
            other = flat.clone()
            other[:, site] = token
            rows.append(log_likelihood(other.reshape(x.shape)))
    return torch.stack(rows, 1).reshape(*x.shape, process.vocabulary)
