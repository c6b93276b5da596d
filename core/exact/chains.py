"""The law of a walk of tokens, propagated exactly through all states: no number is drawn, so no noise hides a bias.

For small chains the joint law of all sites is a vector and each step of a solver a matrix, built from the solver's own
kernel.  What remains of the difference to the true law is the solver's.
"""

from __future__ import annotations

from itertools import pairwise, permutations, product
from typing import Any

import torch
from torch import Tensor

from core.denoiser import Denoiser
from core.jump_rates import mask_token, reverse_rates
from core.process import Kernel
from core.solvers.ancestral import Ancestral
from core.solvers.tau_leaping import Trapezoidal
from core.solvers.token_corrector import Corrected, ForwardBackward, Gibbs
from core.solvers.unmasking import Unmasking, absorbing, clean_law, confidence_of, reveal
from core.spaces.categorical import Categorical, Categories


def all_states(vocabulary: int, length: int) -> Tensor:
    """Every state of `length` sites, `[vocabulary ** length, length]`, the last site turning fastest."""
    return torch.cartesian_prod(*[torch.arange(vocabulary)] * length).reshape(-1, length)


def matrix_of(kernel: Kernel, count: int, states: Tensor) -> Tensor:
    """Probabilities of going from each sample of a kernel's batch to each state, `[count, states]`.

    Args:
        kernel: The law of the next state.
        count: Samples in its batch.
        states: `[states, length]`.
    """
    if isinstance(kernel, Categories):
        onto = torch.ones(count, len(states), dtype=kernel.probs.dtype)
        for site in range(states.shape[1]):
            onto = onto * kernel.probs[:, site, states[:, site]]
        return onto
    columns = [kernel.log_prob(state.expand(count, -1)).exp() for state in states]
    return torch.stack(columns, 1)


def transition(f: Denoiser, solver: Any, x: Tensor, states: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The probabilities of one step of `solver` from `t` to `s`, `[batch, states]`.

    Args:
        f: A denoiser of tokens.
        solver: `Ancestral`, `Trapezoidal`, `Unmasking` without Gumbel noise, `Corrected`, or any with a method
            `kernel(process, q, x, t, s)`, such as `TauLeaping` and `Remasking`.
        x: Where the step begins `[batch, length]`.
        states: All states, `[states, length]`.
        t: When it begins.
        s: When it ends.

    Raises:
        TypeError: If the solver's kernel is not known in closed form.
    """
    process: Any = f.process
    if isinstance(solver, Ancestral):
        return matrix_of(process.bridge(f(x, t), x, t, s), len(x), states)
    if isinstance(solver, Corrected):
        onto = transition(f, solver.predictor, x, states, t, s)
        if float(s) < solver.below:
            move = correction(f, solver.corrector, states, s, t)
            for _ in range(solver.moves):
                onto = onto @ move
        return onto
    if isinstance(solver, Trapezoidal):
        return _trapezoidal(f, solver, x, states, t, s)
    if isinstance(solver, Unmasking) and solver.temperature == 0:
        return _unmasking(f, solver, x, states, t, s)
    if hasattr(solver, "kernel"):
        return matrix_of(solver.kernel(process, f(x, t), x, t, s), len(x), states)
    raise TypeError(f"the law of {type(solver).__name__} is not known in closed form")


def correction(f: Denoiser, corrector: Any, states: Tensor, s: Tensor, since: Tensor) -> Tensor:
    """The matrix of one move of a corrector at time `s`, `[states, states]`.

    Args:
        f: A denoiser of tokens.
        corrector: `Gibbs` of one site, or `ForwardBackward`.
        states: All of them, `[states, length]`.
        s: The time.
        since: Where the step before began.

    Raises:
        TypeError: If the corrector's kernel is not known in closed form.
    """
    process: Any = f.process
    eye = torch.eye(len(states), dtype=torch.float64)
    mask = mask_token(process)
    if isinstance(corrector, ForwardBackward):
        if float(s) == 0:
            return eye
        return matrix_of(corrector.kernel(process, f(states, s), states, s, since), len(states), states)
    if not isinstance(corrector, Gibbs) or corrector.sites != 1:
        raise TypeError(f"the law of {corrector} is not known in closed form")
    if float(s) == 0 and mask is None:
        return eye
    open_to = torch.ones_like(states, dtype=torch.bool)
    if mask is not None:
        open_to = states != mask
    count = open_to.sum(1, keepdim=True)
    onto = torch.where(count == 0, eye, 0.0)
    for site in range(states.shape[1]):
        chosen = torch.zeros_like(open_to)
        chosen[:, site] = open_to[:, site]
        move = matrix_of(corrector.conditional(f, states, chosen, s, since), len(states), states)
        onto = onto + torch.where(open_to[:, [site]], move / count.clamp_min(1), 0.0)
    return onto


def _trapezoidal(f: Denoiser, solver: Trapezoidal, x: Tensor, states: Tensor, t: Tensor, s: Tensor) -> Tensor:
    process: Any = f.process
    q = f(x, t)
    if float(s) == 0:
        return matrix_of(process.bridge(q, x, t, s), len(x), states)
    rate = reverse_rates(process, q, x, t)
    first = matrix_of(solver.first(rate, x, t, s), len(x), states)
    ahead = f(states, solver.middle(t, s))
    rows = []
    for k in range(len(x)):  # the second leap knows where the first began, through its rates
        met = first[k] > 0
        old = rate[[k]].expand(int(met.sum()), -1, -1)
        second = solver.second(process, old, ahead[met], states[met], t, s)
        rows.append(first[k][met] @ matrix_of(second, len(old), states))
    return torch.stack(rows)


def _unmasking(f: Denoiser, solver: Unmasking, x: Tensor, states: Tensor, t: Tensor, s: Tensor) -> Tensor:
    process, mask = absorbing(f.process, "Unmasking")
    length = x.shape[1]
    powers = process.vocabulary ** torch.arange(length - 1, -1, -1)
    if not bool((x == mask).any()):
        return torch.nn.functional.one_hot((x * powers).sum(-1), len(states)).double()
    probs = clean_law(process, mask, f(x, t), x)
    remain = solver.remain(process, length, s)
    if solver.confidence == "random":
        places = torch.tensor(list(permutations(range(length))), dtype=torch.float64)
        orders: list[Tensor | None] = [place.expand(len(x), -1) for place in places]
    else:
        orders = [None]  # the confidence is the prediction's own
    onto = torch.zeros(len(x), len(states), dtype=probs.dtype)
    tokens = [k for k in range(process.vocabulary) if k != mask]
    for candidate in product(tokens, repeat=length):
        drawn = torch.tensor(candidate).expand(x.shape)
        if solver.greedy:
            chance = (drawn == probs.argmax(-1)).to(probs).prod(-1)
        else:
            chance = probs.gather(-1, drawn[..., None])[..., 0].prod(-1)
        for order in orders:
            score = confidence_of(probs, drawn, solver.confidence) if order is None else order
            reached = (reveal(x, mask, drawn, score, remain) * powers).sum(-1)
            onto.scatter_add_(1, reached[:, None], chance[:, None] / len(orders))
    return onto


def law_of_walk(f: Denoiser, solver: Any, grid: Tensor, length: int, start: Tensor | None = None) -> Tensor:
    """The law at the end of a walk down `grid`, `[vocabulary] * length`, float64.

    Args:
        f: A denoiser of tokens, such as `TokenTable`.
        solver: See `transition`.
        grid: Times `[steps + 1]`.
        length: Number of sites.
        start: The law at `grid[0]`, `[vocabulary] * length`; the prior where absent.
    """
    process: Any = f.process
    states = all_states(process.vocabulary, length)
    stationary = torch.tensor(process.stationary, dtype=torch.float64)
    law = stationary[states].prod(-1) if start is None else start.flatten().double()
    for t, s in pairwise(grid):
        reached = law > 0  # what cannot be reached need not have an answer, and saves its cost
        law = law[reached] @ transition(f, solver, states[reached], states, t, s)
    return law.reshape([process.vocabulary] * length)


def law_at(process: Categorical, table: Tensor, t: Tensor) -> Tensor:
    """q_t, the law of the chain started in `table`, `[vocabulary] * length`.

    Args:
        process: The chain.
        table: Law of clean tokens `[V] * length`; V may be the vocabulary without a mask at the end.
        t: The time.
    """
    keep = float(process.keep(t))
    law = widened(table.double(), process.vocabulary)
    stationary = torch.tensor(process.stationary, dtype=torch.float64)
    move = keep * torch.eye(process.vocabulary, dtype=torch.float64) + (1 - keep) * stationary
    for site in range(table.ndim):
        law = torch.tensordot(law, move, dims=([site], [0])).movedim(-1, site)
    return law


def widened(table: Tensor, vocabulary: int) -> Tensor:
    """`table` `[V] * length` with tokens of probability zero added up to `vocabulary` on each axis."""
    return torch.nn.functional.pad(table, (0, vocabulary - table.shape[0]) * table.ndim)


def total_variation(law: Tensor, truth: Tensor) -> float:
    """Half the summed difference of two laws on equal axes; `truth` `[V] * length` is widened to those of `law`.

    Raises:
        ValueError: If they have other axes.
    """
    wide = widened(truth, law.shape[0])
    if wide.shape != law.shape:
        raise ValueError(f"laws of shapes {list(law.shape)} and {list(truth.shape)} cannot be compared")
    return float((law - wide).abs().sum()) / 2
