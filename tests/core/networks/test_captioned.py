"""A network that is told in words: encoded once or on the way, nothing told is the empty text."""

from __future__ import annotations

import pytest
import torch

from core.denoiser import Preconditioned
from core.guidance.classifier_free import Guided
from core.networks import build_network
from core.networks.captioned import Captioned, aligned, emphasised
from core.spaces.gaussian import Gaussian

BODIES = {
    "unet": {"channels": 3, "width": 16, "multipliers": (1, 2), "blocks": 1, "heads": 2, "attention": (1,)},
    "dit": {"channels": 3, "width": 24, "depth": 2, "heads": 2, "patch": 4},
}
TEXTS = ["a red cube", "蓝色的球在红色方块的左边", ""]


@pytest.fixture(params=BODIES)
def network(request: pytest.FixtureRequest) -> Captioned:
    torch.manual_seed(0)
    text = {"width": 16, "depth": 1, "heads": 2, "length": 48}
    config = {"body": request.param, "body_config": BODIES[request.param], "text_config": text}
    built = build_network("captioned", config)
    assert isinstance(built, Captioned)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return built.eval()


def state(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 16, 16, generator=generator), torch.linspace(-2, 2, batch)


def test_words_are_read_once_or_on_the_way(network: Captioned) -> None:
    x, clock = state()
    torch.testing.assert_close(
        network(x, clock, network.words(TEXTS)), network(x, clock, network.read(TEXTS)), rtol=1e-4, atol=1e-5
    )


def test_words_count_and_none_are_the_empty_text(network: Captioned) -> None:
    x, clock = state()
    told = network(x, clock, network.read(["a red cube"] * 3))
    nothing = network(x, clock, None)
    assert float((told - nothing).abs().max()) > 1e-3
    kept = torch.tensor([True, False, True])
    some = network(x, clock, network.words(["a red cube"] * 3, kept))
    torch.testing.assert_close(some[1], nothing[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some[::2], told[::2], rtol=1e-4, atol=1e-5)


def test_branches_of_other_lengths_share_a_batch(network: Captioned) -> None:
    x, _ = state()
    told, nothing = network.read(TEXTS), network.read([""] * 3)
    longer, shorter = aligned([told, nothing])
    assert longer["context"].shape == shorter["context"].shape
    f = Preconditioned(network, Gaussian())
    t = torch.tensor(0.4)
    guided = Guided(f.given(longer), f.given(shorter), 3.0)(x, t)
    apart = [f.given(c)(x, t) for c in (told, nothing)]
    torch.testing.assert_close(guided, 3 * apart[0] - 2 * apart[1], rtol=1e-3, atol=1e-4)


def test_the_encoder_learns_with_the_backbone(network: Captioned) -> None:
    x, clock = state()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(x, clock, network.words(TEXTS)).float().square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    assert float(network.text.embedding.weight.grad.abs().sum()) > 0  # type: ignore[union-attr]


def test_emphasis_moves_what_is_weighed_and_keeps_the_norm(network: Captioned) -> None:
    texts = ["a red cube", "红色的球"]
    cond = {k: v.detach() for k, v in network.read(texts).items()}
    same = emphasised(cond, texts, [[1.0] * 10, [1.0] * 4])
    for name in ("context", "vector"):
        torch.testing.assert_close(same[name], cond[name], rtol=1e-4, atol=1e-5)
    more = emphasised(cond, texts, [[1.0] * 2 + [2.0] * 3 + [1.0] * 5, [1.0] * 3 + [2.0]])
    torch.testing.assert_close(more["context"].flatten(1).norm(dim=1), cond["context"].flatten(1).norm(dim=1))
    ratio = more["context"].norm(dim=-1) / cond["context"].norm(dim=-1)
    assert ratio[0, 4] / ratio[0, 1] == pytest.approx(2.0, rel=1e-3), "r of red against the first a"
    assert ratio[1, 10] / ratio[1, 9] == pytest.approx(2.0, rel=1e-3), "bytes 10 to 12 are the last character"
    torch.testing.assert_close(more["vector"][0], more["context"][0, :11].mean(0), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="weights for"):
        emphasised(cond, texts, [[1.0], [1.0] * 4])


def test_another_body_behind_the_same_encoder(network: Captioned) -> None:
    class Nothing(torch.nn.Module):
        def forward(self, x: torch.Tensor, clock: torch.Tensor, cond: object) -> torch.Tensor:
            return torch.zeros_like(x)

    x, clock = state()
    before = network(x, clock, None)
    other = network.with_body(Nothing())
    assert not other(x, clock, None).any()
    assert other.text is network.text
    assert torch.equal(network(x, clock, None), before), "the one it was made from stays as it is"
