"""Stages: which denoiser serves which time."""

from __future__ import annotations

import pytest
import torch

from core.exact import GaussianMixture
from core.guidance.staged import Staged
from core.noise import Noise
from core.sampling import final, sample
from core.solvers.multistep import Multistep
from core.spaces.gaussian import Gaussian
from core.time_grids import uniform


def law(centre: float) -> GaussianMixture:
    return GaussianMixture(
        Gaussian(),
        torch.tensor([[centre, 0.0]], dtype=torch.float64),
        torch.tensor([0.01], dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )


def walk(f: object) -> torch.Tensor:
    x = Gaussian().prior(torch.empty(64, 2, dtype=torch.float64), Noise.of(0, 64))
    end: torch.Tensor = final(sample(f, Multistep(), x, uniform(20), Noise.of(1, 64))).x  # type: ignore[arg-type]
    return end


def test_each_time_has_its_stage() -> None:
    first, second = law(-3.0), law(3.0)
    staged = Staged([(1.0, first), (0.5, second)])
    x = torch.zeros(2, 2, dtype=torch.float64)
    for t, f in ((1.0, first), (0.51, first), (0.5, second), (0.1, second)):
        time = torch.tensor(t, dtype=torch.float64)
        torch.testing.assert_close(staged(x, time), f(x, time))
    assert staged.process == first.process


def test_a_walk_changes_its_mind() -> None:
    """A change at once is the second law alone, one at the end the first, and one on the way ends in the second."""
    first, second = law(-3.0), law(3.0)
    torch.testing.assert_close(walk(Staged([(1.5, first), (1.0, second)])), walk(second))
    torch.testing.assert_close(walk(Staged([(1.0, first), (-1.0, second)])), walk(first))
    assert float(walk(Staged([(1.0, first), (0.6, second)]))[:, 0].mean()) == pytest.approx(3.0, abs=0.2)


def test_stages_must_fall() -> None:
    for stages in ([], [(0.5, law(0)), (0.5, law(1))], [(0.2, law(0)), (0.5, law(1))]):
        with pytest.raises(ValueError, match="falling"):
            Staged(stages)
