"""Windows: they cover every row, fade into each other, and begin from the same noise."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.noise import Noise
from domains.series.windows import TiledNoise, fade_weights, plan


@given(rows=st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_every_row_is_answered_for_with_weights_that_sum_to_one(rows: int) -> None:
    windows = plan(rows, 192, 768, 64)
    total = torch.zeros(rows)
    for w, weight in zip(windows, fade_weights(windows, rows), strict=True):
        assert w.begin <= w.keep_from < w.keep_to <= min(rows, w.begin + 192)
        assert w.context_begin <= w.begin and w.begin + 192 <= w.context_begin + 768
        assert bool((weight >= 0).all())
        total[w.keep_from : w.keep_to] += weight
    torch.testing.assert_close(total, torch.ones(rows))


def test_overlapping_windows_begin_from_the_same_noise() -> None:
    noise = Noise.of(5, 3)
    one, two = TiledNoise(noise, 2), TiledNoise(noise, 2)
    early = one.rows(0, 192)
    late = one.rows(100, 192)
    assert torch.equal(early[..., 100:], late[..., :92])
    assert torch.equal(two.rows(100, 192), late)


def test_noise_of_a_sample_does_not_depend_on_the_others() -> None:
    noise = Noise.of(5, 4)
    alone = TiledNoise(noise.take([2]), 2).rows(37, 100)
    assert torch.equal(alone[0], TiledNoise(noise, 2).rows(37, 100)[2])


def test_short_tables_have_one_window() -> None:
    (only,) = plan(40, 192, 768, 64)
    assert (only.begin, only.context_begin, only.keep_from, only.keep_to) == (0, 0, 0, 40)


@pytest.mark.parametrize("rows", [193, 256, 257])
def test_the_last_window_ends_with_the_table(rows: int) -> None:
    assert plan(rows, 192, 768, 64)[-1].begin == rows - 192
