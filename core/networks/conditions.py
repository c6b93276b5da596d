"""What a network is told besides the state: the clock, a label, a vector, a context, channels stacked on the state.

All networks of the core read the same names from a condition:

    label         int64 `[batch]`; the index `classes` is the null label, for the unconditional branch
    vector        `[batch, features]`
    context       `[batch, tokens, features]`, with `context_keys`, bool `[batch, tokens]`, False at padding
    stacked       `[batch, channels, ...]` on the state's grid, concatenated to its channels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.networks.embeddings import ClockEmbedding


class Conditioning(nn.Module):
    """Embeds clock, label and vector into one vector a sample.

    Args:
        width: Width of the embedding.
        classes: Labels; 0 is none.
        vector: Features of the vector; 0 is none.
        context, stacked: Sizes of what the network itself reads; here only so that nothing is ignored in silence.
    """

    def __init__(
        self, width: int, classes: int = 0, vector: int = 0, context: int = 0, stacked: int = 0
    ) -> None:
        super().__init__()
        self.classes, self.clock_width = classes, width
        sizes = {"label": classes, "vector": vector, "context": context, "stacked": stacked}
        self.unknown = {name for name, size in sizes.items() if size == 0}
        self.clock = ClockEmbedding(width)
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.vector = nn.Linear(vector, width) if vector else None

    def forward(self, clock: Tensor, cond: Mapping[str, Tensor] | None) -> Tensor:
        """`[batch, width]`.  Without a condition, the label is the null label and the vector zero.

        Args:
            clock: log(alpha / sigma), `[batch]`.
            cond: May hold `label` and `vector`.

        Raises:
            ValueError: If a condition is given that the network was not built for.
        """
        cond = cond or {}
        for name in sorted(self.unknown & set(cond)):
            raise ValueError(f"this network was built without {name!r}; leave it out of the condition")
        out: Tensor = self.clock(clock)
        if self.label is not None:
            null = torch.full((len(clock),), self.classes, device=clock.device)
            out = out + self.label(cond.get("label", null))
        if self.vector is not None and "vector" in cond:
            out = out + self.vector(cond["vector"].to(out.dtype))
        return out


def stacked(x: Tensor, cond: Mapping[str, Tensor] | None, channels: int) -> Tensor:
    """`x` `[batch, c, ...]` with the condition's `channels` channels behind it; zeros where there is no condition."""
    if channels == 0:
        return x
    extra = (cond or {}).get("stacked")
    if extra is None:
        extra = x.new_zeros(len(x), channels, *x.shape[2:])
    return torch.cat([x, extra.to(x.dtype)], 1)


def saving_memory(save: bool, block: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """block(*inputs); with `save`, activations are recomputed in the backward pass (Chen et al. 2016)."""
    if save and torch.is_grad_enabled():
        out: Tensor = checkpoint(block, *inputs, use_reentrant=False)
        return out
    return block(*inputs)
