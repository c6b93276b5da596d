"""Classical forecasts with joint distributions over the columns: what the diffusion model has to match.

Each takes the past `[T, C]`, complete, and a horizon, and returns a `JointGaussian` (closed form) or sample paths
`[S, H, C]`. All carry the covariance between columns, since the score of a sum of columns depends on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from domains.series.column_statistics import column_scale
from domains.series.residual_bands import Array, gaussian_crps

WINDOW = 2000  # most recent rows that errors of the naive methods are taken from
VAR_ROWS = (2000, 4000, 12000)  # rows that a VAR is fitted to: chosen among these
ETS_ROWS = 500
BACKTEST_ROWS = 1000
BACKTESTS = 60
SCALES = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5])


@dataclass(frozen=True)
class JointGaussian:
    """A normal distribution of the columns at each step ahead.

    Attributes:
        mean: `[H, C]`.
        covariance: `[H, C, C]`, between columns at the same step.
    """

    mean: Array
    covariance: Array

    @property
    def std(self) -> Array:
        """Standard deviations `[H, C]`."""
        return np.sqrt(np.maximum(np.einsum("hcc->hc", self.covariance), 0.0))

    def total(self, weights: Array) -> tuple[Array, Array]:
        """Mean and standard deviation `[H]` of the weighted sum over columns."""
        variance = np.einsum("c,hcd,d->h", weights, self.covariance, weights)
        return self.mean @ weights, np.sqrt(np.maximum(variance, 0.0))

    def rescaled(self, scale: Array) -> JointGaussian:
        """The same with each column's standard deviation times `scale` `[C]`; correlations stay."""
        return JointGaussian(self.mean, self.covariance * np.outer(scale, scale))

    def in_units(self, scale: Array) -> JointGaussian:
        """The same in a unit `scale` `[C]` times smaller: mean and spread are multiplied."""
        return JointGaussian(self.mean * scale, self.covariance * np.outer(scale, scale))


Forecast = JointGaussian | Array
Forecaster = Callable[[Array, int], Forecast]


def best_scale(errors: Array, std: Array) -> Array:
    """The factor `[C]` on each column's standard deviation that gives the lowest CRPS on past errors.

    Errors of real series have heavier tails than the normal law, so the CRPS-optimal normal is narrower than the
    one of the same variance.

    Args:
        errors: `[N, H, C]`.
        std: `[H, C]`.
    """
    costs = [
        gaussian_crps(np.zeros_like(errors), np.broadcast_to(s * std, errors.shape), errors).mean(axis=(0, 1))
        for s in SCALES
    ]
    return SCALES[np.argmin(np.stack(costs), axis=0)]


def seasonal_naive(past: Array, horizon: int, period: int) -> JointGaussian:
    """The last value of the same phase; errors as this rule made them over the last `WINDOW` rows, step by step.

    With a period of 1 it is the naive forecast (a random walk).
    """
    length, columns = past.shape
    period = min(period, length // 2)
    mean, covariance = np.empty((horizon, columns)), np.empty((horizon, columns, columns))
    errors = []
    count = min(WINDOW, length - horizon - period + 1)
    for h in range(1, horizon + 1):
        lag = -(-h // period) * period  # whole periods back from the step ahead: a row that is known
        mean[h - 1] = past[length - 1 + h - lag]
        lag_errors = past[lag:] - past[:-lag]
        recent = lag_errors[-max(count, 1) :]
        covariance[h - 1] = recent.T @ recent / len(recent)
        errors.append(recent)
    fewest = min(len(e) for e in errors)
    forecast = JointGaussian(mean, covariance)
    return forecast.rescaled(best_scale(np.stack([e[-fewest:] for e in errors], axis=1), forecast.std))


def ets(past: Array, horizon: int, period: int, *, samples: int = 500, seed: int = 0) -> Array:
    """Exponential smoothing a column (statsmodels' ETSModel), sample paths with correlated innovations.

    For each column additive-error models without trend and with a damped one, and with and without a season where
    `period` is above 1, are fitted to the last `ETS_ROWS` rows; the lowest corrected AIC is simulated from the end.
    Innovations are drawn jointly from the covariance of the one-step residuals across columns.

    Returns:
        Paths `[samples, horizon, C]`.
    """
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    recent = past[-ETS_ROWS:]
    columns = recent.shape[1]
    seasons: tuple[dict[str, object], ...] = ({},)
    if 1 < period <= len(recent) // 3:
        seasons = ({}, {"seasonal": "add", "seasonal_periods": period})
    scale = column_scale(recent)
    fitted = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence warnings: the criterion judges the fit
        for c in range(columns):
            series = recent[:, c] / scale[c]
            trials = []
            for season in seasons:
                for trend in ({}, {"trend": "add", "damped_trend": True}):
                    trials.append(
                        ETSModel(series, error="add", **trend, **season).fit(disp=False, maxiter=200)
                    )
            fitted.append(min(trials, key=lambda result: result.aicc))
        residuals = np.stack([np.asarray(result.resid) for result in fitted], axis=1)
        covariance = np.cov(residuals[period:], rowvar=False).reshape(columns, columns)
        draws = np.random.default_rng(seed).multivariate_normal(
            np.zeros(columns), covariance, size=(horizon, samples), method="eigh"
        )
        paths = [
            np.asarray(
                result.simulate(horizon, anchor="end", repetitions=samples, random_errors=draws[:, :, c])
            ).reshape(horizon, samples)
            for c, result in enumerate(fitted)
        ]
    return np.stack(paths, axis=-1).transpose(1, 0, 2) * scale


def vector_autoregression(past: Array, horizon: int, most_lags: int) -> JointGaussian:
    """VAR in levels with the lag order by AIC (statsmodels), its covariance in closed form at every step.

    The number of recent rows that it is fitted to is chosen by CRPS on forecasts within the last `BACKTEST_ROWS`
    rows, which the trials are not fitted to; the errors of the best trial also give a factor a column on its spread.
    """
    kept = len(past) - min(BACKTEST_ROWS, len(past) // 4)
    scale = column_scale(past[:kept])
    scaled = past / scale
    best: tuple[float, int, Array] | None = None
    for rows in VAR_ROWS:
        model = _fit_var(scaled[max(0, kept - rows) : kept], most_lags)
        lags = max(model.k_ar, 1)
        origins = np.unique(np.linspace(kept, len(scaled) - horizon, BACKTESTS).astype(int))
        origins = origins[origins >= lags]
        errors = np.stack(
            [scaled[o : o + horizon] - model.forecast(scaled[o - lags : o], horizon) for o in origins]
        )
        std = JointGaussian(errors[0], np.asarray(model.mse(horizon))).std
        factor = best_scale(errors, std)
        trial = np.broadcast_to(factor * std, errors.shape)
        cost = float(gaussian_crps(np.zeros_like(errors), trial, errors).mean())
        if best is None or cost < best[0]:
            best = (cost, rows, factor)
    assert best is not None
    model = _fit_var(scaled[-best[1] :], most_lags)
    mean = np.asarray(model.forecast(scaled[-max(model.k_ar, 1) :], horizon))
    return JointGaussian(mean, np.asarray(model.mse(horizon))).rescaled(best[2]).in_units(scale)


def _fit_var(rows: Array, most_lags: int) -> Any:
    from statsmodels.tsa.api import VAR

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return VAR(rows).fit(
            maxlags=max(1, min(most_lags, len(rows) // (4 * rows.shape[1]))), ic="aic", trend="c"
        )


def forecasters(period: int, seed: int = 0) -> Mapping[str, Forecaster]:
    """The baselines by name, in the order in which tables print them.

    Args:
        period: Rows in a season.
        seed: Of the sample paths of ETS.
    """
    return {
        "naive": partial(seasonal_naive, period=1),
        "seasonal naive": partial(seasonal_naive, period=period),
        "ETS": partial(ets, period=period, seed=seed),
        "VAR": partial(vector_autoregression, most_lags=max(period + 2, 12)),
    }
