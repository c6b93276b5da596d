"""Training batches: the same at any time, words that fit, parts that are given."""

from __future__ import annotations

import numpy as np
import torch

from domains.image.given import known_pixels, random_masks, source_picture
from domains.image.scenes.prompts import read_prompt
from domains.image.stream import SceneStream


def test_batches_are_made_by_address_and_hold_what_was_asked() -> None:
    stream = SceneStream(1, 40, masked=0.5, edited=0.25)
    first, again, other = stream.batch_at(3), stream.batch_at(3), stream.batch_at(4)
    assert torch.equal(first.images, again.images) and torch.equal(first.given, again.given)
    assert first.captions == again.captions and first.captions != other.captions
    assert first.images.shape == (40, 3, 64, 64) and first.given.shape == (40, 4, 64, 64)
    flags = first.given[:, 3].flatten(1)
    assert (flags[30:] == -1).all(), "the last quarter are edits"
    known = (flags[:30] == 1).any(1)
    assert 5 <= int(known.sum()) <= 25 and set(flags[:30].unique().tolist()) <= {0.0, 1.0}
    where = first.given[:30, 3:] == 1
    assert torch.equal(first.given[:30, :3], first.images[:30] * where)


def test_captions_of_whole_pictures_can_be_read() -> None:
    for caption in SceneStream(2, 32, edited=0.0).batch_at(0).captions:
        assert read_prompt(caption).mentions


def test_an_edit_differs_from_its_source_and_mostly_keeps_it() -> None:
    batch = SceneStream(1, 24, edited=1.0).batch_at(0)
    difference = (batch.images - batch.given[:, :3]).abs().amax(1) > 0.02
    shares = difference.flatten(1).float().mean(1)
    assert (shares > 0).all() and float(shares.median()) < 0.6


def test_masks_are_of_many_kinds_and_of_fair_size() -> None:
    masks = random_masks(300, 64, np.random.default_rng(0))
    shares = masks.mean((1, 2))
    assert shares.min() > 0.003 and shares.max() < 0.995 and 0.2 < shares.mean() < 0.6


def test_what_is_given() -> None:
    images = torch.rand(2, 3, 8, 8)
    drawn = torch.zeros(2, 8, 8, dtype=torch.bool)
    drawn[:, :4] = True
    given = known_pixels(images, drawn)
    assert not given[:, :, :4].any() and torch.equal(given[:, :3, 4:], images[:, :, 4:])
    assert torch.equal(source_picture(images)[:, :3], images) and (source_picture(images)[:, 3] == -1).all()
    everything = known_pixels(images, torch.ones(2, 8, 8, dtype=torch.bool))
    assert not everything.any(), "nothing known is nothing given"
