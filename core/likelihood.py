"""Exact likelihood by the instantaneous change of variables along the probability-flow ODE."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.gradients import differentiable, fresh
from core.noise import Noise
from core.requirements import require
from core.schedules import rates
from core.solvers.adaptive_ode import integrate
from core.spaces.gaussian import Gaussian, Normal, Projection
from core.state import append_axes, time64, wide


class Likelihood(NamedTuple):
    """What `log_likelihood` gives.

    Attributes:
        nats: log p(x_0), `[batch]` float64.
        standard_error: Of the divergence's estimate, `[batch]`; zero where it is exact, NaN with a single probe.
        latent: The state x_1 to which the flow carries the data, of its shape.
        evaluations: Of the denoiser; each is also differentiated.
    """

    nats: Tensor
    standard_error: Tensor
    latent: Tensor
    evaluations: int


def bits_per_dimension(nats: Tensor, dimensions: int, bin_width: float = 1.0) -> Tensor:
    """-log2 p an element, of the shape of `nats`.

    Args:
        nats: Log-densities.
        dimensions: Elements a sample.
        bin_width: Of dequantised data, 2 / 256 for images in [-1, 1]: the density times it is a probability.
    """
    return -(nats / dimensions + math.log(bin_width)) / math.log(2)


def log_likelihood(
    f: Denoiser,
    x0: Tensor,
    *,
    probes: int | None = None,
    noise: Noise | None = None,
    end: float = 1e-3,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Likelihood:
    """Log-density of data under the flow of a denoiser (Song et al. 2021, section 4.3 and appendix D.2).

    d log p(x_t) / dt = -div v along the flow, so log p(x_0) is the prior's log-density at the flow's end plus the
    integral of div v from 0 to 1.  State and integral are solved together by Dormand–Prince, each sample to the
    tolerance alone.  The divergence is exact, by one backward pass a dimension, or Hutchinson's estimate by a few,
    with Rademacher probes held along the whole flow (Grathwohl et al. 2019).

    The flow is singular at clean data and begins at the time `end`, at alpha x_0: its law there is that of the data but
    for terms of the order of sigma_end^2.

    Args:
        f: The denoiser; differentiable in its state, samples of a batch independent of each other.
        x0: Clean data `[batch, ...]`.
        probes: Number of random probes; None is exact.
        noise: One stream a sample, for the probes.
        end: Time at which the flow begins.
        rtol: Tolerance of the solver, relative.
        atol: Its absolute tolerance, in the state's unit and in nats.

    Raises:
        Unsuited: If the process is not Gaussian.
        ValueError: If probes are asked for without noise, or the noise is projected in a way that does not say to how
            many dimensions.
        NotConverged: If the tolerance cannot be met.
    """
    process = require(f.process, Gaussian, "the likelihood by change of variables")
    x0 = wide(x0)
    if process.project is not None and not isinstance(process.project, Projection):
        raise ValueError("the likelihood on a subspace needs a projection that says its dimension")
    if probes is not None and noise is None:
        raise ValueError("random probes need noise")
    directions = _directions(process, x0, probes, noise)
    shares = process.project.shares(x0) if isinstance(process.project, Projection) else torch.ones(())
    dimension = float(shares.expand(x0.shape)[0].sum())
    columns = 1 if probes is None else probes
    shape, size = x0.shape, x0[0].numel()
    evaluations = 0

    def slope(y: Tensor, t: Tensor) -> Tensor:
        nonlocal evaluations
        evaluations += 1
        x = y[:, :size].reshape(shape)
        q, traces = _traces(f, x, t, directions, probes is None)
        (alpha, sigma), (alpha_rate, sigma_rate) = process.schedule(t), rates(process.schedule, t)
        swell = sigma_rate / sigma
        # div v for v = alpha' q + (sigma' / sigma) (x - alpha q)
        divergence = (swell * dimension)[:, None] + (alpha_rate - swell * alpha)[:, None] * traces.double()
        return torch.cat([process.velocity(q, x, t).flatten(1), divergence.to(x)], 1)

    start, finish = time64(end), time64(1.0)
    alpha = append_axes(process.schedule(start)[0], x0)
    y = torch.cat([(alpha * x0).flatten(1), x0.new_zeros(len(x0), columns)], 1)
    stride = torch.full((len(x0),), end, dtype=torch.float64)
    y = integrate(slope, y, start, finish, stride, rtol, atol).x
    latent, gathered = y[:, :size].reshape(shape), y[:, size:].double()
    prior = Normal(torch.zeros_like(latent), process.schedule(finish)[1], process.project)
    nats = prior.log_prob(latent).double() + gathered.mean(1) + dimension * float(alpha.log())
    error = torch.zeros_like(nats) if probes is None else gathered.std(1) / math.sqrt(columns)
    return Likelihood(nats, error, latent, evaluations)


def _directions(process: Gaussian, x0: Tensor, probes: int | None, noise: Noise | None) -> Tensor:
    """`[directions, batch, ...]`: all unit vectors, or Rademacher probes; within the subspace where there is one."""
    if probes is None:
        eye = torch.eye(x0[0].numel(), dtype=x0.dtype, device=x0.device)
        found = eye.reshape(-1, 1, *x0.shape[1:]).expand(-1, *x0.shape)
    else:
        assert noise is not None
        drawn = [noise.at("probe", k).uniform(x0) for k in range(probes)]
        found = torch.stack([torch.where(u < 0.5, -1.0, 1.0).to(x0) for u in drawn])
    if process.project is None:
        return found
    return torch.stack([process.project(d) for d in found])


def _traces(f: Denoiser, x: Tensor, t: Tensor, directions: Tensor, exact: bool) -> tuple[Tensor, Tensor]:
    """(prediction, d^T (dq/dx) d for each direction `[batch, directions]`, or their sum `[batch, 1]`)."""
    with differentiable():
        inner = fresh(x).requires_grad_(True)
        q = f(inner, t)
        pieces = [
            (torch.autograd.grad(q, inner, d, retain_graph=True)[0] * d).flatten(1).sum(1) for d in directions
        ]
    traces = torch.stack(pieces, 1)
    return q.detach(), traces.sum(1, keepdim=True) if exact else traces
