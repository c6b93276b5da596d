"""Addressed noise: sample i's numbers are its own, bit for bit, and they are normal, uniform and independent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.noise import Noise

KINDS = ("normal", "uniform")
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def draw(noise: Noise, kind: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    like = torch.empty(shape, dtype=dtype)
    return noise.normal(like) if kind == "normal" else noise.uniform(like)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rest", [(), (1,), (7,), (2, 3, 5), (0,)])
def test_sample_is_the_same_in_any_batch(kind: str, dtype: torch.dtype, rest: tuple[int, ...]) -> None:
    whole = draw(Noise.of(42, 9).at("a", 3), kind, (9, *rest), dtype)
    assert whole.shape == (9, *rest)
    assert whole.dtype == dtype
    for count in (1, 4):
        assert torch.equal(draw(Noise.of(42, count).at("a", 3), kind, (count, *rest), dtype), whole[:count])
    order = [7, 2, 2, 0, 8]
    assert torch.equal(draw(Noise.of(42, 9).take(order).at("a", 3), kind, (5, *rest), dtype), whole[order])


@given(
    seed=st.integers(0, 2**63 - 1),
    count=st.integers(1, 6),
    index=st.lists(st.integers(0, 5), min_size=1, max_size=6),
)
def test_any_subset_of_any_request_is_the_same(seed: int, count: int, index: list[int]) -> None:
    index = [i % count for i in index]
    noise = Noise.of(seed, count).at("step", 5)
    assert torch.equal(
        noise.normal(torch.empty(count, 4))[index], noise.take(index).normal(torch.empty(len(index), 4))
    )


def test_a_draw_repeats_and_an_address_forks() -> None:
    noise = Noise.of(1, 3)
    like = torch.empty(3, 6)
    addresses: list[tuple[int | str, ...]] = [
        (),
        (0,),
        (1,),
        ("0",),
        ("a",),
        ("a", "b"),
        ("ab",),
        ("b", "a"),
        (1, 2),
        (12,),
    ]
    draws = [noise.at(*address).normal(like) for address in addresses]
    for i, one in enumerate(draws):
        assert torch.equal(one, noise.at(*addresses[i]).normal(like))
        assert all(not bool((one == other).any()) for other in draws[:i])
    assert torch.equal(noise.at("a").at("b").normal(like), noise.at("a", "b").normal(like))


def test_integers_of_numpy_name_the_same_stream() -> None:
    like = torch.empty(2, 4)
    assert torch.equal(
        Noise.of(np.int64(5), 2).at(np.int32(1)).normal(like), Noise.of(5, 2).at(1).normal(like)
    )


def test_requests_and_samples_differ() -> None:
    like = torch.empty(4, 8)
    a, b = Noise.of(0, 4).normal(like), Noise.of(1, 4).normal(like)
    everything = torch.cat([a, b]).flatten()
    assert len(everything.unique()) == len(everything)


def test_like_decides_shape_and_type_only() -> None:
    noise = Noise.of(0, 2)
    assert torch.equal(noise.normal(torch.zeros(2, 3)), noise.normal(torch.full((2, 3), torch.nan)))
    assert noise.uniform(torch.zeros(2, 3, dtype=torch.int64)).dtype == torch.float32


def test_a_batch_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="3 streams, the state has 4"):
        Noise.of(0, 3).normal(torch.empty(4, 2))


def kolmogorov_smirnov(values: Tensor) -> float:
    """The statistic against the uniform law times sqrt(n): above 1.95 once in a thousand."""
    x = values.double().flatten().sort().values
    n = len(x)
    grid = torch.arange(n + 1, dtype=torch.float64) / n
    return float(torch.maximum((grid[1:] - x).max(), (x - grid[:-1]).max())) * n**0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_laws(dtype: torch.dtype) -> None:
    """Along one stream, across streams, and across addresses."""
    normal = [
        draw(Noise.of(0, 1), "normal", (1, 20000), dtype),
        draw(Noise.of(1, 4000), "normal", (4000,), dtype),
        torch.stack([draw(Noise.of(2, 1).at("step", k), "normal", (1, 1), dtype) for k in range(4000)]),
    ]
    uniform = [
        draw(Noise.of(0, 1), "uniform", (1, 20000), dtype),
        draw(Noise.of(1, 4000), "uniform", (4000,), dtype),
        torch.stack([draw(Noise.of(2, 1).at("step", k), "uniform", (1, 1), dtype) for k in range(4000)]),
    ]
    for values in (*(torch.special.ndtr(z.double()) for z in normal), *uniform):
        assert kolmogorov_smirnov(values) < 1.95
        assert float(values.min()) >= 0
        assert float(values.max()) < 1


@pytest.mark.parametrize("dtype", TYPES)
def test_uniform_numbers_stay_below_one(dtype: torch.dtype) -> None:
    """Rounding to half precision would otherwise make ones, and a token of probability zero."""
    u = draw(Noise.of(0, 1), "uniform", (1, 100000), dtype)
    assert float(u.max()) < 1
    assert float(u.min()) >= 0


def test_streams_and_addresses_are_independent() -> None:
    count, length = 200, 500
    noise = Noise.of(3, count)
    a, b = (noise.at("step", k).normal(torch.empty(count, length, dtype=torch.float64)) for k in (0, 1))
    scale = (count * length) ** 0.5
    assert abs(float((a * b).sum())) / scale < 4  # the same sample at the next step
    assert abs(float((a[1:] * a[:-1]).sum())) / scale < 4  # neighbours
    assert abs(float((a[:, 1:] * a[:, :-1]).sum())) / scale < 4  # along the stream
    between = a @ a.T / length**0.5
    assert float(between.fill_diagonal_(0).abs().max()) < 5.5


def test_shared_numbers_belong_to_the_batch_and_the_address() -> None:
    noise = Noise.of(0, 3)
    assert noise.at("a").shared().random() == noise.at("a").shared().random()
    others = [noise.at("b"), Noise.of(0, 4).at("a"), Noise.of(1, 3).at("a"), noise.take([1, 0, 2]).at("a")]
    assert len({n.shared().random() for n in (noise.at("a"), *others)}) == 5


def test_numbers_never_change() -> None:
    """Recipes reproduce across versions only where the numbers never change."""
    z = Noise.of(7, 1).at("step", 0).normal(torch.empty(1, 3, dtype=torch.float64))
    expected = [0.3518401728002987, -1.22631388541509, -0.895780571568037]
    torch.testing.assert_close(z[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-15)
