"""Smoothing over time: each frame is brought to the scale of the scene and corrected by the one before along the flow."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow, Maps
from ..ops.cuts import Cuts, SeenCuts
from ..ops.flow import half_size, shrink_flow, shrink_half, warp
from ..ops.geometry import fit_rotation, unit
from .lookahead import Hindsight, LookAhead, Steadied, Surprise
from .scale import ScaleTrack

_EVERY = 4  # pixels, of which one says how the normals turned
_LEAST = np.float32(0.005)  # disparity by which even what is at infinity may differ from what it was
_KNEE = np.float32(0.9)  # disparity above which what is given out is bent, so that near things are not cut off at 1


class Smooth:
    """The temporal filter, causal: what it gives for a frame depends on that frame and those before, nothing else; with
    `lookahead` N also on the N frames after it, which it then waits for.

    A map is corrected, not replaced: what the frames before say otherwise is worked out at half the size, spread, and added
    to the frame's own map, so that its edges stay sharp however long the memory is.

    State: the last result at half the size, with its picture; the track of scale, shift and camera motion; what is held back
    to look ahead; and what the judge of cuts remembers.
    cuts: says where a new shot begins and nothing of the one before may count; by default it is seen in the pictures.
    """

    def __init__(self, config: FoldConfig | None = None, cuts: Cuts | None = None):
        self._config = config or FoldConfig()
        self._cuts = SeenCuts() if cuts is None else cuts
        self._track = ScaleTrack(self._config)
        self._before: _Before | None = None
        self._ahead = LookAhead(self._config.lookahead)

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        cut, before = self._cuts.step(rgb, flow), self._before
        given = self._start(maps) if cut or before is None or flow is None else self._steady(before, rgb, maps, flow)
        disparity, normal = given.disparity, given.normal
        self._before = _Before(
            rgb, None if disparity is None else shrink_half(disparity), None if normal is None else shrink_half(normal)
        )
        return [self._final(*each) for each in self._ahead.step(given)]

    @property
    def scale(self) -> float:
        """What the depth of the frame stepped last was multiplied by."""
        return self._track.affine.scale

    def flush(self) -> list[Maps]:
        return [self._final(*each) for each in self._ahead.flush()]

    def _final(self, given: Steadied, told: Hindsight) -> Maps:
        disparity, normal = given.disparity, given.normal
        if disparity is not None and told.disparity is not None:
            disparity = disparity + self._spread(told.disparity, disparity)
        if normal is not None and told.normal is not None:
            normal = unit(normal + self._spread(told.normal, normal))
        return Maps(None if disparity is None else in_range(disparity), normal)

    def _start(self, maps: Maps) -> Steadied:
        disparity = None if maps.depth is None else self._track.reset(maps.depth)(maps.depth)
        return Steadied(disparity, maps.normal, None)

    def _steady(self, before: _Before, rgb: np.ndarray, maps: Maps, flow: Flow) -> Steadied:
        if maps.depth is None:
            affine, half = None, shrink_flow(flow, half_size(flow.valid))
        else:
            affine, half = self._track.step(maps.depth, flow, before.rgb, rgb)
        trust = self._trust(shrink_half(before.rgb), shrink_half(rgb), half)
        disparity, new_disparity = None, None
        if maps.depth is not None and affine is not None and before.disparity is not None:
            disparity = affine(maps.depth)
            old = warp(before.disparity, half)
            past = self._track.predict(old)
            trust *= _falling((past - old) / np.float32(self._config.change))
            now = shrink_half(disparity)
            gap = past + self._track.given_up(shrink_half(maps.depth)) - now
            trust *= _falling(gap / self._agree(self._track.from_infinity(now)))
            disparity += self._spread(trust * gap, disparity)
            new_disparity = (trust - 1) * gap
        normal, new_normal, turned = maps.normal, None, self._track.turned.astype(np.float32)
        if normal is not None and before.normal is not None:
            now, past = shrink_half(normal), warp(before.normal, half)
            turned = turned if affine else _turned(past, now, trust)
            gap = past @ turned - now
            trust *= _falling(np.linalg.norm(gap, axis=2) / np.float32(self._config.agree_normal))
            normal = unit(normal + self._spread(trust[..., None] * gap, normal))
            new_normal = (trust - 1)[..., None] * gap
        return Steadied(disparity, normal, Surprise(trust, new_disparity, new_normal, half, turned))

    def _trust(self, before: np.ndarray, now: np.ndarray, flow: Flow) -> np.ndarray:
        """float32 [h,w] in [0,1]: how much the frame before counts, by the flow and by the pictures uint8 [h,w,3]."""
        config = self._config
        difference = cv2.cvtColor(cv2.absdiff(now, warp(before, flow)), cv2.COLOR_RGB2GRAY).astype(np.float32)
        dx, dy = cv2.split(flow.to_previous)
        pace = cv2.magnitude(dx, dy)  # the faster a point moves, the less exactly the flow says from where
        alike = _falling(difference / np.float32(255 * config.colour))
        return (
            np.float32(config.memory) * flow.valid * alike * _falling(pace / np.float32(config.speed * max(dx.shape)))
        )

    def _agree(self, near: np.ndarray) -> np.ndarray:
        """The gap at which trust has halved, by disparity from infinity, float32 [h,w]: for what is far, little is much."""
        return np.minimum(np.float32(self._config.agree_share) * near + _LEAST, np.float32(self._config.agree))

    def _spread(self, correction: np.ndarray, full: np.ndarray) -> np.ndarray:
        """The correction at the size of `full`, without detail finer than the least that may be corrected."""
        width = 2 * round(self._config.broad * min(correction.shape[:2]) / 2) + 1
        correction = cv2.blur(correction, (width, width), borderType=cv2.BORDER_REPLICATE)
        return cv2.resize(correction, (full.shape[1], full.shape[0]), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True, eq=False)
class _Before:
    """The frame before: its picture, and at half the size its disparity on the scale of the scene, and its normals."""

    rgb: np.ndarray
    disparity: np.ndarray | None
    normal: np.ndarray | None


def in_range(disparity: np.ndarray) -> np.ndarray:
    """Any disparity in [0,1]: as it is up to the knee, and bent above it so that 1 is never passed and order is kept."""
    if disparity.max() > _KNEE:
        above = np.maximum(disparity - _KNEE, 0) / (1 - _KNEE)
        disparity = np.minimum(disparity, _KNEE) + (1 - _KNEE) * (1 - np.exp(-above))
    return np.clip(disparity, 0, 1)


def _turned(before: np.ndarray, now: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """float32 [3,3]: how the camera turned, by normals [h,w,3] alone, in this frame and the one before at the same points."""
    few = np.s_[::_EVERY, ::_EVERY]
    return fit_rotation(before[few].reshape(-1, 3), now[few].reshape(-1, 3), trust[few].ravel()).astype(np.float32)


def _falling(x: np.ndarray) -> np.ndarray:
    """1 at 0, a half at 1, and toward 0 as the inverse square."""
    return 1 / (1 + x * x)
