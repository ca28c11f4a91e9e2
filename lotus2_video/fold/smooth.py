"""Smoothing over time: each frame is brought to the scale of the one before and blended with it along the flow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow, Maps
from ..ops.align import fit_affine
from ..ops.flow import warp

_FIT_STEP = 4  # every how many pixels, each way, are fitted; 5,000 of 224x384 determine two numbers well enough
_LEAST_SEEN = 0.3  # share of the frame that must have been seen before; below it there is nothing to be steady with


@dataclass(frozen=True, eq=False)
class _Before:
    """The state: what was given out for the frame before, its picture, and the scale and shift that it was brought to."""

    maps: Maps
    rgb: np.ndarray
    scale: float = 1.0
    shift: float = 0.0


class Smooth:
    """The temporal filter, causal: what it gives for a frame depends on that frame and those before, nothing else."""

    def __init__(self, config: FoldConfig | None = None):
        self._config = config or FoldConfig()
        self._before: _Before | None = None

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        before = self._before
        if before is None or flow is None or flow.valid.mean() < _LEAST_SEEN or before.maps.size != maps.size:
            self._before = _Before(maps, rgb)
        else:
            self._before = self._fuse(before, rgb, maps, flow)
        return [self._before.maps]

    def flush(self) -> list[Maps]:
        return []

    def _fuse(self, before: _Before, rgb: np.ndarray, maps: Maps, flow: Flow) -> _Before:
        trust = flow.valid * _same_colour(before.rgb, rgb, flow, self._config.colour)
        depth, scale, shift = maps.depth, before.scale, before.shift
        if depth is not None and before.maps.depth is not None:
            moved = warp(before.maps.depth, flow)
            scale, shift = self._follow(depth, moved, trust, before)
            aligned = scale * depth + shift
            trust = trust * _falling((aligned - moved) / self._config.agree)
            depth = np.clip(aligned + self._config.memory * trust * (moved - aligned), 0, 1)
        normal = maps.normal
        if normal is not None and before.maps.normal is not None:
            normal = _unit(normal + self._config.memory * trust[..., None] * (warp(before.maps.normal, flow) - normal))
        return _Before(Maps(depth, normal), rgb, scale, shift)

    def _follow(self, depth: np.ndarray, moved: np.ndarray, trust: np.ndarray, before: _Before) -> tuple[float, float]:
        """The scale and shift for this frame: what fits the result before, within limits, pulled towards (1, 0)."""
        some = (slice(None, None, _FIT_STEP),) * 2
        inside = (depth[some] > 0) & (depth[some] < 1)  # a value cut off at an end of the range has lost its scale
        scale, shift = fit_affine(depth[some], moved[some], trust[some] * inside)
        most = math.log1p(self._config.fit_change)
        change = float(np.clip(math.log(max(scale, 1e-6) / before.scale), -most, most))
        limited = before.scale * math.exp(change)
        middle = float(np.median(depth[some]))
        shift += (scale - limited) * middle  # a limited scale turns about the middle of the map, which stays where it was
        keep = 1 - self._config.fit_decay
        return math.exp(keep * math.log(limited)), keep * shift


def _same_colour(before: np.ndarray, now: np.ndarray, flow: Flow, reach: float) -> np.ndarray:
    """float32 [h,w] in (0,1]: how alike the picture is to what the flow says was there before."""
    difference = cv2.absdiff(now, warp(before, flow))
    return _falling(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY).astype(np.float32) / (255 * reach))


def _falling(x: np.ndarray) -> np.ndarray:
    """1 at 0, a half at 1, and falling fast after: a Lorentzian squared away from large differences."""
    return 1 / (1 + x * x)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-6)
