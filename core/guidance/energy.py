"""Energy guidance: go downhill in any differentiable energy of the state or of the prediction; energies add up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from core.gradients import differentiable
from core.guidance.guide import Guide
from core.guidance.tilting import gradients, loosened, members, pick, put, shifted, tilt
from core.spaces.categorical import Categorical
from core.state import Prediction, State, Time, wide

Energy: TypeAlias = Callable[[State, Time], Tensor]


@dataclass(frozen=True)
class EnergyGuided(Guide):
    """Guidance by exp(-energy) in place of a likelihood (Zhao et al. 2022; Bansal et al. 2023; Yu et al. 2023).

    Of the state, an energy is -log p(y | x_t) up to a constant and the guide is `ClassifierGuided`.  Of the prediction,
    E(q(x_t)) stands in for the unknown -log E[exp(-E(x_0)) | x_t]: exact for certain predictions only, so the law drawn
    is biased where the posterior of x_0 is wide; measurements with known noise have better guides.

    Attributes:
        inner: The denoiser of the prior.
        energies: (state or prediction, time) -> nats, `[batch]`; of the prediction, tokens are given as probabilities
            `[batch, ..., vocabulary]`.
        scales: One a term; all 1 where None.
        of: What the energies are functions of.
    """

    energies: tuple[Energy, ...]
    scales: tuple[float, ...] | None = None
    of: Literal["prediction", "state"] = "prediction"

    def total(self, value: State | Prediction, t: Time) -> Tensor:
        """The sum of the scaled energies, nats, `[batch]`."""
        scales = self.scales or (1.0,) * len(self.energies)
        terms = [c * energy(value, t) for c, energy in zip(scales, self.energies, strict=True)]
        return torch.stack(terms).sum(0)

    def __call__(self, x: State, t: Time) -> Prediction:
        """The guided prediction: one evaluation, differentiated where the energy is one of the prediction."""
        if self.of == "state":
            return tilt(self.process, self.inner(x, t), x, t, lambda y: -self.total(y, t))
        parts = members(self.process)
        with differentiable():
            state, coordinates = loosened(self.process, x)
            prior = self.inner(state, t)
            shown = prior
            for path, inner in parts:
                if isinstance(inner, Categorical):
                    # The slope in a site's probabilities is its mean field: the energy with the token put there.
                    law = wide(pick(prior, path)).softmax(-1)
                    if not law.requires_grad:
                        law.requires_grad_(True)
                    coordinates[path] = law
                    shown = put(shown, path, law)
            slopes = gradients(self.total(shown, t), coordinates)
        q = prior
        for path, inner in parts:
            mine = pick(prior, path).detach()
            if isinstance(inner, Categorical):
                new = wide(mine).log_softmax(-1).clamp_min(-1e4) - slopes[path]
            else:
                new = shifted(inner, mine, pick(x, path), pick(t, path), -slopes[path])
            q = put(q, path, new.detach())
        return q
