"""Control branches: nothing at first, nothing at scale 0, the base untouched, and control after a little training."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from core.adapters.control import ControlNet
from core.adapters.controlled import BRANCHES, Controlled, Kind, build_branch
from core.adapters.light_control import T2IAdapter
from core.denoiser import Preconditioned
from core.guidance.classifier_free import Guided
from core.networks.unet import UNet
from core.spaces.gaussian import Gaussian

CLOCK = torch.tensor([-1.0, 0.5])


def unet(patch: int = 2, **more: object) -> UNet:
    torch.manual_seed(0)
    base = UNet(3, 16, (1, 2), (2, 1), (1,), 2, patch=patch, **more)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return base.eval()


def inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 16, 16, generator=generator), torch.rand(2, 1, 16, 16, generator=generator)


@pytest.fixture(params=get_args(Kind))
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


def shaken(branch: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in branch.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return branch.eval()


@torch.no_grad()
def test_a_new_branch_is_nothing_and_so_is_scale_zero(kind: Kind) -> None:
    base, (x, hint) = unet(), inputs()
    plain = base(x, CLOCK, None)
    new = Controlled(base, [build_branch(kind, base, 1)])
    torch.testing.assert_close(new(x, CLOCK, {"hint0": hint}), plain, rtol=0, atol=1e-6)
    branch = shaken(build_branch(kind, base, 1))
    silent = Controlled(base, [branch], [0.0])(x, CLOCK, {"hint0": hint})
    assert torch.equal(silent, plain), "to the bit"
    loud = Controlled(base, [branch])(x, CLOCK, {"hint0": hint})
    assert float((loud - plain).abs().max()) > 1e-3
    half = Controlled(base, [branch], [0.5])(x, CLOCK, {"hint0": hint})
    assert float((half - plain).abs().mean()) < float((loud - plain).abs().mean())
    assert torch.equal(Controlled(base, [branch])(x, CLOCK, None), plain), "no hint, no part"


@torch.no_grad()
def test_hints_count_sample_by_sample(kind: Kind) -> None:
    base, (x, hint) = unet(), inputs()
    both = Controlled(base, [shaken(build_branch(kind, base, 1))])
    whole = both(x, CLOCK, {"hint0": hint})
    alone = both(x[1:], CLOCK[1:], {"hint0": hint[1:]})
    torch.testing.assert_close(whole[1:], alone, rtol=1e-4, atol=1e-5)
    other = both(x, CLOCK, {"hint0": torch.cat([1 - hint[:1], hint[1:]])})
    torch.testing.assert_close(other[1:], whole[1:], rtol=1e-4, atol=1e-5)
    assert float((other[0] - whole[0]).abs().max()) > 1e-3


@torch.no_grad()
def test_several_branches_at_once(kind: Kind) -> None:
    base, (x, hint) = unet(), inputs()
    first, second = shaken(build_branch(kind, base, 1)), shaken(ControlNet(base, 3))
    cond = {"hint0": hint, "hint1": x.clone()}
    both = Controlled(base, [first, second])(x, CLOCK, cond)
    for scales in ([1.0, 0.0], [0.0, 1.0]):
        one = Controlled(base, [first, second], scales)(x, CLOCK, cond)
        assert float((one - both).abs().max()) > 1e-4


def test_only_the_branch_learns_and_it_learns_to_follow(kind: Kind) -> None:
    """The target has its bright part where the hint is: the base cannot know, the branch can."""
    base = unet()
    before = {name: v.clone() for name, v in base.state_dict().items()}
    network = Controlled(base, [build_branch(kind, base, 1)]).train()
    assert not any(p.requires_grad for p in base.parameters())
    # A branch that is added at one place only, by weights that begin at zero, takes longer.
    rate, steps = (2e-2, 120) if kind == "controlnext" else (5e-3, 60)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    losses = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        hint = (
            (torch.rand(8, 1, 4, 4, generator=generator) > 0.5)
            .float()
            .repeat_interleave(4, 2)
            .repeat_interleave(4, 3)
        )
        x = torch.randn(8, 3, 16, 16, generator=generator)
        out = network(x, torch.zeros(8), {"hint0": hint})
        loss = (out - (2 * hint - 1)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]), losses
    for name, value in base.state_dict().items():
        assert torch.equal(value, before[name]), name
    for parameter in base.parameters():
        assert parameter.grad is None


def test_the_small_branch_is_small() -> None:
    base = UNet(3, 64, (1, 2), 2, (0, 1), 4, patch=4, context=64)

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    whole = size(ControlNet(base, 3))
    assert size(build_branch("controlnet-xs", base, 3)) <= 0.35 * whole
    assert size(build_branch("controlnext", base, 3)) <= 0.35 * whole


@torch.no_grad()
def test_an_adapter_is_made_once_for_a_walk() -> None:
    base, (x, hint) = unet(), inputs()
    adapter = shaken(T2IAdapter(base, 1, width=8))
    network = Controlled(base, [adapter])
    cond = network.prepared({"hint0": hint})
    assert sorted(cond) == ["hint0.0", "hint0.1"]
    calls: list[int] = []
    adapter.hint.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(network(x, CLOCK, cond), network(x, CLOCK, {"hint0": hint}))
    assert len(calls) == 1, "prepared features need no encoder"


@torch.no_grad()
def test_control_is_guided_in_one_batch(kind: Kind) -> None:
    base, (x, hint) = unet(vector=4), inputs()
    network = Controlled(base, [shaken(build_branch(kind, base, 1))])
    f = Preconditioned(network, Gaussian())
    told = network.prepared({"vector": torch.ones(2, 4), "hint0": hint})
    untold = {**told, "vector": torch.zeros(2, 4)}
    t = torch.tensor(0.4)
    guided = Guided(f.given(told), f.given(untold), 3.0)(x, t)
    torch.testing.assert_close(
        guided, 3 * f.given(told)(x, t) - 2 * f.given(untold)(x, t), rtol=1e-3, atol=1e-4
    )


@torch.no_grad()
@pytest.mark.parametrize("dims", [1, 3])
def test_other_numbers_of_axes(kind: Kind, dims: int) -> None:
    torch.manual_seed(0)
    base = UNet(2, 16, (1, 2), 1, (1,), 2, dims=dims)
    sides = (8,) * dims
    x, hint = torch.randn(2, 2, *sides), torch.randn(2, 1, *sides)
    out = Controlled(base, [shaken(build_branch(kind, base, 1))])(x, CLOCK, {"hint0": hint})
    assert out.shape == x.shape


def test_what_does_not_fit_is_refused() -> None:
    base = unet()
    with pytest.raises(ValueError, match="no control branch"):
        build_branch("lora", base, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 scales for 1"):
        Controlled(base, [build_branch("controlnet", base, 1)], [1.0, 1.0])
    assert set(BRANCHES) == set(get_args(Kind))
