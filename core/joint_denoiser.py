"""The denoiser of a product: one network that sees all parts, each part scaled and read by its own process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from core.denoiser import Condition, Target, coefficients
from core.spaces.gaussian import Gaussian
from core.spaces.product import Product
from core.state import append_axes, part, time64, wide


class JointNetwork(Protocol):
    """What `PreconditionedParts` calls."""

    def __call__(
        self, x: Mapping[str, Tensor], clocks: Mapping[str, Tensor], cond: Condition | None
    ) -> Mapping[str, Tensor]:
        """Raw output of every part.

        Args:
            x: Numbers scaled `[batch, ...]`; tokens as they are, int64.
            clocks: log(alpha / sigma) of each part, `[batch]`, within ±20.
            cond: The bound condition, or None.
        """
        ...


@dataclass(frozen=True)
class PreconditionedParts:
    """x0 = skip x + out network(in x) for parts of numbers, logits as they come for parts of tokens (own).

    It is to a product what `core.denoiser.Preconditioned` (after Karras et al. 2022, eq. 7) is to R^n.

    Attributes:
        network: Called with all parts at once.
        process: A product of Gaussian and token processes.
        targets: Part of numbers -> what the network puts out for it; "edm" where absent.
        data_std: Standard deviation of clean numbers, for "edm".
        cond: The bound condition.
    """

    network: JointNetwork
    process: Product
    targets: Mapping[str, Target] | None = None
    data_std: float = 1.0
    cond: Condition | None = None

    def given(self, cond: Condition | None) -> PreconditionedParts:
        """Binds a condition: a mapping of tensors with the batch in front, or None."""
        return replace(self, cond=cond)

    def __call__(self, x: Mapping[str, Tensor], t: Any) -> dict[str, Tensor]:
        """The prediction of every part at the joint state `x`.

        Args:
            x: One tensor a part, `[batch, ...]`.
            t: One time for all parts, or a mapping with one each; a scalar or `[batch]`.
        """
        batch = len(next(iter(x.values())))
        scaled, clocks, finish = {}, {}, {}
        for name, process in self.process.parts.items():
            time = time64(part(t, name)).to(x[name].device)
            times = time if time.ndim else time.expand(batch)
            if isinstance(process, Gaussian):
                alpha, sigma = process.schedule(times)
                target = (self.targets or {}).get(name, "edm")
                now = wide(x[name])
                skip, out, scale = (
                    append_axes(c, now) for c in coefficients(target, alpha, sigma, self.data_std)
                )
                scaled[name] = (now * scale).to(now.dtype)
                finish[name] = (skip.to(now.dtype), out.to(now.dtype), process)
            else:
                scaled[name] = x[name]
            clocks[name] = process.log_snr(times).clamp(-20, 20).float()
        raw = self.network(scaled, clocks, self.cond)
        prediction = dict(raw)
        for name, (skip, out, process) in finish.items():
            now = wide(x[name])
            mean = skip * now + out * raw[name].to(now.dtype)
            prediction[name] = mean if process.project is None else process.project(mean)
        return {name: v.float() if v.dtype == torch.bfloat16 else v for name, v in prediction.items()}
