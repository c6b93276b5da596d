"""The grid transformer: shapes, symmetry in the columns, padding, and what its clock and memory do."""

from __future__ import annotations

import pytest
import torch

from core.networks.grid_transformer import GridTransformer


@pytest.fixture
def network() -> GridTransformer:
    torch.manual_seed(0)
    net = GridTransformer(
        features=5, window=24, patch=4, width=32, heads=4, encoder_layers=2, decoder_layers=2
    )
    for parameter in net.parameters():  # gates and the last layer begin at zero; here all must speak
        torch.nn.init.normal_(
            parameter, std=0.08
        ) if parameter.ndim < 2 or parameter.abs().max() == 0 else None
    return net.eval()


def test_columns_may_come_in_any_order(network: GridTransformer) -> None:
    known, x = torch.randn(2, 5, 3, 24), torch.randn(2, 3, 24)
    clock = torch.tensor([0.3, -1.0])
    order = torch.tensor([2, 0, 1])
    out = network(x, clock, {"memory": network.encode(known)})
    turned = network(x[:, order], clock, {"memory": network.encode(known[:, :, order])})
    torch.testing.assert_close(turned, out[:, order], rtol=1e-4, atol=1e-5)


def test_padding_columns_change_nothing(network: GridTransformer) -> None:
    known, x, clock = torch.randn(2, 5, 3, 24), torch.randn(2, 3, 24), torch.zeros(2)
    out = network(x, clock, {"memory": network.encode(known)})
    wide_known = torch.cat([known, torch.randn(2, 5, 2, 24)], 2)
    wide_x = torch.cat([x, torch.randn(2, 2, 24)], 1)
    real = torch.tensor([[True] * 3 + [False] * 2] * 2)
    memory = network.encode(wide_known, real)
    wide = network(wide_x, clock, {"memory": memory, "columns": real})
    torch.testing.assert_close(wide[:, :3], out, rtol=1e-4, atol=1e-5)


def test_the_output_depends_on_clock_memory_and_state_and_is_zero_where_nothing_is_asked(
    network: GridTransformer,
) -> None:
    known, x, clock = torch.randn(1, 5, 2, 24), torch.randn(1, 2, 24), torch.zeros(1)
    memory = network.encode(known)
    out = network(x, clock, {"memory": memory})
    for other in (
        network(x, clock + 1, {"memory": memory}),
        network(x + 1, clock, {"memory": memory}),
        network(x, clock, {"memory": network.encode(known + 1)}),
    ):
        assert float((other - out).detach().abs().max()) > 1e-4
    where = torch.zeros(1, 2, 24)
    where[..., 5:9] = 1
    masked = network(x, clock, {"memory": memory, "where": where})
    assert torch.equal(masked, out * where)


def test_it_begins_as_the_identity_of_its_preconditioner() -> None:
    fresh = GridTransformer(features=5, window=24, patch=4, width=32)
    out = fresh(torch.randn(1, 2, 24), torch.zeros(1), {"memory": fresh.encode(torch.randn(1, 5, 2, 24))})
    assert float(out.detach().abs().max()) == 0.0


def test_it_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of patch"):
        GridTransformer(features=5, window=25, patch=4)
    fresh = GridTransformer(features=5, window=24, patch=4, width=32)
    with pytest.raises(ValueError, match="no unconditional branch"):
        fresh(torch.randn(1, 2, 24), torch.zeros(1), None)
