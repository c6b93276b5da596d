"""Attention maps: they sum to one, see what the layer sees, leave the network as it is, and stop when told."""

from __future__ import annotations

import pytest
import torch

from core.networks.attention import CrossAttention
from core.networks.attention_maps import AttentionMaps, cross_weights
from core.networks.unet import UNet


def unet() -> UNet:
    torch.manual_seed(0)
    network = UNet(3, 16, (1, 2), 1, (0, 1), 2, context=6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


def told() -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    keys = torch.tensor([[True, True, True, False], [True, True, False, False]])
    return torch.randn(2, 3, 8, 8), torch.zeros(2), {"context": torch.randn(2, 4, 6), "context_keys": keys}


@torch.no_grad()
def test_maps_of_each_grid_sum_to_one_and_skip_padding() -> None:
    network, (x, clock, cond) = unet(), told()
    plain = network(x, clock, cond)
    with AttentionMaps(network) as gathered:
        seen = network(x, clock, cond)
    assert torch.equal(seen, plain)
    assert list(gathered.maps) == [16, 64]
    for weights in gathered.maps.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]))
        assert float(weights[0, :, 3].max()) < 1e-6 and float(weights[1, :, 2:].max()) < 1e-6


@torch.no_grad()
def test_the_mean_over_calls() -> None:
    network, (x, clock, cond) = unet(), told()
    one, other, both = AttentionMaps(network), AttentionMaps(network), AttentionMaps(network)
    with one:
        network(x, clock, cond)
    with other:
        network(-x, clock, cond)
    with both:
        network(x, clock, cond)
        network(-x, clock, cond)
    network(x, clock, cond)  # outside: not gathered
    for places, weights in both.maps.items():
        torch.testing.assert_close(weights, (one.maps[places] + other.maps[places]) / 2)
    assert not torch.allclose(one.maps[64], other.maps[64])


@torch.no_grad()
def test_weights_are_those_of_the_layer() -> None:
    """With values that tell tokens apart, the layer's output is the weights' mean of them."""
    layer = CrossAttention(4, 4, 1)
    x, context = torch.randn(1, 5, 4), torch.randn(1, 4, 4)
    layer.key_value.weight[4:] = torch.linalg.inv(context[0]).T
    layer.out.weight.copy_(torch.eye(4))
    layer.out.bias.zero_()
    torch.testing.assert_close(layer(x, context), cross_weights(layer, x, context), rtol=1e-4, atol=1e-5)


def test_a_network_without_context_has_none() -> None:
    with pytest.raises(ValueError, match="no context"):
        AttentionMaps(UNet(3, 16, (1, 2), 1))


@torch.no_grad()
def test_batches_are_not_mixed() -> None:
    network, (x, clock, cond) = unet(), told()
    with AttentionMaps(network):
        network(x, clock, cond)
        with pytest.raises(ValueError, match="one batch"):
            network(x[:1], clock[:1], {k: v[:1] for k, v in cond.items()})
