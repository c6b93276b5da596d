"""The Fréchet distance against its closed forms."""

from __future__ import annotations

import pytest
import torch

from core.metrics.frechet import frechet_distance


def _with_moments(n: int, mean: torch.Tensor, root: torch.Tensor, seed: int) -> torch.Tensor:
    """Rows whose sample mean and covariance are exactly `mean` and `root @ root.T`."""
    k = len(mean)
    z = torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z = z - z.mean(0)
    z = z @ torch.linalg.inv(torch.linalg.cholesky(z.mT @ z / (n - 1))).mT
    return mean + z @ root.mT


def test_diagonal_laws_have_the_closed_form() -> None:
    """Per axis: difference of means squared and difference of standard deviations squared."""
    one, other = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 0.1, 0.5]).double()
    mean, shift = torch.zeros(3).double(), torch.tensor([0.3, -1.0, 2.0]).double()
    a = _with_moments(50, mean, torch.diag(one), 0)
    b = _with_moments(70, mean + shift, torch.diag(other), 1)
    expected = float((shift.square() + (one - other).square()).sum())
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_it_is_symmetric_and_unchanged_by_rotation() -> None:
    generator = torch.Generator().manual_seed(3)
    a, b = (
        torch.randn(60, 5, generator=generator) @ torch.randn(5, 5, generator=generator) for _ in range(2)
    )
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64)).Q
    distance = frechet_distance(a, b)
    assert distance == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert distance == pytest.approx(frechet_distance(a.double() @ turn, b.double() @ turn), rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_covariances_that_do_not_commute() -> None:
    """Against the eigenvalues of the product C_a C_b, whose roots sum to the same trace."""
    roots = [
        torch.tensor([[2.0, 0.0], [1.5, 0.5]]).double(),
        torch.tensor([[0.7, -1.0], [0.2, 3.0]]).double(),
    ]
    a, b = (_with_moments(40, torch.zeros(2).double(), root, seed) for seed, root in enumerate(roots))
    one, other = (root @ root.mT for root in roots)
    cross = torch.linalg.eigvals(one @ other).real.sqrt().sum()
    assert frechet_distance(a, b) == pytest.approx(float(one.trace() + other.trace() - 2 * cross), rel=1e-8)


def test_fewer_rows_than_features() -> None:
    a = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(a, a + 1) == pytest.approx(20, rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3)),
        (torch.zeros(5, 3), torch.zeros(5, 4)),
        (torch.zeros(5), torch.zeros(5)),
        (torch.full((5, 3), float("nan")), torch.zeros(5, 3)),
    ],
)
def test_what_has_no_distance_is_refused(a: torch.Tensor, b: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"rows|features|finite"):
        frechet_distance(a, b)
