"""From linear radiance to the bytes of a camera. Works on numpy arrays and on torch tensors, wherever they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor


@dataclass(frozen=True)
class Development:
    """stops: brighter (+) or darker than a mean exposure. balance: gains of red, green, blue. gamma: exponent's inverse.
    shoulder: 0 clips highlights hard, 1 rolls them off from mid-grey on."""

    stops: float = 0.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 2.2
    shoulder: float = 0.5


def random_development(rng: np.random.Generator) -> Development:
    """As cameras vary: mostly well exposed, at times half a stop or more off."""
    warmth, green = rng.normal(0, 0.06), rng.normal(0, 0.025)
    return Development(
        stops=float(rng.normal(0, 0.45)),
        balance=(float(1 + warmth), float(1 + green), float(1 - warmth)),
        gamma=float(rng.uniform(1.9, 2.5)),
        shoulder=float(rng.uniform(0.1, 1.0)),
    )


def exposure(radiance: Array, share: bool) -> Array:
    """The gain [N] that brings the logarithmic mean of each picture to 0.2 (Reinhard et al. 2002), and bright pictures lower.

    Args:
        radiance: float32 [N,h,w,3]. share: one gain for all, as in a clip, so that nothing flickers.
    """
    xp = library_of(radiance)
    some = radiance[:, ::4, ::4]
    light = 0.2126 * some[..., 0] + 0.7152 * some[..., 1] + 0.0722 * some[..., 2]
    mean = xp.exp(xp.log(light + 1e-3).mean((1, 2)))
    gain = 0.2 / (0.65 * mean + 0.35 * light.mean((1, 2)) * 0.7)
    return gain * 0 + gain.mean() if share else gain


def develop(radiance: Array, settings: list[Development], share: bool = False, gain: float | None = None) -> Array:
    """uint8 [N,h,w,3], display-referred RGB.

    Args:
        radiance: float32 [N,h,w,3], linear. settings: N of them. share: expose all frames alike. gain:
        the exposure, where it is settled already; then nothing is measured.
    """
    xp = library_of(radiance)
    gains = np.array([[2.0**s.stops * b for b in s.balance] for s in settings], np.float32)[:, None, None, :]
    soft = np.array([s.shoulder for s in settings], np.float32)[:, None, None, None]
    power = np.array([1 / s.gamma for s in settings], np.float32)[:, None, None, None]
    gains, soft, power = (like(radiance, a) for a in (gains, soft, power))
    exposed = radiance * (exposure(radiance, share)[:, None, None, None] if gain is None else gain)
    x = exposed * gains
    rolled = x * (1 + x / 6.25) / (1 + x) * 1.35  # Reinhard's curve with white at 2.5
    x = (x * (1 - soft) + rolled * soft).clip(0, 1) ** power
    x = x * 255 + 0.5
    return x.astype(np.uint8) if xp is np else x.to(xp.uint8)


def library_of(array: Array) -> Any:
    """numpy or torch, whichever the array belongs to."""
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def like(array: Array, values: np.ndarray) -> Array:
    """The numpy values in the library and on the device of `array`."""
    xp = library_of(array)
    return values if xp is np else xp.from_numpy(values).to(array.device)
