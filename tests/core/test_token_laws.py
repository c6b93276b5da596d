"""The law of tokens that a walk ends on: propagated exactly through all states, and drawn, to the noise floor."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import TokenTable
from core.exact.chains import total_variation
from core.noise import Noise
from core.schedules import Flow, VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.spaces.categorical import Categorical, Categories
from core.time_grids import uniform

LENGTH, SIZE = 3, 3
KERNELS = {
    "absorbing": Categorical((0.0, 0.0, 0.0, 1.0)),
    "absorbing-cosine": Categorical((0.0, 0.0, 0.0, 1.0), VPCosine()),
    "uniform": Categorical((1 / 3, 1 / 3, 1 / 3)),
    "marginal": Categorical((0.5, 0.2, 0.3)),
}


def table() -> Tensor:
    """A strongly correlated law of three tokens, with impossible triples."""
    law = torch.rand(SIZE, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 3
    law[0, 0], law[2, 1] = 0.0, 0.0
    return law / law.sum()


@pytest.fixture(params=KERNELS.values(), ids=KERNELS.keys())
def process(request: pytest.FixtureRequest) -> Categorical:
    return request.param


def propagated(f: Any, grid: Tensor) -> Tensor:
    """The law at the end of the ancestral walk, by summing over all states; no number is drawn."""
    process: Categorical = f.process
    size = process.vocabulary
    states = torch.cartesian_prod(*[torch.arange(size)] * LENGTH)
    law = torch.tensor(process.stationary, dtype=torch.float64)[states].prod(-1)
    for t, s in pairwise(grid):
        kernel = process.bridge(f(states, t), states, t, s)
        assert isinstance(kernel, Categories)
        onto = torch.ones(len(states), len(states), dtype=torch.float64)
        for site in range(LENGTH):
            onto = onto * kernel.probs[:, site, states[:, site]]
        law = law @ onto
    return law.reshape([size] * LENGTH)


def histogram(x: Tensor, size: int) -> Tensor:
    """The empirical law of states `[..., LENGTH]`."""
    index = sum(x[..., site].flatten() * size ** (LENGTH - 1 - site) for site in range(LENGTH))
    assert isinstance(index, Tensor)
    return torch.bincount(index, minlength=size**LENGTH).double().reshape([size] * LENGTH) / len(index)


def floor(truth: Tensor, count: int) -> float:
    """The greatest total variation of so many exact draws in twenty trials."""
    noise = Noise.of(99, 20)
    draws = Categories(truth.flatten().expand(20, count, -1)).sample(noise)
    laws = [
        torch.bincount(row, minlength=truth.numel()).double().reshape(truth.shape) / count for row in draws
    ]
    return max(total_variation(law, truth) for law in laws)


def test_the_propagated_law_converges_to_the_table(process: Categorical) -> None:
    """At first order in the step: sites are drawn independently within a step, and that alone is wrong."""
    f = TokenTable(process, table())
    errors = [total_variation(propagated(f, uniform(n)), table()) for n in (32, 64, 128)]
    assert errors[0] < 0.1
    for coarse, fine in pairwise(errors):
        assert 1.7 < coarse / fine < 2.3


def test_a_wrong_law_is_seen_by_propagation(process: Categorical) -> None:
    """Sites predicted from their own token alone give the product of marginals, far from the table."""

    class Alone:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            sites = []
            for site in range(LENGTH):
                others = [d for d in range(LENGTH) if d != site]
                sites.append(TokenTable(process, table().sum(others))(x[:, [site]], t))
            return torch.cat(sites, 1)

    assert total_variation(propagated(Alone(), uniform(128)), table()) > 0.15


def check_draws(walk: Callable[..., Any], f: Any, solver: Any, steps: int, copies: int) -> None:
    """The drawn law is the table's but for the noise of so many draws and what the steps leave, which is less."""
    process, rows = f.process, 2
    x = process.prior(torch.empty(rows, copies, LENGTH), Noise.of(5, rows).at("prior"))
    y = walk(f, solver, x, uniform(steps), Noise.of(5, rows))
    noise_floor = floor(table(), rows * copies)
    bias = total_variation(propagated(TokenTable(process, table()), uniform(steps)), table())
    assert bias < noise_floor
    assert total_variation(histogram(y, process.vocabulary), table()) < noise_floor + bias


def test_ancestral_draws_have_the_law_of_the_table(
    walk: Callable[..., Any], packed: type, process: Categorical
) -> None:
    check_draws(walk, packed(TokenTable(process, table())), Ancestral(), 80, 2500)


@pytest.mark.parametrize("solver", [Multistep(), Heun(), UniPC(3)], ids=lambda solver: type(solver).__name__)
def test_every_solver_walks_tokens_as_ancestral_does(
    walk: Callable[..., Any], packed: type, process: Categorical, solver: Any
) -> None:
    """Extrapolated, averaged or corrected logits would bend the law, so the same numbers draw the same tokens."""
    f = packed(TokenTable(process, table()))
    x = process.prior(torch.empty(2, 500, LENGTH), Noise.of(5, 2).at("prior"))
    same = walk(f, solver, x, uniform(24)) == walk(f, Ancestral(), x, uniform(24))
    assert float(same.double().mean()) > 0.999  # a number may fall between two roundings of one probability


def test_the_clean_tokens_of_a_part_condition_the_rest(walk: Callable[..., Any], packed: type) -> None:
    """The first token held: what the others become has the conditional law of the table."""
    process = Categorical((0.0, 0.0, 0.0, 1.0))

    class Held:
        """The table seen as a product of a held token and two that walk."""

        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            first = torch.ones_like(x[:, :1])
            return TokenTable(process, table())(torch.cat([first, x], 1), t)[:, 1:]

    rows, copies = 2, 3000
    x = process.prior(torch.empty(rows, copies, 2), Noise.of(6, rows).at("prior"))
    y = walk(packed(Held()), Ancestral(), x, uniform(64), Noise.of(6, rows))
    want = table()[1] / table()[1].sum()
    law = (
        torch.bincount((y[..., 0] * SIZE + y[..., 1]).flatten(), minlength=9).double().reshape(3, 3)
        / y[..., 0].numel()
    )
    assert float((law - want).abs().sum()) / 2 < 0.03


@pytest.mark.parametrize("time", [0.0, 0.3, 0.8, 1.0])
def test_the_table_predicts_by_bayes_rule(process: Categorical, time: float) -> None:
    """Against the posterior summed out by brute force, also with one time a sample."""
    f, t = TokenTable(process, table()), torch.tensor(time, dtype=torch.float64)
    law = torch.tensor(process.stationary, dtype=torch.float64)
    eye = torch.eye(process.vocabulary, dtype=torch.float64)
    keep = float(process.keep(t))
    x = process.corrupt(torch.tensor([[0, 1, 2], [1, 1, 1], [2, 0, 0]]), t, Noise.of(0, 3))
    found = f(x, t).softmax(-1)
    torch.testing.assert_close(f(x, t.expand(3)).softmax(-1), found)
    forward = keep * eye + (1 - keep) * law
    for row, tokens in enumerate(x):
        a, b, c = (forward[:SIZE, token] for token in tokens)
        posterior = table() * a[:, None, None] * b[:, None] * c
        posterior = posterior / posterior.sum()
        for site, others in enumerate([(1, 2), (0, 2), (0, 1)]):
            torch.testing.assert_close(found[row, site, :SIZE], posterior.sum(others), rtol=1e-9, atol=1e-9)


def test_a_state_of_probability_zero_still_has_a_prediction() -> None:
    """A coarse step may reach one; each site then answers for itself, without NaN."""
    process = Categorical((0.0, 0.0, 0.0, 1.0), Flow())
    logits = TokenTable(process, table())(torch.tensor([[0, 0, 3]]), torch.tensor(0.5))
    assert bool(logits.isfinite().all())
    assert logits.argmax(-1)[0, :2].tolist() == [0, 0]
    want = table().sum((0, 1))
    torch.testing.assert_close(logits.softmax(-1)[0, 2, :SIZE], want / want.sum())
