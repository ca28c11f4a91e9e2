"""One scale and one shift that bring a disparity map onto another."""

from __future__ import annotations

import math

import numpy as np

_HUBER = 1.345  # in standard deviations: 95 % as efficient as least squares on Gaussian noise (Huber 1981)
_MAD_TO_SIGMA = 1.4826
_ROUNDS = 4
_LEAST_SPREAD = 1e-4  # standard deviation of the source below which it says nothing about scale


def fit_affine(
    source: np.ndarray, target: np.ndarray, weight: np.ndarray, both_noisy: bool = False
) -> tuple[float, float]:
    """(scale, shift) that minimise the weighted Huber loss of scale * source + shift - target.

    source, target, weight: float arrays of one shape; weight at least 0. A source with no spread leaves the scale at 1, no
    weight at all gives (1, 0). both_noisy: the source is as uncertain as the target, so the distance to the line counts and
    not the difference along the target: least squares would give too small a scale, and a chain of such fits would shrink.

    Iteratively reweighted least squares (Holland and Welsch 1977), each round the closed-form solution of the 2x2 normal
    equations; the spread of the residuals is taken from their median.
    """
    used = np.ravel(weight) > 0
    x, y, w = (np.ravel(part)[used].astype(np.float64) for part in (source, target, weight))
    if not len(x):
        return 1.0, 0.0
    scale, shift = solve_affine(x, y, w, both_noisy)
    for _ in range(_ROUNDS):
        miss = np.abs(scale * x + shift - y)
        allowed = max(_HUBER * _MAD_TO_SIGMA * float(np.median(miss)), 1e-9)
        scale, shift = solve_affine(x, y, w * np.minimum(1.0, allowed / np.maximum(miss, 1e-12)), both_noisy)
    return scale, shift


def solve_affine(x: np.ndarray, y: np.ndarray, w: np.ndarray, both_noisy: bool = False) -> tuple[float, float]:
    """(scale, shift) of the weighted least squares of scale * x + shift = y, in closed form.

    x, y, w: float64 [n], w at least 0 and not all 0. both_noisy: Deming's regression with equal errors (orthogonal).
    """
    total = w.sum()
    x_mean, y_mean = (w @ x) / total, (w @ y) / total
    dx, dy = x - x_mean, y - y_mean
    xx, xy = (w @ (dx * dx)) / total, (w @ (dx * dy)) / total
    if xx < _LEAST_SPREAD**2 or (both_noisy and xy <= 0):
        return 1.0, float(y_mean - x_mean)
    scale = xy / xx
    if both_noisy:
        gap = (w @ (dy * dy)) / total - xx
        scale = (gap + math.hypot(gap, 2 * xy)) / (2 * xy)
    return float(scale), float(y_mean - scale * x_mean)
