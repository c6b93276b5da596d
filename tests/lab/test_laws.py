"""The Lab's laws against themselves: tilted draws, exact densities, distances."""

from __future__ import annotations

import math

import pytest
import torch

from core.metrics.transport import sliced_wasserstein, wasserstein
from core.noise import Noise
from core.state import time64
from domains.lab.distances import frequencies, rotation_distance
from domains.lab.figure_plane import FINE, REACH, density
from domains.lab.figure_rotations import BINS, angle_density, histogram
from domains.lab.laws import PlaneLaw, RotationLaw, TokenLaw, make_law, tilted_draws

DRAWS = 3000


def test_tilted_draws_of_tokens_have_the_tilted_table() -> None:
    law = make_law("tokens", "auto")
    assert isinstance(law, TokenLaw)
    for weight in (0.5, 1.0, 3.0):
        drawn = frequencies(tilted_draws(law, 0, weight, Noise.of(0, DRAWS)), law.table.shape[0])
        table = law.tilted(0, weight).table
        assert float((drawn - table).abs().sum()) / 2 < 0.05
    assert float((law.tilted(0, 1.0).table - law.tables[0]).abs().max()) < 1e-12


def test_tilted_draws_of_the_plane_have_the_mean_of_the_tilted_density() -> None:
    law = make_law("pair", "auto")
    assert isinstance(law, PlaneLaw)
    x = tilted_draws(law, 1, 3.0, Noise.of(1, DRAWS))
    axis = torch.linspace(-REACH, REACH, FINE, dtype=torch.float64)
    mass = density(law, 0.0, 1, 3.0)
    mass = mass / mass.sum()
    mean = torch.stack([(mass.sum(0) * axis).sum(), (mass.sum(1) * axis).sum()])
    assert x.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.05)


def test_the_tilted_density_joins_its_two_ways_of_being_made() -> None:
    """In closed form at the smallest noise, blurred at a larger one: both near the law itself at weight 1."""
    law = make_law("pair", "auto")
    assert isinstance(law, PlaneLaw)
    own = law.given(0)
    for t in (0.0, 0.02, 0.1, 0.5, 0.9):
        assert float((density(law, t, 0, 1.0) - density(own, t, None, 1.0)).abs().max()) < 0.05


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_the_density_of_angles_is_that_of_draws(t: float) -> None:
    law = make_law("rotations", "auto")
    assert isinstance(law, RotationLaw)
    noise = Noise.of(2, DRAWS)
    x = law.process.corrupt(law.draw(noise), time64(t), noise.at("path"))
    exact = angle_density(law, t)
    assert float(exact.sum()) * math.pi / BINS == pytest.approx(1, abs=0.02)
    assert float((histogram(law, x) - exact).abs().sum()) * math.pi / BINS / 2 < 0.06


def test_the_exact_rotation_denoiser_agrees_with_points_where_the_law_is_narrow() -> None:
    from dataclasses import replace

    from core.exact import PointMixture

    law = make_law("rotations", "auto")
    assert isinstance(law, RotationLaw)
    narrow = replace(law, widths=torch.full((3,), 1e-3, dtype=torch.float64)).denoiser
    points = PointMixture(law.process, law.centres, law.weights)
    x = law.process.manifold.uniform(law.like(40), Noise.of(3, 40))
    assert float((narrow(x, time64(0.7)) - points(x, time64(0.7))).abs().max()) < 1e-4


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    a = torch.randn(500, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(wasserstein(a, a + 0.3)) == pytest.approx(0.3)
    assert float(wasserstein(a.repeat(3, 1), a)) == pytest.approx(0, abs=1e-9)
    plane = a.repeat(1, 2)
    shifted = plane + torch.tensor([0.3, 0.0])
    assert sliced_wasserstein(plane, shifted) == pytest.approx(0.3 * 2 / math.pi, rel=0.1)


def test_distances_of_equal_laws_fall_with_the_number_of_draws() -> None:
    law = make_law("rotations", "auto")
    few, many = (
        rotation_distance(law.draw(Noise.of(5, n)), law.draw(Noise.of(6, 3000))) for n in (100, 3000)
    )
    assert many < few / 2
