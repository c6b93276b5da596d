"""Walks of the image model: prompts that count, batches that do not, variations, starts."""

from __future__ import annotations

import pytest
import torch

from core.noise import Noise
from core.sampling import Counted
from domains.common.task import Sampling
from domains.image.model import ImageModel
from domains.image.prompting import prompted
from domains.image.sampling import Variation, draw, prior_noise, walk

FEW = Sampling(steps=4, guidance=3.0)


def test_a_picture_is_the_same_alone_and_in_a_batch(tiny: ImageModel) -> None:
    prompts = ["a red cube", "蓝色的球", "a much longer prompt, with a green star and two yellow hearts"] * 6
    many, nfe = draw(tiny, prompts, FEW, Noise.of(3, len(prompts)))
    alone, _ = draw(tiny, prompts[1:2], FEW, Noise.of(3, len(prompts)).take([1]))
    assert many.shape == (18, 3, 64, 64) and nfe == 8, "two branches a step, whatever the number of batches"
    torch.testing.assert_close(many[1:2], alone, rtol=0, atol=1e-4)
    last, _ = draw(tiny, prompts[17:], FEW, Noise.of(3, len(prompts)).take([17]))
    torch.testing.assert_close(many[17:], last, rtol=0, atol=1e-4)


def asked(model: ImageModel, prompt: str, negative: str = "", steps: int = 4) -> torch.Tensor:
    def bound(counter: Counted, index: range, times: torch.Tensor):  # type: ignore[no-untyped-def]
        return prompted(model, prompt, negative, 2.0, len(index), times, counter)

    return walk(model, bound, Sampling(steps=steps), Noise.of(0, 2))[0]


def test_notation_counts(tiny: ImageModel) -> None:
    plain = asked(tiny, "a red cube")
    torch.testing.assert_close(asked(tiny, r"a red cube"), plain)
    for other in ("a (red:2) cube", "a [red:blue:0.5] cube"):
        assert float((asked(tiny, other) - plain).abs().max()) > 1e-3, other
    assert float((asked(tiny, "a red cube", "a ball") - plain).abs().max()) > 1e-3
    # A change before the first step is no change, and one at the end changes nothing.
    torch.testing.assert_close(asked(tiny, "a [blue:red:0] cube"), plain, rtol=0, atol=1e-5)
    torch.testing.assert_close(asked(tiny, "a [red:blue:1] cube"), plain, rtol=0, atol=1e-5)
    # Within one step of one another, the later change counts.
    torch.testing.assert_close(
        asked(tiny, "[x:y:0.01]a cube[:!:0.02]"), asked(tiny, "ya cube!"), rtol=0, atol=1e-5
    )


def test_plain_words_are_drawn_alike_by_both_ways(tiny: ImageModel) -> None:
    drawn, _ = draw(tiny, ["a red cube"] * 2, Sampling(steps=4, guidance=2.0), Noise.of(0, 2))
    torch.testing.assert_close(asked(tiny, "a red cube"), drawn, rtol=0, atol=1e-5)


def test_a_variation_leads_from_one_noise_to_the_other() -> None:
    like, noise, other = torch.empty(3, 3, 16, 16), Noise.of(0, 3), Noise.of(9, 3)
    index = range(3)
    ends = [prior_noise(like, n, None, index) for n in (noise, other)]
    for strength, end in ((0.0, ends[0]), (1.0, ends[1])):
        torch.testing.assert_close(prior_noise(like, noise, Variation(other, strength), index), end)
    middle = prior_noise(like, noise, Variation(other, 0.3), index)
    assert float(middle.std()) == pytest.approx(1.0, abs=0.05), "it stays a draw of the prior"
    nearer, farther = ((middle - end).square().mean() for end in ends)
    assert nearer < farther


def test_a_guess_is_kept_the_less_the_stronger_it_is_corrupted(tiny: ImageModel) -> None:
    guess = torch.zeros(2, 3, 64, 64)
    guess[:, 0] = 1.0

    def bound(counter: Counted, index: range, times: torch.Tensor):  # type: ignore[no-untyped-def]
        return prompted(tiny, "a red cube", "", 1.0, len(index), times, counter)

    far = [
        float(
            (walk(tiny, bound, Sampling(steps=10), Noise.of(0, 2), guess=guess, strength=s)[0] - guess)
            .abs()
            .mean()
        )
        for s in (0.1, 0.5, 1.0)
    ]
    assert far[0] < far[1] < far[2]


def test_other_sizes_and_reports(tiny: ImageModel) -> None:
    seen: list[tuple[int, int, range, tuple[int, ...]]] = []

    def bound(counter: Counted, index: range, times: torch.Tensor):  # type: ignore[no-untyped-def]
        return prompted(tiny, "a red cube", "", 1.0, len(index), times, counter)

    images, nfe = walk(
        tiny,
        bound,
        Sampling(steps=3),
        Noise.of(0, 1),
        size=(32, 96),
        report=lambda step, steps, index, q: seen.append((step, steps, index, tuple(q.shape))),
    )
    assert images.shape == (1, 3, 32, 96) and nfe == 3
    assert seen == [(k, 3, range(1), (1, 3, 32, 96)) for k in (1, 2, 3)]
