"""UniPC: a predictor of any order whose corrector costs no evaluation, in every smooth space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from core.denoiser import Denoiser
from core.noise import Noise
from core.sampling import Step
from core.state import State, Time, each


def phi(k: int, h: float) -> float:
    """sum_j h^j / (j + k)!, the k-th function of exponential integrators (Hochbruck & Ostermann 2010, eq. 2.10).

    By the series where h is small: the recursion phi_k+1 = (phi_k - 1 / k!) / h would lose all digits there.
    """
    if abs(h) < 1:
        return sum(h**j / math.factorial(j + k) for j in range(18))
    value = math.exp(h)
    for i in range(k):
        value = (value - 1 / math.factorial(i)) / h
    return value


def unified_weights(stride: float, ratios: list[float], corrector: bool) -> list[float]:
    """Blend weights of UniPC in data prediction, B(h) = e^h - 1 with h the negative stride ("bh2").

    The update x_s = (sigma_s / sigma_t) x_t - alpha_s (e^-h - 1) [m_0 + sum_k rho_k (m_k - m_0) / r_k] of Zhao et al.
    2023 (eq. 9 and algorithm 1–2, multistep) is a bridge to a blend of predictions; these are its weights.

    Args:
        stride: lambda_s - lambda_t, the step in the log signal-to-noise ratio; positive and finite.
        ratios: (lambda_k - lambda_t) / stride of the older predictions (negative), newest first; for the corrector
            followed by 1.0, the prediction at the new point.
        corrector: Whether the weights are UniC's (solves the full system) or UniP's.

    Returns:
        Weights of m_0 and of the predictions in the order of `ratios`; they sum to one.
    """
    h = -stride
    orders = range(1, len(ratios) + 1)
    rows = [[r ** (i - 1) for r in ratios] for i in orders]
    right = [math.factorial(i) * h * phi(i + 1, h) / math.expm1(h) for i in orders]
    # Two cases whose low-order system the paper fixes at 1/2, which keeps the order and is stabler.
    if len(ratios) == 1:
        rho = [0.5]
    else:
        rho = np.linalg.solve(np.array(rows), np.array(right)).tolist()
    older = [c / r for c, r in zip(rho, ratios, strict=True)]
    return [1 - sum(older), *older]


@dataclass(frozen=True)
class UniPC:
    """Unified predictor–corrector (Zhao et al. 2023), written in `bridge` and `blend`.

    The predictor of order p extrapolates the last p predictions; the corrector redoes the last step with the prediction
    made at its end, at no further evaluation, and raises the order to p + 1.  On R^n with eta 0 it is the paper's
    method; parts whose predictions jump take first-order steps.  The first steps and a step onto clean data are of
    lower order.

    Attributes:
        order: Predictions that the predictor uses, 1 to 3.
        corrector: Whether to correct.
        lower_final: Lower the order over the last steps of a grid that ends on clean data (stabler for few steps);
            needs `steps`.
        steps: Steps of the grid, for `lower_final`.
    """

    order: int = 3
    corrector: bool = True
    lower_final: bool = False
    steps: int | None = None
    evaluations = 1

    def __call__(self, f: Denoiser, x: State, t: Time, s: Time, memory: Any, noise: Noise) -> Step:
        """One step, one evaluation.  Memory: (steps done, previous state, order of its step, [(time, prediction)])."""
        q = f(x, t)
        done, before, before_order, history = memory if memory is not None else (0, None, 0, [])
        if self.corrector and history:
            p = self._blend(f, before, history, before_order, t, new=q)
            better = f.process.bridge(p, before, history[0][0], t, 0.0).sample(noise)
            # What jumps has been drawn, and `q` was made for it: only what moves smoothly is put right.
            x = each(lambda smooth, new, old: new if smooth else old, f.process.smooth, better, x)
        history = [(t, q), *history][: max(self.order, 1)]
        order = min(self.order, len(history))
        if self.lower_final and self.steps is not None:
            order = min(order, self.steps - done)
        p = self._blend(f, x, history, order, s)
        y = f.process.bridge(p, x, t, s, 0.0).sample(noise)
        return Step(s, y, p, (done + 1, x, order, history))

    def _blend(self, f: Denoiser, x: State, history: list[Any], order: int, s: Time, new: Any = None) -> Any:
        """The prediction to aim at from history[0]'s time to `s`; with `new`, the corrector's."""
        times, predictions = [u for u, _ in history[:order]], [q for _, q in history[:order]]
        if new is not None:
            predictions = [*predictions, new]
        if len(predictions) == 1:
            return predictions[0]
        clock = f.process.log_snr

        def weights(smooth: bool, goal: Any, *past: Any) -> list[float]:
            start = float(past[0])
            stride = float(goal) - start
            flat = [1.0] + [0.0] * (len(predictions) - 1)
            if not smooth or not 0 < stride < math.inf:
                return flat
            ratios = [(float(u) - start) / stride for u in past[1:]]
            # The prior's clock may be minus infinity, and a part's clock may have stood still.
            usable = list(takewhile(lambda r: r != 0 and math.isfinite(r), ratios))
            unused, ahead = [0.0] * (len(ratios) - len(usable)), [1.0] * (new is not None)
            if not usable + ahead:
                return flat
            found = unified_weights(stride, usable + ahead, new is not None)
            return [*found[: len(usable) + 1], *unused, *found[len(usable) + 1 :]]

        ws = each(weights, f.process.smooth, clock(s), *[clock(u) for u in times])
        columns = [each(lambda w, k=k: w[k], ws) for k in range(len(predictions))]
        return f.process.blend(x, predictions, columns)
