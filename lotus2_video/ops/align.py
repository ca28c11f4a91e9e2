"""One scale and one shift that bring a disparity map onto another."""

from __future__ import annotations

import numpy as np

_HUBER = 1.345  # in standard deviations: 95 % as efficient as least squares on Gaussian noise (Huber 1981)
_MAD_TO_SIGMA = 1.4826
_ROUNDS = 4
_LEAST_SPREAD = 1e-4  # standard deviation of the source below which it says nothing about scale


def fit_affine(source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """(scale, shift) that minimise the weighted Huber loss of scale * source + shift - target.

    source, target, weight: float arrays of one shape; weight at least 0. A source with no spread leaves the scale at 1, no
    weight at all gives (1, 0).

    Iteratively reweighted least squares (Holland and Welsch 1977), each round the closed-form solution of the 2x2 normal
    equations; the spread of the residuals is taken from their median.
    """
    used = np.ravel(weight) > 0
    x, y, w = (np.ravel(part)[used].astype(np.float64) for part in (source, target, weight))
    if not len(x):
        return 1.0, 0.0
    scale, shift = solve_affine(x, y, w)
    for _ in range(_ROUNDS):
        miss = np.abs(scale * x + shift - y)
        allowed = max(_HUBER * _MAD_TO_SIGMA * float(np.median(miss)), 1e-9)
        scale, shift = solve_affine(x, y, w * np.minimum(1.0, allowed / np.maximum(miss, 1e-12)))
    return scale, shift


def solve_affine(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> tuple[float, float]:
    """(scale, shift) of the weighted least squares of scale * x + shift = y, in closed form.

    x, y, w: float64 [n], w at least 0 and not all 0.
    """
    total = w.sum()
    x_mean, y_mean = (w @ x) / total, (w @ y) / total
    variance = (w @ (x - x_mean) ** 2) / total
    if variance < _LEAST_SPREAD**2:
        return 1.0, float(y_mean - x_mean)
    scale = (w @ ((x - x_mean) * (y - y_mean))) / total / variance
    return float(scale), float(y_mean - scale * x_mean)
