"""What every network owes: shapes, conditions that count, samples that do not see each other, memory that is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.denoiser import Preconditioned
from core.guidance.classifier_free import Guided
from core.networks import build_network
from core.networks.attention import attend
from core.networks.dit import ModulatedBlock
from core.networks.patches import from_patches, positions, to_patches
from core.networks.unet import Grow
from core.spaces.gaussian import Gaussian

CONDITIONS = {"classes": 5, "vector": 3, "context": 6, "stacked": 2}


@dataclass(frozen=True)
class Case:
    """A network small enough to test, and the grid that it works on."""

    name: str
    config: dict[str, Any]
    sides: tuple[int, ...]

    def build(self, **more: Any) -> nn.Module:
        torch.manual_seed(0)
        if self.name == "dim":  # state spaces read no context
            more.pop("context", None)
        network = build_network(self.name, {"channels": 3, **self.config, **more})
        with torch.no_grad():  # what starts at zero would hide what it multiplies
            for parameter in network.parameters():
                if parameter.ndim != 1 or not parameter.any():
                    parameter.add_(0.05 * torch.randn_like(parameter))
        return network.eval()

    def state(self, batch: int = 3) -> Tensor:
        return torch.randn(batch, 3, *self.sides, generator=torch.Generator().manual_seed(1))


def sides(dims: int) -> tuple[int, ...]:
    return (8, 4, 4)[:dims] if dims > 1 else (16,)


CASES = [
    Case(name, {"dims": dims, **config}, sides(dims))
    for name, config in (
        ("unet", {"width": 16, "multipliers": (1, 2), "blocks": 1, "heads": 2}),
        ("unet", {"width": 16, "multipliers": (1, 2), "blocks": 1, "heads": 2, "patch": 2}),
        ("dit", {"width": 24, "depth": 2, "heads": 2}),
        ("dit", {"width": 24, "depth": 2, "heads": 2, "modulation": "single"}),
        ("uvit", {"width": 24, "depth": 3, "heads": 2}),
        ("dim", {"width": 24, "depth": 4, "heads": 2, "state": 4}),
    )
    for dims in (1, 2, 3)
]
CLOCKS = torch.tensor([-2.0, 0.0, 1.5])


def conditions(case: Case, batch: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    found = {
        "label": torch.arange(batch) % 5,
        "vector": torch.randn(batch, 3, generator=generator),
        "context": torch.randn(batch, 4, 6, generator=generator),
        "context_keys": torch.tensor([[True, True, True, False]]).repeat(batch, 1),
        "stacked": torch.randn(batch, 2, *case.sides, generator=generator),
    }
    return {k: v for k, v in found.items() if case.name != "dim" or not k.startswith("context")}


@pytest.fixture(
    params=CASES, ids=lambda c: "-".join([c.name, f"{c.config['dims']}d", c.config.get("modulation", "")])
)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_the_output_has_the_shape_of_the_state(case: Case) -> None:
    x = case.state()
    y = case.build()(x, CLOCKS, None)
    assert y.shape == x.shape
    assert y.is_contiguous()
    assert y.isfinite().all()


def test_it_starts_by_predicting_zero(case: Case) -> None:
    """The raw output then is the best guess of unit-variance targets, and no step is wasted on unlearning."""
    torch.manual_seed(0)
    network = build_network(case.name, {"channels": 3, **case.config})
    assert not network(case.state(), CLOCKS, None).any()


def test_samples_do_not_see_each_other(case: Case) -> None:
    network, x, cond = case.build(**CONDITIONS), case.state(), conditions(case)
    together = network(x, CLOCKS, cond)
    alone = network(x[1:2], CLOCKS[1:2], {k: v[1:2] for k, v in cond.items()})
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["clock", "label", "vector", "context", "stacked"])
def test_each_condition_counts(case: Case, name: str) -> None:
    network, x, cond = case.build(**CONDITIONS), case.state(), conditions(case)
    before = network(x, CLOCKS, cond)
    if name == "context" and name not in cond:
        pytest.skip("this network reads no context")
    if name == "clock":
        after = network(x, CLOCKS + 1, cond)
    else:
        after = network(x, CLOCKS, {**cond, name: cond[name].roll(1, 0)})
    assert float((before - after).abs().max()) > 1e-4


def test_padding_of_the_context_does_not_count(case: Case) -> None:
    network, x, cond = case.build(**CONDITIONS), case.state(), conditions(case)
    if "context" not in cond:
        pytest.skip("this network reads no context")
    other = cond["context"].clone()
    other[:, 3] = 100.0
    torch.testing.assert_close(network(x, CLOCKS, cond), network(x, CLOCKS, {**cond, "context": other}))


def test_every_parameter_learns(case: Case) -> None:
    network, cond = case.build(**CONDITIONS), conditions(case)
    network(case.state(), CLOCKS, cond).square().sum().backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_recomputing_activations_changes_no_gradient(case: Case) -> None:
    grads = []
    for save in (False, True):
        network = case.build(save_memory=save)
        network(case.state(), CLOCKS, None).square().sum().backward()
        grads.append([p.grad for p in network.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["unet", "dit", "uvit"])
def test_a_grid_that_does_not_fit_is_refused(name: str) -> None:
    chosen = next(c for c in CASES if c.name == name)
    with pytest.raises(ValueError, match="must be a multiple of 2"):
        chosen.build()(torch.zeros(1, 3, 7), CLOCKS[:1], None)


def test_guidance_runs_both_branches_in_one_batch() -> None:
    """The null label is a label like others, so both branches share a batch and agree with two calls."""
    chosen = CASES[1]
    network = chosen.build(classes=5)
    f = Preconditioned(network, Gaussian(), "v")  # type: ignore[arg-type]
    x, t = chosen.state(), torch.tensor(0.4, dtype=torch.float64)
    label, null = {"label": torch.tensor([0, 1, 2])}, {"label": torch.full((3,), 5)}
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        both = Guided(f.given(label), f.given(null), 3.0)(x, t)
        assert len(calls) == 1
        want = 3.0 * f.given(label)(x, t) - 2.0 * f.given(null)(x, t)
    torch.testing.assert_close(both, want, rtol=1e-4, atol=1e-5)


def test_no_label_is_the_null_label() -> None:
    network = CASES[1].build(classes=5)
    x = CASES[1].state()
    torch.testing.assert_close(network(x, CLOCKS, None), network(x, CLOCKS, {"label": torch.full((3,), 5)}))
    with pytest.raises(ValueError, match="built without 'label'"):
        CASES[1].build()(x, CLOCKS, {"label": torch.zeros(3, dtype=torch.long)})


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_growing_is_doubling_and_a_convolution(dims: int) -> None:
    grow = Grow(dims, 4)
    x = torch.randn(2, 4, *(5, 3, 2)[:dims])
    want = grow.convolution(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(grow(x), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_patches_come_back(dims: int) -> None:
    x = torch.arange(2 * 3 * 4**dims).reshape(2, 3, *[4] * dims).float()
    tokens = to_patches(x, 2)
    assert tokens.shape == (2, 2**dims, 3 * 2**dims)
    assert torch.equal(from_patches(tokens, 2, x.shape[2:]), x)
    # The first token is the first corner of the grid.
    corner = x[(slice(None), slice(None), *[slice(2)] * dims)]
    assert torch.equal(tokens[:, 0], corner.flatten(1))


def test_places_are_told_apart() -> None:
    where = positions((4, 6), 32)
    assert where.shape == (24, 32)
    assert float(torch.cdist(where, where).add(torch.eye(24) * 9).min()) > 0.1


@pytest.mark.parametrize("keys", [None, torch.tensor([[True, True, False, True, True]] * 2)])
def test_both_ways_of_attention_agree(keys: Tensor | None) -> None:
    q, k, v = (torch.randn(2, 3, 5, 8) for _ in range(3))
    torch.testing.assert_close(attend(q, k, v, keys, "fused"), attend(q, k, v, keys, "written"))


def test_a_modulated_block_starts_as_the_identity() -> None:
    x = torch.randn(2, 5, 24)
    block = ModulatedBlock(24, 2, 4, context=6, own=True)
    assert torch.equal(block(x, torch.randn(2, 24), torch.randn(2, 3, 6)), x)


def test_sharing_the_modulation_saves_a_fifth_of_the_parameters() -> None:
    def count(modulation: str) -> int:
        network = build_network("dit", {"channels": 3, "depth": 12, "modulation": modulation})
        return sum(p.numel() for p in network.parameters())

    assert count("single") < 0.8 * count("zero")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("unet", {"dims": 4}, "dims must be"),
        ("unet", {"blocks": (1, 2), "multipliers": (1, 2, 2)}, "2 numbers for 3 levels"),
        ("uvit", {"depth": 4}, "depth must be odd"),
        ("dit", {"width": 25, "heads": 2}, "multiple of heads"),
        ("dit", {"breadth": 3}, "does not fit"),
        ("perceptron", {}, "unknown network"),
    ],
)
def test_bad_configurations_are_refused(name: str, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(name, {"channels": 3, **config})
