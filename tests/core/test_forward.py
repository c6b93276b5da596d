"""The forward kernel between noisy times, in every space: a semigroup that carries the law of corrupt."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.noise import Noise
from core.state import take
from tests.core.conftest import double
from tests.core.test_laws import assert_close, assert_equal, assert_same_law

COUNT = 1200


def test_corrupting_and_renoising_is_corrupting(space: Any) -> None:
    """q(x_t | x_0) is the integral of q(x_t | x_s) q(x_s | x_0)."""
    x0, process = space.clean(COUNT), space.process
    x = process.corrupt(x0, double(0.3), Noise.of(1, COUNT))
    y = process.renoise(x, double(0.3), double(0.55), Noise.of(2, COUNT))
    assert_same_law(space, y, process.corrupt(x0, double(0.55), Noise.of(3, COUNT)), 0.0)


def test_a_kernel_that_forgets_what_was_added_is_seen(space: Any) -> None:
    """The mutation: the noise of t is added to x_s in full, as if it were clean."""
    many = 4 * COUNT
    x0, process = space.clean(many), space.process

    def wrong(s: float, t: float) -> None:
        x = process.corrupt(x0, double(s), Noise.of(1, many))
        twice = process.corrupt(x, double(t), Noise.of(2, many))
        assert_same_law(space, twice, process.corrupt(x0, double(t), Noise.of(3, many)), 0.0)

    with pytest.raises(AssertionError):
        _ = wrong(0.3, 0.35), wrong(0.6, 0.65)  # exploding noise hides the one, vanishing signal the other


def test_renoising_from_clean_data_has_the_law_of_corrupt(space: Any) -> None:
    x0, process = space.clean(COUNT), space.process
    y = process.renoise(x0, double(0.0), double(0.4), Noise.of(2, COUNT))
    assert_same_law(space, y, process.corrupt(x0, double(0.4), Noise.of(3, COUNT)), 0.0)


@pytest.mark.parametrize("t", [0.0, 0.4, 1.0])
def test_renoising_to_the_same_time_changes_nothing(space: Any, t: float) -> None:
    x0, process = space.clean(6), space.process
    x = process.corrupt(x0, double(t), Noise.of(1, 6))
    assert_close(process.renoise(x, double(t), double(t), Noise.of(2, 6)), x, 1e-12)


def test_renoising_to_the_end_has_the_law_of_the_prior(space: Any) -> None:
    x0, process = space.clean(COUNT), space.process
    x = process.corrupt(x0, double(0.5), Noise.of(1, COUNT))
    y = process.renoise(x, double(0.5), double(1.0), Noise.of(2, COUNT))
    assert_same_law(space, y, process.prior(x0, Noise.of(3, COUNT)), space.prior_bias)


def test_a_sample_does_not_depend_on_its_neighbours(space: Any) -> None:
    """Nor on whether times are given one for all or one a sample."""
    x0, process, noise = space.clean(6), space.process, Noise.of(2, 6)
    x = process.corrupt(x0, double(0.3), Noise.of(1, 6))
    t = torch.linspace(0.3, 0.9, 6, dtype=torch.float64)
    y = process.renoise(x, double(0.3), t, noise)
    for i in range(6):
        alone = process.renoise(take(x, [i]), double(0.3), t[i], noise.take([i]))
        assert_close(alone, take(y, [i]))


def test_the_parts_of_a_product_are_renoised_at_their_own_clocks(product_space: Any) -> None:
    x0, process = product_space.clean(6), product_space.process
    names = list(process.parts)
    held, moved = names[0], names[1]
    clocks = dict.fromkeys(names, double(0.7)) | {held: double(0.0)}
    y = process.renoise(x0, double(0.0), clocks, Noise.of(2, 6))
    assert_equal(y[held], x0[held])
    with pytest.raises(AssertionError):
        assert_equal(y[moved], x0[moved])
