"""Exponential moving averages of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average of a network's parameters, in float32.

    Args:
        network: Whose parameters are averaged; its present ones begin the average.
        decay: Share of the old average kept a step; early steps keep less, (1 + step) / (10 + step).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {k: v.detach().clone().float() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Moves the average towards the network's parameters after step `step` (counted from 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        state = network.state_dict()
        names = [k for k in self.values if state[k].is_floating_point()]
        torch._foreach_lerp_([self.values[k] for k in names], [state[k].float() for k in names], 1 - keep)
        for k in self.values.keys() - set(names):
            self.values[k].copy_(state[k])

    def load(self, values: dict[str, Tensor]) -> None:
        """Replaces the average."""
        for k, v in values.items():
            self.values[k].copy_(v)
