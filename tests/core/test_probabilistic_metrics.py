"""Scores of distributions against their definitions, against each other and against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from core.metrics.probabilistic import (
    coverage,
    crps_gaussian,
    crps_quantiles,
    crps_samples,
    energy_score,
    pinball,
    sample_quantiles,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("estimator", ["fair", "plain"])
def test_samples_by_sorting_equal_the_double_sum(estimator: str, generator: torch.Generator) -> None:
    samples = torch.randn(9, 4, 3, generator=generator, dtype=torch.float64)
    truth = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    pairs = (samples[:, None] - samples[None, :]).abs().sum(dim=(0, 1))
    count = 9 * 8 if estimator == "fair" else 81
    expected = (samples - truth).abs().mean(0) - pairs / (2 * count)
    torch.testing.assert_close(crps_samples(samples, truth, estimator), expected)  # type: ignore[arg-type]


def test_gaussian_closed_form_is_the_integral() -> None:
    mean, std, truth = 0.3, 1.7, -0.9
    z = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    below = 0.5 * (1 + torch.erf((z - mean) / (std * math.sqrt(2))))
    integral = torch.trapezoid((below - (z >= truth).double()).square(), z)
    exact = crps_gaussian(*(torch.tensor(v, dtype=torch.float64) for v in (mean, std, truth)))
    assert exact.item() == pytest.approx(integral.item(), abs=2e-4)


def test_gaussian_without_spread_is_the_absolute_error() -> None:
    score = crps_gaussian(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(score, torch.tensor([0.0, 3.0]))


def test_fair_is_unbiased_and_plain_is_too_large_by_the_known_amount(generator: torch.Generator) -> None:
    repeats, count = 200_000, 4
    samples = torch.randn(count, repeats, generator=generator, dtype=torch.float64)
    truth = torch.full((repeats,), 0.5, dtype=torch.float64)
    exact = crps_gaussian(*(torch.tensor(v, dtype=torch.float64) for v in (0.0, 1.0, 0.5))).item()
    assert crps_samples(samples, truth).mean().item() == pytest.approx(exact, abs=0.004)
    excess = 2 / math.sqrt(math.pi) / (2 * count)  # E|X - X'| of the normal law over 2 S
    assert crps_samples(samples, truth, "plain").mean().item() == pytest.approx(exact + excess, abs=0.004)


def test_plain_samples_equal_their_order_statistics_as_quantiles(generator: torch.Generator) -> None:
    samples = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    truth = torch.randn(5, generator=generator, dtype=torch.float64)
    levels = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    by_quantiles = crps_quantiles(samples.sort(dim=0).values, levels, truth)
    torch.testing.assert_close(by_quantiles, crps_samples(samples, truth, "plain"))


def test_the_true_law_scores_best(generator: torch.Generator) -> None:
    truth = 2 + 3 * torch.randn(50_000, generator=generator, dtype=torch.float64)

    def mean_score(mean: float, std: float) -> float:
        return crps_gaussian(torch.full_like(truth, mean), torch.full_like(truth, std), truth).mean().item()

    best = mean_score(2, 3)
    assert best == pytest.approx(3 / math.sqrt(math.pi), rel=0.02)
    assert all(mean_score(*other) > best * 1.01 for other in [(3, 3), (2, 2), (2, 4.5)])


def test_pinball_by_hand() -> None:
    torch.testing.assert_close(
        pinball(torch.tensor([1.0, 1.0]), 0.9, torch.tensor([3.0, 0.0])), torch.tensor([1.8, 0.1])
    )


def test_sample_quantiles_cover_what_they_say(generator: torch.Generator) -> None:
    draws = torch.randn(20, 100_000, generator=generator)
    lower, upper = sample_quantiles(draws[:19], torch.tensor([0.05, 0.95]))
    assert coverage(lower, upper, draws[19]).item() == pytest.approx(0.9, abs=0.004)


def test_sample_quantiles_by_hand() -> None:
    samples = torch.tensor([[30.0], [10.0], [20.0]])
    found = sample_quantiles(samples, torch.tensor([0.01, 0.25, 0.5, 0.625, 0.99]))
    torch.testing.assert_close(found[:, 0], torch.tensor([10.0, 10.0, 20.0, 25.0, 30.0]))


def test_coverage_leaves_unknown_outcomes_out() -> None:
    truth = torch.tensor([0.0, 2.0, float("nan"), 0.5])
    assert coverage(torch.full((4,), -1.0), torch.ones(4), truth).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("estimator", ["fair", "plain"])
def test_energy_score_in_one_dimension_is_crps(estimator: str, generator: torch.Generator) -> None:
    samples = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    truth = torch.randn(4, generator=generator, dtype=torch.float64)
    energy = energy_score(samples[..., None], truth[..., None], estimator)  # type: ignore[arg-type]
    torch.testing.assert_close(energy, crps_samples(samples, truth, estimator))  # type: ignore[arg-type]


def test_energy_score_sees_dependence(generator: torch.Generator) -> None:
    def draws(count: int, correlation: float) -> torch.Tensor:
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        second = correlation * noise[:, 0] + math.sqrt(1 - correlation**2) * noise[:, 1]
        return torch.stack([noise[:, 0], second], dim=-1)

    truth = draws(4000, 0.95)

    def mean_score(correlation: float) -> float:
        samples = draws(32 * 4000, correlation).reshape(32, 4000, 2)
        return energy_score(samples, truth).mean().item()

    assert mean_score(0.95) < mean_score(-0.5) - 0.02


def test_a_large_level_costs_no_digits(generator: torch.Generator) -> None:
    samples = torch.randn(32, 100, generator=generator).mul(64).round().div(64)  # exact after the shift below
    truth = torch.randn(100, generator=generator).mul(64).round().div(64)
    shifted = crps_samples(samples + 8192, truth + 8192)
    torch.testing.assert_close(shifted, crps_samples(samples, truth), rtol=0, atol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        crps_samples(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="at least two"):
        crps_samples(torch.zeros(1, 2), torch.zeros(2))
    with pytest.raises(ValueError, match="do not match"):
        crps_quantiles(torch.zeros(3, 2), torch.tensor([0.5]), torch.zeros(2))
    with pytest.raises(ValueError, match="do not match"):
        energy_score(torch.zeros(3, 2), torch.zeros(3))
