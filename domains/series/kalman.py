"""Kalman smoothing of structural time-series models, one column at a time.

For each column six models of statsmodels' UnobservedComponents are fitted by maximum likelihood with the gaps
as missing values: local level, smooth trend, AR(2), and with a season the local level plus a trigonometric
season, AR(1) plus that season, and AR(2) plus it. The one with the lowest CRPS on cells held back fills the
gaps. Its bands are its own predictive variance, or that times one factor a column where enough cells were
held back to tell that the factor lowers the CRPS.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from domains.series.periodicity import find_period
from domains.series.residual_bands import Array, Bands, Mask, gaussian_crps, held_back

FIT_ROWS = (
    2500  # rows that the likelihood is maximised on, the best observed stretch; smoothing takes all rows
)
HARMONICS = 4
SCALES = np.array([0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0])
FEWEST_TO_SCALE = 60  # cells held back in a column, fewer of which cannot tell how wide its bands should be


def structural_models(period: int | None) -> dict[str, dict[str, Any]]:
    """Name -> arguments of `UnobservedComponents` for the models that compete."""
    models: dict[str, dict[str, Any]] = {
        "local level": {"level": "llevel"},
        "smooth trend": {"level": "strend"},
        "AR(2)": {"level": "fixed intercept", "autoregressive": 2},
    }
    if period is not None and period > 2:
        season = {"freq_seasonal": [{"period": period, "harmonics": min(HARMONICS, period // 2)}]}
        models["local level + season"] = {"level": "llevel", **season}
        models["AR(1) + season"] = {"level": "fixed intercept", "autoregressive": 1, **season}
        models["AR(2) + season"] = {"level": "fixed intercept", "autoregressive": 2, **season}
    return models


def _stretch(observed: Mask, rows: int) -> slice:
    """The window of `rows` rows with the most observed cells."""
    if len(observed) <= rows:
        return slice(0, len(observed))
    sums = np.concatenate([[0], np.cumsum(observed)])
    start = int(np.argmax(sums[rows:] - sums[:-rows]))
    return slice(start, start + rows)


def _smooth(series: Array, arguments: dict[str, Any], parameters: Array) -> tuple[Array, Array]:
    """Mean and standard deviation `[T]` of what would be observed, given all that was."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    model = UnobservedComponents(series, **arguments)
    result = model.smooth(parameters)
    design = np.asarray(model.ssm["design"]).reshape(1, -1)[0]  # the same at all times in these models
    noise = float(np.asarray(model.ssm["obs_cov"]).ravel()[0])
    mean = design @ result.smoothed_state
    variance = np.einsum("i,ijt,j->t", design, result.smoothed_state_cov, design) + noise
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def _column(series: Array, hidden: Mask, models: dict[str, dict[str, Any]]) -> tuple[Array, Array]:
    """Smoothed mean and spread `[T]` of one scaled column by the model that fills the `hidden` cells best."""
    from statsmodels.tsa.statespace.structural import UnobservedComponents

    reduced = np.where(hidden, np.nan, series)
    part = _stretch(~np.isnan(reduced), FIT_ROWS)
    best: tuple[float, dict[str, Any], Array, float] | None = None
    for arguments in models.values():
        try:
            model = UnobservedComponents(reduced[part], **arguments)
            parameters = np.asarray(model.fit(disp=0, maxiter=60).params)
            mean, std = _smooth(reduced, arguments, parameters)
        except (np.linalg.LinAlgError, ValueError):
            continue  # a model that cannot be fitted to this column does not compete
        truth = series[hidden]
        for scale in SCALES if hidden.sum() >= FEWEST_TO_SCALE else (1.0,):
            score = float(gaussian_crps(mean[hidden], scale * std[hidden], truth).mean())
            if np.isfinite(score) and (best is None or score < best[0]):
                best = (score, arguments, parameters, float(scale))
    if best is None:
        raise np.linalg.LinAlgError("no structural model could be fitted to this column")
    mean, std = _smooth(series, best[1], best[2])
    return mean, best[3] * std


def kalman_smoother(values: Array, period: int | None = None) -> Bands:
    """Fills a table column by column; see the module's text for the models and the choice among them.

    A column with fewer than ten observed cells, or of one value only, is given its mean and spread.

    Args:
        values: `[T, C]` with NaN in gaps.
        period: Rows in a season; looked for by autocorrelation where None.
    """
    chosen = find_period(values) if period is None else period
    observed = ~np.isnan(values)
    hidden = held_back(observed, np.random.default_rng(2))
    mean, std = np.zeros_like(values), np.zeros_like(values)
    models = structural_models(chosen)
    for c in range(values.shape[1]):
        seen = values[observed[:, c], c]
        centre = float(seen.mean()) if len(seen) else 0.0
        scale = float(seen.std()) if len(seen) else 0.0
        if len(seen) < 10 or scale == 0.0:
            mean[:, c], std[:, c] = centre, scale
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # convergence warnings: the cells held back judge the fit
            try:
                column_mean, column_std = _column((values[:, c] - centre) / scale, hidden[:, c], models)
            except np.linalg.LinAlgError:
                column_mean, column_std = np.zeros(len(values)), np.ones(len(values))
        mean[:, c], std[:, c] = column_mean * scale + centre, column_std * scale
    return Bands(np.where(observed, values, mean), np.where(observed, 0.0, std))
