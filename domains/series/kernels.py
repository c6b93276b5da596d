"""Random series of one kind each, many at a time: the building blocks of the synthetic training data.

Every generator has the form `(rng, rows, length, periods) -> float32 [rows, length]`, draws its own
parameters for each row, and returns rows of zero mean and unit variance. Stationary ones are drawn in the
frequency domain on twice the length and cropped, so that no row wraps around. `periods` holds the natural
cycle of each row in time steps; only generators with a cycle look at it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Generator = Callable[[np.random.Generator, int, int, Array], Array]


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...]) -> Array:
    """Draws whose logarithm is uniform on [log low, log high]; float32 of shape `size`."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.float32)


def normal(rng: np.random.Generator, size: int | tuple[int, ...]) -> Array:
    """Standard normal draws in float32 of shape `size`."""
    return rng.standard_normal(size, dtype=np.float32)


def uniform(rng: np.random.Generator, low: float, high: float, size: int | tuple[int, ...]) -> Array:
    """Uniform draws on [low, high) in float32 of shape `size`."""
    return (low + (high - low) * rng.random(size, dtype=np.float32)).astype(np.float32)


def standardise(x: Array) -> Array:
    """Each row of `x` [..., length] with zero mean and unit variance; constant rows become zero."""
    x = x - x.mean(-1, keepdims=True, dtype=np.float32)
    scale = np.sqrt(np.mean(x * x, -1, keepdims=True, dtype=np.float32))
    return np.where(scale > 1e-6, x / np.maximum(scale, 1e-6), np.float32(0.0)).astype(np.float32)


def heavy_noise(rng: np.random.Generator, rows: int, length: int) -> Array:
    """White noise [rows, length]; half of the rows Gaussian, half Student's t (freedom 2.5 to 8)."""
    noise = normal(rng, (rows, length))
    heavy = np.flatnonzero(rng.random(rows) < 0.5)
    freedom = uniform(rng, 2.5, 8.0, (heavy.size, 1))
    gamma = rng.standard_gamma(freedom / 2, (heavy.size, length)).astype(np.float32)
    noise[heavy] /= np.sqrt(2 * gamma / freedom)
    return noise


def _filtered(noise: Array, response: NDArray[np.complexfloating] | Array, length: int) -> Array:
    """Filters `noise` [rows, 2 length] by a frequency response; the second half of the rows, standardised."""
    spectrum = np.fft.rfft(noise) * response
    return standardise(np.fft.irfft(spectrum, noise.shape[-1])[:, -length:].astype(np.float32))


def gaussian_process(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Sums of one to three Gaussian processes: RBF and Matérn 1/2, 3/2, 5/2 of many length-scales.

    Spectral densities: RBF exp(-(w l)^2 / 2), Matérn of order nu (1 / l^2 + w^2)^-(nu + 1/2); Rasmussen and
    Williams, "Gaussian Processes for Machine Learning", 2006, section 4.2.
    """
    size = 2 * length
    omega = (2 * np.pi * np.fft.rfftfreq(size)).astype(np.float32)
    density = np.zeros((rows, omega.size), np.float32)
    for term in range(3):
        chosen = np.arange(rows) if term == 0 else np.flatnonzero(rng.random(rows) < 0.4)
        scale = log_uniform(rng, 1.0, length / 2, (chosen.size, 1))
        order = rng.integers(0, 4, (chosen.size, 1)).astype(np.float32)
        scaled = (omega * scale) ** 2
        part = np.where(order == 0, np.exp(-0.5 * np.minimum(scaled, 80.0)), (1 + scaled) ** -order)
        density[chosen] += log_uniform(rng, 0.1, 1.0, (chosen.size, 1)) * part / part.sum(-1, keepdims=True)
    return _filtered(normal(rng, (rows, size)), np.sqrt(density), length)


def autoregressive(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """ARMA series of orders up to (3, 1), oscillating or not, with innovations that may be heavy-tailed.

    The roots of the autoregressive polynomial are drawn inside the unit circle: one real root (time constant
    of 1 to 200 steps, either sign) and one complex pair (its period from 3 steps up to the row's own cycle).
    """
    size = 2 * length
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size)).astype(np.complex64)
    real = np.exp(-1 / log_uniform(rng, 1.0, 200.0, (rows, 1))) * np.where(rng.random((rows, 1)) < 0.9, 1, -1)
    real = (real * (rng.random((rows, 1)) < 0.7)).astype(np.float32)
    radius = np.exp(-1 / log_uniform(rng, 2.0, 150.0, (rows, 1))) * (rng.random((rows, 1)) < 0.5)
    radius = radius.astype(np.float32)
    cycle = np.where(rng.random((rows, 1)) < 0.5, periods[:, None], log_uniform(rng, 3.0, 100.0, (rows, 1)))
    angle = (2 * np.pi / np.maximum(cycle, 2.1)).astype(np.float32)
    moving = (uniform(rng, -0.9, 0.9, (rows, 1)) * (rng.random((rows, 1)) < 0.4)).astype(np.float32)
    pair = 1 - 2 * radius * np.cos(angle) * delay + radius**2 * delay**2
    response = (1 + moving * delay) / ((1 - real * delay) * pair)
    return _filtered(heavy_noise(rng, rows, size), response, length)


def random_walk(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Random walks, with drift, heavy tails or clustered volatility; a third of them integrated once more."""
    steps = heavy_noise(rng, rows, length)
    volatile = np.flatnonzero(rng.random(rows) < 0.4)
    steps[volatile] *= np.exp(0.8 * gaussian_process(rng, volatile.size, length, periods[volatile]))
    steps += normal(rng, (rows, 1)) * 0.05
    walk = np.cumsum(steps, -1, dtype=np.float32)
    twice = np.flatnonzero(rng.random(rows) < 0.25)
    walk[twice] = np.cumsum(standardise(walk[twice]), -1, dtype=np.float32)
    return standardise(walk)


def segments(rng: np.random.Generator, rows: int, length: int, mean_length: Array) -> NDArray[np.int64]:
    """Numbers (0, 1, ...) [rows, length] of random consecutive segments of mean length `mean_length`."""
    return np.cumsum(rng.random((rows, length), dtype=np.float32) < 1 / mean_length, -1)


def trend(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Trends: linear, piecewise linear, quadratic, logistic, damped exponential and damped oscillation."""
    time = np.linspace(0, 1, length, dtype=np.float32)[None, :] * np.ones((rows, 1), np.float32)
    kind = rng.integers(0, 6, (rows, 1))
    centre, rate = uniform(rng, -0.2, 1.2, (rows, 1)), log_uniform(rng, 1.0, 40.0, (rows, 1))
    part = segments(rng, rows, length, log_uniform(rng, length / 8, length, (rows, 1)))
    slopes = np.take_along_axis(normal(rng, (rows, length + 1)), part, -1)
    piecewise = standardise(np.cumsum(slopes, -1, dtype=np.float32))
    logistic = 1 / (1 + np.exp(-np.clip(rate * (time - centre), -30, 30)))
    decay = np.exp(-rate * time / 2)
    waves = decay * np.cos(2 * np.pi * log_uniform(rng, 1.0, 20.0, (rows, 1)) * time)
    shapes = [time, piecewise, (time - centre) ** 2, logistic, decay, waves]
    return standardise(np.select([kind == k for k in range(6)], shapes) * rng.choice([-1.0, 1.0], (rows, 1)))


def seasonal(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Cycles of the given periods: harmonics, sharp peaks, on/off, half-waves (daylight) and saw-teeth.

    The amplitude changes from cycle to cycle, may follow a week of seven cycles with two quieter ones, and
    may be modulated slowly (locally periodic); the phase may drift or jitter.
    """
    time = np.arange(length, dtype=np.float32)
    phase = time / periods[:, None] + uniform(rng, 0, 1, (rows, 1)) + rng.integers(0, 7, (rows, 1))
    drifting = np.flatnonzero(rng.random(rows) < 0.25)
    wander = random_walk(rng, drifting.size, length, periods[drifting])
    phase[drifting] += wander * log_uniform(rng, 0.01, 0.5, (drifting.size, 1))
    phase = np.maximum(phase, 0).astype(np.float32)
    angle = (2 * np.pi * phase).astype(np.float32)

    kind = rng.choice(5, rows, p=[0.5, 0.15, 0.1, 0.15, 0.1])
    wave = np.empty((rows, length), np.float32)
    for k in range(5):
        chosen = np.flatnonzero(kind == k)
        theta, column = angle[chosen], (chosen.size, 1)
        bump = -np.cos(theta)  # smallest where a cycle begins: a change of amplitude there makes no jump
        if k == 0:
            wave[chosen] = _harmonics(rng, theta, periods[chosen])
        elif k == 1:
            wave[chosen] = np.exp(log_uniform(rng, 1.0, 30.0, column) * (bump - 1))
        elif k == 2:
            edge = log_uniform(rng, 5.0, 100.0, column) * (bump - uniform(rng, -0.9, 0.9, column))
            wave[chosen] = 1 / (1 + np.exp(-np.clip(edge, -30, 30)))
        elif k == 3:
            wave[chosen] = np.maximum(0, bump - uniform(rng, -0.5, 0.7, column))
        else:
            top = uniform(rng, 0.02, 0.98, column)
            part = phase[chosen] % 1
            wave[chosen] = np.minimum(part / top, (1 - part) / (1 - top))
    wave = standardise(wave)
    floor = wave.min(-1, keepdims=True)
    return standardise((wave - floor) * _amplitude(rng, phase, periods) + floor)


def _harmonics(rng: np.random.Generator, theta: Array, periods: Array) -> Array:
    """Sum of up to six harmonics of `theta` [rows, length], decaying, none past Nyquist."""
    rows = len(theta)
    steepness = uniform(rng, 0.5, 3.0, (rows, 1))
    total = np.zeros_like(theta)
    for harmonic in range(1, 7):
        size = normal(rng, (rows, 1)) * harmonic**-steepness * (periods[:, None] > 2 * harmonic)
        if harmonic == 1:
            size += np.sign(size) + (size == 0)
        total += size * np.cos(harmonic * theta + uniform(rng, 0, 2 * np.pi, (rows, 1)))
    return total


def _amplitude(rng: np.random.Generator, phase: Array, periods: Array) -> Array:
    """Positive amplitude [rows, length] that differs from cycle to cycle and over a week of seven."""
    rows, length = phase.shape
    cycle = phase.astype(np.int64)
    weekly = np.where(rng.random((rows, 1)) < 0.3, uniform(rng, 0.0, 1.0, (rows, 1)), 1.0).astype(np.float32)
    week = np.ones((rows, 7), np.float32)
    week[:, 5:] = weekly
    amplitude = np.take_along_axis(week, cycle % 7, -1)
    spread = log_uniform(rng, 0.02, 0.8, (rows, 1)) * (rng.random((rows, 1)) < 0.7)
    count = int(cycle.max()) + 2 if cycle.size else 2
    table = np.exp(spread * normal(rng, (rows, count))).astype(np.float32)
    here = np.take_along_axis(table, cycle, -1)
    there = np.take_along_axis(table, cycle + 1, -1)
    blend = np.where(rng.random((rows, 1)) < 0.5, phase - cycle, 0).astype(np.float32)
    amplitude = amplitude * (here + (there - here) * blend)
    slow = np.flatnonzero(rng.random(rows) < 0.3)
    modulation = gaussian_process(rng, slow.size, length, periods[slow])
    amplitude[slow] *= np.exp(log_uniform(rng, 0.1, 1.0, (slow.size, 1)) * modulation)
    return amplitude.astype(np.float32)


def shot_noise(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Random events, each rising slowly and falling fast or the other way round: episodes, bursts, spills."""
    size = 2 * length
    rate = log_uniform(rng, 2 / length, 0.3, (rows, 1))
    events = (rng.random((rows, size), dtype=np.float32) < rate) * rng.standard_exponential(
        (rows, size), dtype=np.float32
    )
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size)).astype(np.complex64)
    fall = np.exp(-1 / log_uniform(rng, 0.5, 80.0, (rows, 1)))
    rise = np.exp(-1 / log_uniform(rng, 0.2, 8.0, (rows, 1)))
    response = (1 - fall) * (1 - rise) / ((1 - fall * delay) * (1 - rise * delay))
    response = np.where(rng.random((rows, 1)) < 0.5, response, response.conj())
    return _filtered(events.astype(np.float32), response, length)


def regimes(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Levels that hold for a random time and jump: between a few states, or to a new level each time."""
    part = segments(rng, rows, length, log_uniform(rng, 8.0, length, (rows, 1)))
    fresh = normal(rng, (rows, length + 1))
    few = np.take_along_axis(fresh, rng.integers(0, 3, (rows, length + 1)), -1)
    table = np.where(rng.random((rows, 1)) < 0.5, few, fresh)
    return standardise(np.take_along_axis(table, part, -1))


def switching(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """Series whose dynamics or variance change at random times, with clustered volatility in some."""
    part = segments(rng, rows, length, log_uniform(rng, length / 8, length, (rows, 1)))
    calm, wild = autoregressive(rng, rows, length, periods), gaussian_process(rng, rows, length, periods)
    scale = np.take_along_axis(np.exp(normal(rng, (rows, length + 1))), part, -1)
    mixed = np.where(part % 2 == 0, calm, wild) * scale
    volatility = np.exp(gaussian_process(rng, rows, length, periods)) * heavy_noise(rng, rows, length)
    return standardise(np.where(rng.random((rows, 1)) < 0.7, mixed, volatility))


def white(rng: np.random.Generator, rows: int, length: int, periods: Array) -> Array:
    """White noise, Gaussian or heavy-tailed."""
    return standardise(heavy_noise(rng, rows, length))


GENERATORS: tuple[tuple[Generator, float], ...] = (
    (gaussian_process, 0.20),
    (seasonal, 0.33),
    (autoregressive, 0.17),
    (random_walk, 0.10),
    (trend, 0.06),
    (shot_noise, 0.05),
    (regimes, 0.03),
    (switching, 0.04),
    (white, 0.02),
)
"""Generators of single series with the share of rows that each one draws."""


def draw_kinds(rng: np.random.Generator, length: int, periods: Array) -> Array:
    """One random series for each entry of `periods` [rows], each of a random kind; float32 [rows, length]."""
    rows = len(periods)
    shares = np.array([share for _, share in GENERATORS])
    kind = rng.choice(len(GENERATORS), rows, p=shares / shares.sum())
    out = np.empty((rows, length), np.float32)
    for k, (generator, _) in enumerate(GENERATORS):
        chosen = np.flatnonzero(kind == k)
        if chosen.size:
            out[chosen] = generator(rng, chosen.size, length, periods[chosen])
    return out


def draw_latents(rng: np.random.Generator, length: int, periods: Array) -> Array:
    """Sums and products of up to three kinds: [rows, length], one for each row of `periods` [rows, 3].

    Each component takes the period in its own column of `periods`.
    """
    rows = len(periods)
    out = draw_kinds(rng, length, periods[:, 0])
    for term, share in ((1, 0.6), (2, 0.3)):
        chosen = np.flatnonzero(rng.random(rows) < share)
        part = draw_kinds(rng, length, periods[chosen, term])
        weight = log_uniform(rng, 0.1, 1.5, (chosen.size, 1))
        product = out[chosen] * np.exp(0.6 * weight * np.clip(part, -3, 3))
        multiply = rng.random((chosen.size, 1)) < 0.2
        out[chosen] = standardise(np.where(multiply, product, out[chosen] + weight * part))
    return out
