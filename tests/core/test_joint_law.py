"""The joint law of position, token and rotation, walked together, each part on its own clock where asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from core.exact import GaussianMixture, JointMixture, RotationMixture, TokenTable
from core.noise import Noise
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.heun import Heun
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.spaces.brownian import Brownian
from core.spaces.categorical import Categorical
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.spaces.rotations import SO3
from core.time_grids import uniform

ROWS, COPIES = 2, 1500
COUNT = ROWS * COPIES
M = SO3()
WEIGHTS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEANS = torch.tensor([[-2.0], [0.0], [2.0]], dtype=torch.float64)
STD = 0.1
TOKENS = torch.tensor([0, 1, 0])
ROTATIONS = M.uniform(torch.empty(3, 3, 3, dtype=torch.float64), Noise.of(3, 3))
PROCESS = Product(
    {"position": Gaussian(VPCosine()), "token": Categorical((0.0, 0.0, 1.0)), "rotation": Brownian()}
)
JOINT = JointMixture(PROCESS, WEIGHTS, MEANS, STD, TOKENS, ROTATIONS)
HALF = {"position": 0.0, "rotation": 0.0, "token": 1.0}  # eta: deterministic where a space can be
STEPS = 48


def prior() -> dict[str, Tensor]:
    like = {
        "position": torch.empty(ROWS, COPIES, 1, dtype=torch.float64),
        "token": torch.empty(ROWS, COPIES, 1),
        "rotation": torch.empty(ROWS, COPIES, 3, 3, dtype=torch.float64),
    }
    x: dict[str, Tensor] = PROCESS.prior(like, Noise.of(5, ROWS).at("prior"))
    return x


def components(x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The component that each sample's position belongs to, and the one that its rotation does, `[COUNT]`."""
    by_position = (x["position"].flatten(0, 1) - MEANS[:, 0]).abs().argmin(-1)
    away = M.distance(ROTATIONS, x["rotation"].flatten(0, 1)[:, None])
    return by_position, away.argmin(-1)


def agreement(x: dict[str, Tensor]) -> tuple[float, float]:
    """Share of samples whose token, and whose rotation, is the one of their position's component."""
    k, r = components(x)
    return float((TOKENS[k] == x["token"].flatten()).double().mean()), float((k == r).double().mean())


def check_weights(x: dict[str, Tensor], want: Tensor, bias: float = 0.01) -> None:
    found = torch.bincount(components(x)[0], minlength=3).double() / COUNT
    error = (want * (1 - want) / COUNT).sqrt()
    assert bool(((found - want).abs() <= 4 * error + bias).all()), f"weights {found.tolist()}"


@pytest.mark.parametrize(
    "solver",
    [Ancestral(), Ancestral(HALF), Multistep(HALF), Multistep(1.0), Heun(HALF), UniPC(3)],
    ids=["ancestral", "ddim", "multistep", "multistep-sde", "heun", "unipc"],
)
def test_the_joint_law(walk: Callable[..., Any], packed: type, solver: Any) -> None:
    x = walk(packed(JOINT), solver, prior(), uniform(STEPS), Noise.of(5, ROWS))
    check_weights(x, WEIGHTS)
    assert min(agreement(x)) > 0.99
    k, r = components(x)
    inner = x["position"].flatten() - MEANS[k, 0]
    assert float(inner.std()) == pytest.approx(STD, rel=0.1 if solver.order > 1 else 0.25)
    assert float(M.distance(ROTATIONS[r], x["rotation"].flatten(0, 1)).max()) < 0.01


class Separate:
    """Each part predicted from itself alone: what a joint walk would be without the joint."""

    process = PROCESS

    def __init__(self) -> None:
        parts: dict[str, Any] = PROCESS.parts  # type: ignore[assignment]
        table = torch.zeros(2, dtype=torch.float64).index_add_(0, TOKENS, WEIGHTS)
        self.parts = {
            "position": GaussianMixture(parts["position"], MEANS, torch.full((3,), STD).double(), WEIGHTS),
            "token": TokenTable(parts["token"], table),
            "rotation": RotationMixture(parts["rotation"], ROTATIONS, WEIGHTS),
        }

    def __call__(self, x: dict[str, Tensor], t: Any) -> dict[str, Tensor]:
        return {name: f(x[name], t) for name, f in self.parts.items()}


def test_fields_that_are_sampled_independently_are_seen(walk: Callable[..., Any], packed: type) -> None:
    """Every marginal law is right, and the joint law is not: these tests would tell."""
    x = walk(packed(Separate()), Ancestral(), prior(), uniform(STEPS), Noise.of(5, ROWS))
    check_weights(x, WEIGHTS, 0.02)
    assert float((x["token"] == 0).double().mean()) == pytest.approx(0.5, abs=0.04)
    by_token, by_rotation = agreement(x)
    assert by_token == pytest.approx(0.5, abs=0.05)  # P(two independent tokens are equal)
    assert by_rotation == pytest.approx(float(WEIGHTS.square().sum()), abs=0.05)


@pytest.mark.parametrize(
    "solver", [Ancestral(), Multistep(HALF), UniPC(3)], ids=["ancestral", "multistep", "unipc"]
)
@pytest.mark.parametrize(
    ("held", "value", "want"),
    [
        ("token", torch.tensor([0]), [0.4, 0.0, 0.6]),
        ("position", torch.tensor([2.0]), [0.0, 0.0, 1.0]),
        ("rotation", ROTATIONS[1], [0.0, 1.0, 0.0]),
    ],
    ids=["token", "position", "rotation"],
)
def test_a_part_held_at_clock_zero_conditions_the_rest(
    walk: Callable[..., Any], packed: type, solver: Any, held: str, value: Tensor, want: list[float]
) -> None:
    """Inpainting, inverse folding and scaffolding: the part stays to the bit, the others follow Bayes' rule."""
    x = prior()
    x[held] = value.to(x[held].dtype).expand(x[held].shape).clone()
    times = [{name: torch.zeros(()) if name == held else t for name in PROCESS.parts} for t in uniform(24)]
    y = walk(packed(JOINT), solver, x, times, Noise.of(6, ROWS))
    torch.testing.assert_close(y[held], x[held], rtol=0, atol=1e-12)
    if held == "rotation":
        k = components(y)[0]
        assert float((k == 1).double().mean()) > 0.99
        assert float((y["token"] == 1).double().mean()) > 0.99
    else:
        k, r = components(y)
        share = torch.bincount(r, minlength=3).double() / COUNT
        goal = torch.tensor(want, dtype=torch.float64)
        error = (goal * (1 - goal) / COUNT).sqrt()
        assert bool(((share - goal).abs() <= 4 * error + 0.015).all()), f"weights {share.tolist()}"
        other = TOKENS[r] if held == "position" else MEANS[r, 0]
        found = y["token"].flatten() if held == "position" else y["position"].flatten()
        assert float(((found - other).abs() < 6 * STD).double().mean()) > 0.99


def test_parts_may_run_on_different_clocks(walk: Callable[..., Any], packed: type) -> None:
    """Tokens first, then the rest: the joint law does not mind the order of the clocks."""
    early = [min(2 * k / STEPS, 1.0) for k in range(STEPS + 1)]
    late = [max(2 * k / STEPS - 1, 0.0) for k in range(STEPS + 1)]
    times = [
        {"token": torch.tensor(1 - a), "position": torch.tensor(1 - b), "rotation": torch.tensor(1 - b)}
        for a, b in zip(early, late, strict=True)
    ]
    x = walk(packed(JOINT), Ancestral(), prior(), times, Noise.of(7, ROWS))
    check_weights(x, WEIGHTS, 0.015)
    assert min(agreement(x)) > 0.99
