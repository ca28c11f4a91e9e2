"""Smoothing over time: each frame is brought to the scale of the one before and blended with it along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow, Maps
from ..ops.cuts import Cuts, SeenCuts
from ..ops.flow import warp
from ..ops.geometry import unit
from .scale import ScaleTrack

_KNEE = np.float32(0.9)


class Smooth:
    """The temporal filter, causal: what it gives for a frame depends on that frame and those before, nothing else.

    State: the disparity of the frame before on the scale of the scene (not cut off at the ends of the range), its normals,
    its picture, the track of scale, shift and camera motion, and what the judge of cuts remembers.
    cuts: says where a new shot begins and nothing of the one before may count; by default it is seen in the pictures.
    """

    def __init__(self, config: FoldConfig | None = None, cuts: Cuts | None = None):
        self._config = config or FoldConfig()
        self._cuts = SeenCuts() if cuts is None else cuts
        self._track = ScaleTrack(self._config)
        self._before: _Before | None = None

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        before, cut = self._before, self._cuts.step(rgb, flow)
        if cut or before is None or flow is None:
            disparity = None if maps.depth is None else self._track.reset(maps.depth)(maps.depth)
            self._before = _Before(rgb, disparity, maps.normal)
        else:
            self._before = self._fuse(before, rgb, maps, flow)
        return [self._before.shown()]

    def flush(self) -> list[Maps]:
        return []

    def _fuse(self, before: _Before, rgb: np.ndarray, maps: Maps, flow: Flow) -> _Before:
        weight = np.float32(self._config.memory) * flow.valid * _same_colour(before.rgb, rgb, flow, self._config.colour)
        weight *= _slow(flow, self._config.speed)
        disparity, normal = None, maps.normal
        if maps.depth is not None and before.disparity is not None:
            disparity = self._track.step(maps.depth, flow, before.rgb, rgb)(maps.depth)
            moved = self._track.predict(warp(before.disparity, flow))
            weight = weight * _falling((disparity - moved) / self._config.agree)
            disparity += _broad(weight * (moved - disparity), self._config.broad)
        if normal is not None and before.normal is not None:
            turned = self._track.turn(warp(before.normal, flow))
            normal = unit(normal + _broad(weight[..., None] * (turned - normal), self._config.broad))
        return _Before(rgb, disparity, normal)


@dataclass(frozen=True, eq=False)
class _Before:
    """One frame's result, as the next one needs it."""

    rgb: np.ndarray
    disparity: np.ndarray | None
    normal: np.ndarray | None

    def shown(self) -> Maps:
        return Maps(None if self.disparity is None else in_range(self.disparity), self.normal)


def in_range(disparity: np.ndarray) -> np.ndarray:
    """Any disparity in [0,1]: as it is up to the knee, and bent above it so that 1 is never passed and order is kept."""
    above = np.maximum(disparity - _KNEE, 0) / (1 - _KNEE)
    return np.clip(np.minimum(disparity, _KNEE) + (1 - _KNEE) * (1 - np.exp(-above)), 0, 1)


def _same_colour(before: np.ndarray, now: np.ndarray, flow: Flow, reach: float) -> np.ndarray:
    """float32 [h,w] in (0,1]: how alike the picture is to what the flow says was there before."""
    difference = cv2.absdiff(now, warp(before, flow))
    return _falling(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY).astype(np.float32) / (255 * reach))


def _broad(correction: np.ndarray, share: float) -> np.ndarray:
    """A correction without its fine detail, so that edges stay those of this frame and do not wash out from frame to frame.

    correction: float32 [h,w] or [h,w,3]. share: how wide what is kept must be, of the shorter side.
    """
    width = 2 * round(share * min(correction.shape[:2]) / 2) + 1
    return cv2.blur(correction, (width, width), borderType=cv2.BORDER_REPLICATE)


def _slow(flow: Flow, speed: float) -> np.ndarray:
    """float32 [h,w] in (0,1]: the faster a point moves over the picture, the less exactly the flow says from where."""
    dx, dy = cv2.split(flow.to_previous)
    return _falling(np.sqrt(dx * dx + dy * dy) / np.float32(speed * max(dx.shape)))


def _falling(x: np.ndarray) -> np.ndarray:
    """1 at 0, a half at 1, and falling fast after: a Lorentzian squared away from large differences."""
    return 1 / (1 + x * x)
