"""Instruction pairs: only what may change changes, and what was asked for is there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from domains.common.errors import BadInput
from domains.image.scenes import draw_edits, draw_scenes, edit_pictures, stack
from domains.image.scenes.assertions import true_findings
from domains.image.scenes.edits import KINDS, findings_after
from domains.image.scenes.vocabulary import HELD_OUT


def test_outside_the_mask_the_pictures_are_equal() -> None:
    edits = draw_edits(1, 240)
    pictures = edit_pictures(edits)
    same = (pictures.before.images == pictures.after.images).all(1)
    assert (same | pictures.mask).all()
    assert not same.all((1, 2)).any()
    for edit, mask in zip(edits, pictures.mask, strict=True):
        share = mask.mean()
        if edit.change.kind == "restyle":
            assert share == 1
        elif edit.change.kind == "background":
            assert 0.4 < share < 1
        else:
            assert 0.01 < share < 0.65
    assert set(Counter(e.change.kind for e in edits)) == set(KINDS)


def test_the_target_is_hit_afterwards_and_not_before() -> None:
    edits = draw_edits(2, 240)
    pictures = edit_pictures(edits)
    before = true_findings(stack([e.before for e in edits]), pictures.before)
    assert all(e.hit(found) for e, found in zip(edits, findings_after(edits, pictures), strict=True))
    assert not any(e.hit(found) for e, found in zip(edits, before, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_changes_one_thing(kind: str) -> None:
    for edit in draw_edits(3, 25, kinds=[kind]):  # type: ignore[list-item]
        if edit.change.kind != kind:  # a scene that has no room for it gets a change of background
            continue
        before, after = list(edit.before.items), list(edit.after.items)
        target = edit.change.target
        if kind in ("restyle", "background"):
            assert before == after
        else:
            assert (edit.before.background, edit.before.style) == (edit.after.background, edit.after.style)
            if kind != "add":
                before.pop(target)
            if kind != "remove":
                after.pop(target)
            assert before == after


def test_no_edit_makes_a_held_out_pair() -> None:
    for edit in draw_edits(4, 600, kinds=["recolour", "reshape", "add"]):
        assert not {(item.colour, item.shape) for item in edit.after.items} & set(HELD_OUT)


def test_edits_do_not_depend_on_the_batch_and_begin_at_the_scenes_of_the_seed() -> None:
    many = draw_edits(5, 40, "val")
    assert draw_edits(5, [7, 31], "val") == [many[7], many[31]]
    scenes = draw_scenes(5, 40, "val")
    assert [e.before for e in many] == [scenes.scene(i) for i in range(40)]


def test_instructions_are_told_apart_in_both_languages() -> None:
    edits = draw_edits(6, 200)
    rng = np.random.default_rng(0)
    english = [e.text(rng, "en") for e in edits]
    chinese = [e.text(rng, "zh") for e in edits]
    assert all(text.isascii() and text == text.strip() and "  " not in text for text in english)
    assert all(any("\u4e00" <= c <= "\u9fff" for c in text) for text in chinese)
    for edit, text in zip(edits, english, strict=True):
        if edit.change.kind == "recolour":
            words = {"cyan": ("cyan", "turquoise"), "purple": ("purple", "violet")}
            assert any(w in text for w in words.get(edit.change.value, (edit.change.value,)))
    assert len(set(english)) > 120


def test_unknown_kinds_are_refused() -> None:
    for kinds in ([], ["repaint"]):
        with pytest.raises(BadInput):
            draw_edits(0, 1, kinds=kinds)  # type: ignore[arg-type]
