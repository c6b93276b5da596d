"""Editing: what is kept and what is made anew, and translation against the exact map of quantiles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.editing import sdedit, translate
from core.noise import Noise
from core.sampling import final
from core.schedules import VPCosine
from core.solvers.ancestral import Ancestral
from core.solvers.multistep import Multistep
from core.solvers.unipc import UniPC
from core.state import take
from core.time_grids import uniform, uniform_log_snr
from tests.core.conftest import SPACES
from tests.core.orders import MEANS, STDS, WEIGHTS, mixture
from tests.core.test_laws import assert_close
from tests.core.test_likelihood import data
from tests.core.test_likelihood import mixture as spread


def test_a_strong_edit_forgets_the_guide_and_a_weak_one_keeps_it() -> None:
    f = spread(VPCosine(), 2)
    guide = torch.full((400, 2), 3.0, dtype=torch.float64)
    ends = [
        final(sdedit(f, Multistep(), guide, uniform(60), start, Noise.of(0, 400))).x
        for start in (0.15, 0.5, 1.0)
    ]
    distances = [float((end - guide).square().sum(1).mean()) for end in ends]
    assert distances == sorted(distances) and distances[0] < 0.3 * distances[-1]
    # From pure noise it is a sample of the data, whatever the guide was.
    truth = data(f, 400)
    error = ((ends[-1].var(0) + truth.var(0)) / 400).sqrt()
    assert bool(((ends[-1].mean(0) - truth.mean(0)).abs() < 4.5 * error).all())


@pytest.mark.parametrize(
    "name", ["gaussian-vp-cosine", "gaussian-ve", "absorbing", "uniform", "brownian", "product"]
)
def test_a_denoiser_that_knows_the_guide_gives_it_back_in_every_space(name: str) -> None:
    space = SPACES[name]
    guide, process = space.clean(40), space.process

    class Knowing:
        def __init__(self) -> None:
            self.process = process

        def __call__(self, x: Any, t: Any) -> Any:
            return process.target(guide, x, t)

    end = final(sdedit(Knowing(), Ancestral(1.0), guide, uniform(10), 0.5, Noise.of(0, 40))).x
    assert_close(end, guide, 2e-2)


def test_translation_is_the_monotone_map_of_quantiles() -> None:
    """On the line, two flows to one prior make the monotone coupling: F_target(y) = F_source(x)."""
    source, schedule = mixture(VPCosine()), VPCosine()
    means, stds, weights = torch.tensor([-2.0, 0.5]), torch.tensor([0.3, 0.8]), torch.tensor([0.6, 0.4])
    target = replace(source, means=means.double()[:, None], stds=stds.double(), weights=weights.double())
    x = torch.linspace(-1.5, 1.8, 9, dtype=torch.float64)[:, None]
    grid = uniform_log_snr(schedule, 200, 0.9999, 1e-3)
    y = final(translate(source, target, UniPC(3), x, grid)).x

    def level(x: Tensor, means: Tensor, stds: Tensor, weights: Tensor) -> Tensor:
        return (weights * torch.special.ndtr((x - means) / stds)).sum(-1)

    assert torch.allclose(level(y, means, stds, weights), level(x, MEANS, STDS, WEIGHTS), atol=3e-3)
    back = final(translate(target, source, UniPC(3), y, grid)).x
    assert torch.allclose(back, x, atol=1e-2)  # cycles close
    wrong = final(translate(source, target, Ancestral(0.0), x, uniform(6, 0.99))).x
    assert not torch.allclose(level(wrong, means, stds, weights), level(x, MEANS, STDS, WEIGHTS), atol=3e-3)


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    f, noise = spread(VPCosine(), 2), Noise.of(0, 4)
    guide = data(f, 4)
    together = final(sdedit(f, Ancestral(1.0), guide, uniform(10), 0.5, noise)).x
    for i in range(4):
        alone = final(sdedit(f, Ancestral(1.0), take(guide, [i]), uniform(10), 0.5, noise.take([i]))).x
        torch.testing.assert_close(alone[0], together[i])
