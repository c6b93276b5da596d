"""Where a network looks when it reads its context: weights of cross-attention, gathered while it runs."""

from __future__ import annotations

from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from core.networks.attention import CrossAttention


class AttentionMaps:
    """Gathers the weights of every `CrossAttention` of a network within a `with` block (after Tang et al. 2023, DAAM).

    The network itself runs as always: weights are computed beside it, once more, from what goes in.  They are averaged
    over heads, over calls, and over layers that have equally many places.

    Args:
        network: Any that holds `CrossAttention`.

    Raises:
        ValueError: If it holds none.
    """

    def __init__(self, network: nn.Module) -> None:
        self.layers = [m for m in network.modules() if isinstance(m, CrossAttention)]
        if not self.layers:
            raise ValueError("the network attends to no context")
        self._sums: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        """Begins to gather."""
        self._handles = [m.register_forward_hook(self._gather, with_kwargs=True) for m in self.layers]
        return self

    def __exit__(self, *_: object) -> None:
        """Ends gathering; what was gathered stays."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _gather(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _: Any) -> None:
        assert isinstance(layer, CrossAttention)
        given = dict(zip(("x", "context", "keys"), args, strict=False)) | kwargs
        weights = cross_weights(layer, given["x"], given["context"], given.get("keys"))
        places = weights.shape[1]
        if places in self._sums and self._sums[places].shape != weights.shape:
            raise ValueError("one batch of one context at a time; gather each in a block of its own")
        self._sums[places] = self._sums.get(places, torch.zeros_like(weights)) + weights
        self._counts[places] = self._counts.get(places, 0) + 1

    @property
    def maps(self) -> dict[int, Tensor]:
        """Number of places -> weights `[batch, places, tokens]`, which sum to one over tokens; the finest last."""
        return {places: self._sums[places] / self._counts[places] for places in sorted(self._sums)}


@torch.no_grad()
def cross_weights(layer: CrossAttention, x: Tensor, context: Tensor, keys: Tensor | None = None) -> Tensor:
    """The weights with which a layer reads its context, float32 `[batch, places, tokens]`, the mean over heads.

    Args:
        layer: That reads.
        x: `[batch, places, width]`.
        context: `[batch, tokens, context_width]`.
        keys: Bool `[batch, tokens]`, False at padding.
    """
    q = rearrange(layer.query(x), "b n (h d) -> b h n d", h=layer.heads).float()
    k = rearrange(layer.key_value(context), "b n (two h d) -> two b h n d", two=2, h=layer.heads)[0].float()
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if keys is not None:
        scores = scores.masked_fill(~keys[:, None, None, :], -1e4)
    weights: Tensor = scores.softmax(-1).mean(1)
    return weights
