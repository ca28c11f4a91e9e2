"""Smoothing over time: each frame is brought to the scale of the one before and blended with it along the flow."""

from __future__ import annotations

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow, Maps
from ..ops.flow import warp
from .scale import ScaleTrack

_LEAST_SEEN = 0.3  # share of the frame that must have been seen before; below it there is nothing to be steady with


class Smooth:
    """The temporal filter, causal: what it gives for a frame depends on that frame and those before, nothing else.

    State: what was given out for the frame before, its picture, and the track of scale and shift.
    """

    def __init__(self, config: FoldConfig | None = None):
        self._config = config or FoldConfig()
        self._scale = ScaleTrack(self._config)
        self._given: Maps | None = None
        self._rgb: np.ndarray = np.empty(0)

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        before = self._given
        if before is None or flow is None or before.size != maps.size or flow.valid.mean() < _LEAST_SEEN:
            self._given = self._start(maps)
        else:
            self._given = self._fuse(before, rgb, maps, flow)
        self._rgb = rgb
        return [self._given]

    def flush(self) -> list[Maps]:
        return []

    def _start(self, maps: Maps) -> Maps:
        if maps.depth is None:
            return maps
        self._scale.reset(maps.depth)
        return Maps(_in_range(self._scale.affine(maps.depth)), maps.normal)

    def _fuse(self, before: Maps, rgb: np.ndarray, maps: Maps, flow: Flow) -> Maps:
        trust = flow.valid * _same_colour(self._rgb, rgb, flow, self._config.colour)
        depth, normal = maps.depth, maps.normal
        if depth is not None and before.depth is not None:
            aligned = self._scale.step(depth, flow)(depth)
            moved = self._scale.predict(warp(before.depth, flow))
            trust = trust * _falling((aligned - moved) / self._config.agree)
            depth = _in_range(aligned + self._config.memory * trust * (moved - aligned))
        if normal is not None and before.normal is not None:
            normal = _unit(normal + self._config.memory * trust[..., None] * (warp(before.normal, flow) - normal))
        return Maps(depth, normal)


def _in_range(disparity: np.ndarray) -> np.ndarray:
    return np.clip(disparity, 0, 1)


def _same_colour(before: np.ndarray, now: np.ndarray, flow: Flow, reach: float) -> np.ndarray:
    """float32 [h,w] in (0,1]: how alike the picture is to what the flow says was there before."""
    difference = cv2.absdiff(now, warp(before, flow))
    return _falling(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY).astype(np.float32) / (255 * reach))


def _falling(x: np.ndarray) -> np.ndarray:
    """1 at 0, a half at 1, and falling fast after: a Lorentzian squared away from large differences."""
    return 1 / (1 + x * x)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=2, keepdims=True), 1e-6)
