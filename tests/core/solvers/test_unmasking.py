"""Confidence-ordered unmasking and remasking of absorbing chains: their exact laws against the table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import TokenTable
from core.exact.chains import all_states, law_at, law_of_walk, matrix_of, total_variation
from core.noise import Noise
from core.requirements import Unsuited
from core.sampling import Counted, sample
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.unmasking import Remasking, Unmasking, confidence_of, reveal
from core.spaces.categorical import Categorical, Categories
from core.time_grids import uniform
from tests.core.chains import KERNELS, correlated, errors, halvings

PROCESS = KERNELS["absorbing"]
F = TokenTable(PROCESS, correlated())
LOOKS_AT_PREDICTION: Any = ["top", "margin", "entropy", "random"]


@pytest.mark.parametrize("confidence", LOOKS_AT_PREDICTION)
def test_one_site_at_a_time_is_exact_in_any_order_that_the_draw_does_not_choose(confidence: Any) -> None:
    """The chain rule: three evaluations for three sites, and no bias at all."""
    assert errors(PROCESS, correlated(), Unmasking(confidence), (3,))[0] < 1e-12
    assert errors(PROCESS, correlated(), Unmasking(confidence), (2,))[0] > 0.1


class Hurried(Unmasking):
    """The mutation: the schedule leaves a tenth less masked than it should."""

    def remain(self, process: Categorical, sites: int, s: Tensor) -> int:
        return math.floor(0.9 * (1 - float(process.keep(s))) * sites + 1e-9)


def test_a_wrong_coefficient_is_seen() -> None:
    """One site too many in one step, and the law is off by what filling two sites apart costs."""
    assert errors(PROCESS, correlated(), Hurried("random"), (3,))[0] > 0.05


def test_the_confidence_of_what_was_drawn_bends_the_law() -> None:
    """MaskGIT's choice prefers likely draws, and more steps do not mend it."""
    biased = errors(PROCESS, correlated(), Unmasking("drawn"), (3, 12))
    assert min(biased) > 0.2
    assert errors(PROCESS, correlated(), Unmasking("top", greedy=True), (3,))[0] > 0.5


def test_greedy_unmasking_finds_one_sequence_and_always_the_same() -> None:
    law = law_of_walk(F, Unmasking("top", greedy=True), uniform(3), 3)
    assert float(law.max()) == pytest.approx(1)


def test_temperature_makes_the_order_random_and_the_law_right(walk: Callable[..., Any]) -> None:
    """With the candidate's confidence drowned in noise any order is as likely, and one site at a time is exact."""
    count = 3000
    solver, noise = Unmasking("drawn", temperature=200.0), Noise.of(1, count)
    x = PROCESS.prior(torch.empty(count, 3), noise.at("prior"))
    grid = uniform(3)
    y = walk(F, solver, x, grid, noise)
    found = torch.bincount((y * torch.tensor([9, 3, 1])).sum(-1), minlength=27).double() / count
    law = correlated().flatten()
    expected_noise = float((law * (1 - law) / count).sqrt().sum()) / 2
    assert total_variation(found, law) < 2 * expected_noise
    cold = walk(F, Unmasking("drawn"), x, grid, noise)
    bent = torch.bincount((cold * torch.tensor([9, 3, 1])).sum(-1), minlength=27).double() / count
    assert total_variation(bent, law) > 6 * expected_noise


def test_draws_have_the_propagated_law(walk: Callable[..., Any]) -> None:
    count, noise = 2500, Noise.of(2, 2500)
    x = PROCESS.prior(torch.empty(count, 3), noise.at("prior"))
    for solver in (Unmasking("drawn"), Unmasking("margin"), Unmasking("random")):
        y = walk(F, solver, x, uniform(2), noise)
        found = torch.bincount((y * torch.tensor([16, 4, 1])).sum(-1), minlength=64).double() / count
        law = law_of_walk(F, solver, uniform(2), 3).flatten()
        assert total_variation(found, law) < 1.2 * float((law * (1 - law) / count).sqrt().sum()), solver


def test_the_schedule_says_how_many_are_masked(walk: Callable[..., Any]) -> None:
    """A cosine reveals few at first (Chang et al. 2022); every step reveals one at least; none is left."""
    process = Categorical((0.0, 0.0, 0.0, 1.0), VPCosine())

    class Flat:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return torch.zeros(*x.shape, 4)

    x = torch.full((2, 40), 3)
    steps = list(sample(Flat(), Unmasking("random"), x, uniform(8), Noise.of(0, 2)))
    for step in steps:
        want = int((1 - float(process.keep(step.t))) * 40 + 1e-9)
        assert (step.x == 3).sum(1).tolist() == [want, want]
    assert bool((steps[-1].x < 3).all())


def test_revealing_keeps_what_is_known_and_counts_each_sample() -> None:
    x = torch.tensor([[3, 0, 3, 3], [3, 3, 3, 3], [1, 1, 1, 1]])
    candidate = torch.full_like(x, 2)
    confidence = torch.tensor([[0.1, 9.0, 0.3, 0.2], [0.4, 0.1, 0.2, 0.3], [0.0, 0.0, 0.0, 0.0]])
    y = reveal(x, 3, candidate, confidence, 2)
    assert y.tolist() == [[3, 0, 2, 3], [2, 3, 3, 2], [1, 1, 1, 1]]
    assert (reveal(x, 3, candidate, confidence, 4) != 3).sum(1).tolist() == [2, 1, 4]  # one at least
    assert reveal(
        x.reshape(3, 2, 2), 3, candidate.reshape(3, 2, 2), confidence.reshape(3, 2, 2), 0
    ).shape == (3, 2, 2)


def test_confidences() -> None:
    probs = torch.tensor([[[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]]])
    drawn = torch.tensor([[1, 0]])
    assert confidence_of(probs, drawn, "drawn").exp()[0].tolist() == pytest.approx([0.3, 0.6])
    assert confidence_of(probs, drawn, "margin")[0].tolist() == pytest.approx([0.2, 0.2])
    assert confidence_of(probs, drawn, "top").exp()[0].tolist() == pytest.approx([0.5, 0.6])
    assert bool(confidence_of(probs, drawn, "entropy")[0, 0] < confidence_of(probs, drawn, "entropy")[0, 1])
    with pytest.raises(ValueError, match="unknown confidence"):
        confidence_of(probs, drawn, "best")  # type: ignore[arg-type]


def test_remasking_nothing_is_ancestral() -> None:
    states = all_states(4, 3)
    times = [torch.tensor(v, dtype=torch.float64) for v in (0.6, 0.4)]
    q = F(states, times[0])
    found = Remasking(cap=0.0).kernel(PROCESS, q, states, *times).probs
    want = PROCESS.bridge(q, states, *times).probs
    possible = law_at(PROCESS, correlated(), times[0]).flatten() > 0
    torch.testing.assert_close(found[possible], want[possible])


@pytest.mark.parametrize("solver", [Remasking(cap=0.3), Remasking(0.5, 1.0)], ids=["cap", "rescale"])
def test_remasking_keeps_each_site_s_law_given_clean_data(solver: Remasking) -> None:
    """Wang et al. 2025, theorem 3.1: with the true clean token, x_s has the chain's law at s."""
    t, s = (torch.tensor(v, dtype=torch.float64) for v in (0.7, 0.4))
    states = all_states(4, 1)
    for token in range(3):
        q = PROCESS.point(torch.tensor([token])).double().expand(4, 1, 4)
        table = torch.nn.functional.one_hot(torch.tensor(token), 3).double()
        begin, want = law_at(PROCESS, table, t), law_at(PROCESS, table, s)
        kernel = solver.kernel(PROCESS, q, states, t, s)
        torch.testing.assert_close(begin @ matrix_of(kernel, 4, states), want)


def test_a_wrong_share_of_filling_is_seen() -> None:
    """Masking as often as ReMDM but filling as ancestral does leaves too many masks."""

    class Bent(Remasking):
        def kernel(self, process: Any, q: Any, x: Any, t: Any, s: Any) -> Categories:
            right, plain = super().kernel(process, q, x, t, s), Remasking(cap=0.0).kernel(process, q, x, t, s)
            return Categories(torch.where((x == 3)[..., None], plain.probs, right.probs))

    t, s = (torch.tensor(v, dtype=torch.float64) for v in (0.7, 0.4))
    table = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    q = PROCESS.point(torch.tensor([0])).double().expand(4, 1, 4)
    states = all_states(4, 1)
    law = law_at(PROCESS, table, t) @ matrix_of(Bent(cap=0.3).kernel(PROCESS, q, states, t, s), 4, states)
    assert total_variation(law, law_at(PROCESS, table, s)) > 0.05


def test_remasking_revises_what_coarse_steps_broke() -> None:
    """It converges with the steps, and where remasking is on all the way it forgets the errors of early steps."""
    falls = halvings(errors(PROCESS, correlated(), Remasking(cap=0.1), (8, 16, 32)))
    assert all(fall > 1.3 for fall in falls)
    # A walk that starts from the wrong law is brought nearer to the right one than ancestral steps bring it.
    start = torch.zeros(4, 4, 4, dtype=torch.float64)
    start[0, 0, 3], start[2, 1, 3] = 0.5, 0.5  # impossible pairs
    grid = uniform(32, 0.5)
    wrong = {
        name: total_variation(law_of_walk(F, solver, grid, 3, start), correlated())
        for name, solver in {"ancestral": Ancestral(), "remasking": Remasking(cap=1.0)}.items()
    }
    assert wrong["ancestral"] > 0.99
    assert wrong["remasking"] < 0.5


def test_remasking_can_be_switched_off() -> None:
    times = [torch.tensor(v, dtype=torch.float64) for v in (0.6, 0.4)]
    states = all_states(4, 3)
    off = Remasking(start=0.5).kernel(PROCESS, F(states, times[0]), states, *times).probs
    plain = Remasking(cap=0.0).kernel(PROCESS, F(states, times[0]), states, *times).probs
    assert torch.equal(off, plain)


@pytest.mark.parametrize("solver", [Unmasking(), Remasking()], ids=["unmasking", "remasking"])
def test_one_evaluation_a_step_and_absorbing_chains_only(walk: Callable[..., Any], solver: Any) -> None:
    f = Counted(F)
    x = torch.full((4, 3), 3)
    y = walk(f, solver, x, uniform(5))
    assert f.nfe == 5
    assert bool((y < 3).all())
    uniform_chain = TokenTable(KERNELS["uniform"], correlated())
    with pytest.raises(Unsuited, match="absorbing chains"):
        walk(uniform_chain, solver, torch.zeros(4, 3).long(), uniform(5))
