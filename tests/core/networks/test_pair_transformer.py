"""Points and pairs: the answer turns with the places, follows a renumbering, and does not mind a shift."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from core.networks import build_network
from core.networks.pair_transformer import PairTransformer
from core.noise import Noise
from core.spaces.brownian import Brownian

N, BATCH = 7, 3
CLOCKS = [torch.tensor([-2.0, 0.0, 1.5]), torch.tensor([1.0, -1.0, 0.0])]


def built(places: bool = True, **more: object) -> PairTransformer:
    torch.manual_seed(0)
    config = {
        "points": 5,
        "pairs": 4,
        "point_outputs": 6,
        "pair_outputs": 3,
        "width": 24,
        "pair": 12,
        "depth": 3,
    }
    network = build_network("pair-transformer", {**config, "heads": 4, "clocks": 2, "places": places, **more})
    assert isinstance(network, PairTransformer)
    with torch.no_grad():  # what starts at zero would hide what it multiplies
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double().eval().requires_grad_(False)


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(BATCH, N, 5, generator=generator, dtype=torch.float64)
    pairs = torch.randn(BATCH, N, N, 4, generator=generator, dtype=torch.float64)
    places = 2 * torch.randn(BATCH, N, 3, generator=generator, dtype=torch.float64)
    return points, pairs + pairs.transpose(1, 2), places


def clocks() -> list[Tensor]:
    return [c.double() for c in CLOCKS]


def moved(answer: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
    assert answer[2] is not None
    return answer[2]


def test_shapes_and_symmetry() -> None:
    points, pairs, places = inputs()
    one, two, three = built()(points, pairs, places, clocks())
    assert one.shape == (BATCH, N, 6) and two.shape == (BATCH, N, N, 3)
    assert three is not None and three.shape == (BATCH, N, 3) and float(three.abs().max()) > 0.01
    torch.testing.assert_close(two, two.transpose(1, 2))


def test_it_turns_mirrors_and_shifts_with_its_places() -> None:
    network, (points, pairs, places) = built(), inputs()
    before = network(points, pairs, places, clocks())
    turn = Brownian().manifold.uniform(torch.empty(1, 3, 3, dtype=torch.float64), Noise.of(3, 1))[0]
    for matrix in (turn, -turn):
        after = network(points, pairs, places @ matrix.T + torch.tensor([3.0, -1.0, 2.0]).double(), clocks())
        torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-9)
        torch.testing.assert_close(after[1], before[1], rtol=0, atol=1e-9)
        torch.testing.assert_close(moved(after), moved(before) @ matrix.T, rtol=0, atol=1e-9)


@pytest.mark.parametrize("places", [True, False])
def test_it_follows_a_renumbering(places: bool) -> None:
    network, (points, pairs, where) = built(places), inputs()
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    given = where if places else None
    before = network(points, pairs, given, clocks())
    after = network(
        points[:, order], pairs[:, order][:, :, order], where[:, order] if places else None, clocks()
    )
    torch.testing.assert_close(after[0], before[0][:, order])
    torch.testing.assert_close(after[1], before[1][:, order][:, :, order])
    if places:
        torch.testing.assert_close(moved(after), moved(before)[:, order])


def test_samples_do_not_see_each_other_and_everything_counts() -> None:
    network, (points, pairs, places) = built(vector=2), inputs()
    vector = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
    whole = network(points, pairs, places, clocks(), vector)
    alone = network(points[1:2], pairs[1:2], places[1:2], [c[1:2] for c in clocks()], vector[1:2])
    for a, b in zip(whole, alone, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a[1:2], b)
    other = [
        network(points.flip(0), pairs, places, clocks(), vector),
        network(points, pairs.flip(0), places, clocks(), vector),
        network(points, pairs, 1.5 * places, clocks(), vector),
        network(points, pairs, places, [clocks()[0] + 1, clocks()[1]], vector),
        network(points, pairs, places, [clocks()[0], clocks()[1] + 1], vector),
        network(points, pairs, places, clocks(), vector.flip(0)),
    ]
    for changed in other:
        assert float((changed[0] - whole[0]).abs().max()) > 1e-4


def test_it_trains_under_autocast() -> None:
    network = built().float().train().requires_grad_(True)
    points, pairs, places = (v.float() for v in inputs())
    with torch.autocast("cpu", torch.bfloat16):
        one, two, three = network(points, pairs, places, CLOCKS)
        assert three is not None and three.dtype == torch.float32, "places keep their precision"
        (one.float().square().sum() + two.float().square().sum() + three.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_points_in_one_place_and_places_that_are_not_expected() -> None:
    points, pairs, places = inputs()
    answer = built()(points, pairs, torch.zeros_like(places), clocks())
    assert all(bool(part.isfinite().all()) for part in answer if part is not None)
    with pytest.raises(ValueError, match="lacking"):
        built()(points, pairs, None, clocks())
    with pytest.raises(ValueError, match="given"):
        built(False)(points, pairs, places, clocks())
