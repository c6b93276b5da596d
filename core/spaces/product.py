"""Products: named parts, corrupted independently and predicted jointly; each part may keep its own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.noise import Noise
from core.process import Kernel, Process
from core.state import part


@dataclass(frozen=True)
class Joint:
    """Independent kernels of named parts; each draws from its own address."""

    parts: Mapping[str, Kernel]

    def sample(self, noise: Noise) -> dict[str, Any]:
        """A draw of every part."""
        return {name: kernel.sample(noise.at(name)) for name, kernel in self.parts.items()}

    def log_prob(self, x: Mapping[str, Any]) -> Tensor:
        """The sum over parts, nats, `[batch]`."""
        return torch.stack([kernel.log_prob(x[name]) for name, kernel in self.parts.items()]).sum(0)


@dataclass(frozen=True)
class Product:
    """The product of named processes.

    Times, `eta` and blend weights are one value for all parts or a mapping with one a part.  A part whose clock is held
    at 0 stays as it is and conditions the others: inpainting, inverse folding and scaffolding need no code of their
    own.

    Attributes:
        parts: Name -> process.
        weights: Name -> weight of the part's divergence in the sum; 1 where absent.
    """

    parts: Mapping[str, Process]
    weights: Mapping[str, float] | None = None

    def _map(self, function: Callable[[str, Process], Any]) -> dict[str, Any]:
        return {name: function(name, process) for name, process in self.parts.items()}

    @property
    def smooth(self) -> dict[str, Any]:
        """Smoothness of each part."""
        return self._map(lambda k, p: p.smooth)

    def log_snr(self, t: Any) -> dict[str, Any]:
        """The clock of each part."""
        return self._map(lambda k, p: p.log_snr(part(t, k)))

    def point(self, x0: Mapping[str, Any]) -> dict[str, Any]:
        """The certain prediction of each part."""
        return self._map(lambda k, p: p.point(x0[k]))

    def target(self, x0: Mapping[str, Any], x: Mapping[str, Any], t: Any) -> dict[str, Any]:
        """The regression target of each part."""
        return self._map(lambda k, p: p.target(x0[k], x[k], part(t, k)))

    def prior(self, like: Mapping[str, Any], noise: Noise) -> dict[str, Any]:
        """Independent priors."""
        return self._map(lambda k, p: p.prior(like[k], noise.at(k)))

    def corrupt(self, x0: Mapping[str, Any], t: Any, noise: Noise) -> dict[str, Any]:
        """Independent corruption, each part at its own time."""
        return self._map(lambda k, p: p.corrupt(x0[k], part(t, k), noise.at(k)))

    def renoise(self, x: Mapping[str, Any], s: Any, t: Any, noise: Noise) -> dict[str, Any]:
        """The parts' forward kernels from `s` to `t`, each drawn from its own address."""
        return self._map(lambda k, p: p.renoise(x[k], part(s, k), part(t, k), noise.at(k)))

    def bridge(self, q: Any, x: Any, t: Any, s: Any, eta: Any = 1.0) -> Joint:
        """The product of the parts' kernels."""
        return Joint(self._map(lambda k, p: p.bridge(q[k], x[k], part(t, k), part(s, k), part(eta, k))))

    def blend(self, x: Any, qs: Sequence[Any], ws: Sequence[Any]) -> dict[str, Any]:
        """The parts' blends, with weights of their own where given as mappings."""
        return self._map(lambda k, p: p.blend(x[k], [q[k] for q in qs], [part(w, k) for w in ws]))

    def divergence(self, x: Any, p: Any, q: Any) -> Tensor:
        """The weighted sum of the parts' divergences, `[batch]`."""
        weights = self.weights or {}
        return torch.stack(
            [weights.get(k, 1.0) * f.divergence(x[k], p[k], q[k]) for k, f in self.parts.items()]
        ).sum(0)
