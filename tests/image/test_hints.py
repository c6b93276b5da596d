"""Hints: what they show is where it is, and what people paint is read back."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from domains.common.errors import BadInput
from domains.image.hints import channels, make_hint, read_hint, shown_hint
from domains.image.requests import HintKind
from domains.image.scenes import draw_scenes, render_truth
from domains.image.scenes.truth import Truth

KINDS = get_args(HintKind)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return render_truth(draw_scenes(5, 24))


@pytest.mark.parametrize("kind", KINDS)
def test_hints_have_their_shape_and_are_drawn_where_things_are(kind: HintKind, truth: Truth) -> None:
    hint = make_hint(kind, truth, np.random.default_rng(0))
    assert hint.shape == (24, channels(kind), 64, 64) and hint.dtype == torch.float32
    assert float(hint.min()) >= 0 and float(hint.max()) <= 1
    seen = torch.from_numpy(truth.rendered.objects >= 0)
    near = torch.nn.functional.max_pool2d(seen.float()[:, None], 9, 1, 4)[:, 0] > 0
    drawn = (hint > 0.5).any(1)
    assert drawn.flatten(1).any(1).all()
    assert not (drawn & ~near).any(), "nothing is drawn away from objects"


def test_regions_and_depth_are_exact(truth: Truth) -> None:
    regions = make_hint("segmentation", truth, np.random.default_rng(0))
    assert torch.equal(regions.sum(1) > 0, torch.from_numpy(truth.rendered.objects >= 0))
    depth = make_hint("depth", truth, np.random.default_rng(0))[:, 0].numpy()
    for picture, objects, far in zip(depth, truth.rendered.objects, truth.rendered.depth, strict=True):
        np.testing.assert_allclose(picture[objects >= 0], 1 - far[objects >= 0], atol=1e-6)
        assert not picture[objects < 0].any()


def test_scribbles_shake_and_edges_do_not(truth: Truth) -> None:
    rng = np.random.default_rng
    assert torch.equal(make_hint("edges", truth, rng(0)), make_hint("edges", truth, rng(1)))
    a, b = (make_hint("scribble", truth, rng(k)) for k in (0, 1))
    assert not torch.equal(a, b)
    edges = make_hint("edges", truth, rng(0))
    near = torch.nn.functional.max_pool2d(edges, 9, 1, 4)
    assert not ((a > 0) & (near == 0)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shown_is_read_back(kind: HintKind, truth: Truth) -> None:
    hint = make_hint(kind, truth, np.random.default_rng(0))[:1]
    again = read_hint(kind, shown_hint(kind, hint[0]))
    assert again.shape == hint.shape
    if kind == "depth":
        torch.testing.assert_close(again, hint, rtol=0, atol=1 / 255 + 1e-6)
    elif kind == "keypoints":
        assert torch.equal(again.amax(1) > 0, hint.amax(1) > 0.5)
    else:
        assert torch.equal(again, hint)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_hint_is_refused(kind: HintKind) -> None:
    with pytest.raises(BadInput, match="shows nothing"):
        read_hint(kind, np.zeros((64, 64, 3), np.uint8))
