"""Key frames: the sharpener's detail, paid for on a few frames and carried along to all of them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..frames import Flow, Maps
from ..ops.cuts import Cuts, SeenCuts
from ..ops.flow import chain, refine, warp
from ..ops.geometry import unit

_LEAST_KEPT = 0.6  # share of the detail that must still be trusted, or the next frame is a key frame
_AROUND = 7  # pixels over which colours are compared: on a contour they differ by any small error of the flow
_SAME_COLOUR = 24.0  # colour difference (0 to 255) to the key frame at which trust in its detail has halved


@dataclass(frozen=True, eq=False)
class _Key:
    """A key frame's picture without grain, the way from the last frame back to it, and how far that is to be trusted.

    trust: float32 [h,w] in [0,1].
    """

    rgb: np.ndarray
    way: Flow
    trust: np.ndarray

    def next(self, rgb: np.ndarray, flow: Flow, exact: bool = False) -> _Key:
        """exact: to the pixel, for carrying; to see how much of the key frame is left, the flows' own errors may add up."""
        way = chain(flow, self.way)
        if exact:
            way = refine(way, self.rgb, _calm(rgb))
        difference = cv2.absdiff(_calm(rgb), warp(self.rgb, way))
        around = cv2.blur(cv2.cvtColor(difference, cv2.COLOR_RGB2GRAY).astype(np.float32), (_AROUND, _AROUND))
        colour = around / np.float32(_SAME_COLOUR)
        return _Key(self.rgb, way, way.valid / (1 + colour * colour))


def _start(rgb: np.ndarray) -> _Key:
    size = rgb.shape[:2]
    still = Flow(np.zeros((*size, 2), np.float32), np.ones(size, np.bool_))
    return _Key(_calm(rgb), still, np.ones(size, np.float32))


def _calm(rgb: np.ndarray) -> np.ndarray:
    """Without grain, in which two pictures differ however right the flow is."""
    return cv2.blur(rgb, (3, 3))


class KeyframePlan:
    """Which frames are key frames, decided as they come, from the pictures alone: so they can be sharpened ahead of the fold.

    The first frame of a shot, every `every`-th after it, and sooner when too much of the detail has been hidden or moved out.
    """

    def __init__(self, every: int, cuts: Cuts | None = None):
        self._every = every
        self._cuts = SeenCuts() if cuts is None else cuts
        self._key: _Key | None = None
        self._age = 0

    def step(self, rgb: np.ndarray, flow: Flow | None) -> bool:
        """rgb: uint8 [h,w,3]. flow: to the frame before, at the same size; None for the first."""
        cut = self._cuts.step(rgb, flow)
        self._age += 1
        if self._key is not None and flow is not None and not cut and self._age < self._every:
            self._key = self._key.next(rgb, flow)
            if float(self._key.trust.mean()) >= _LEAST_KEPT:
                return False
        self._key, self._age = _start(rgb), 0
        return True


class CarriedDetail:
    """Adds the detail of the last key frame to the steady maps of the frames after it.

    Detail is what the sharpener changed in the network's own map; carried along the flow, from the key frame in one step so
    that it does not blur on the way, and faded where the flow is not valid or the picture has changed. It is added to what
    is given out and never enters the state of the smoothing. State: the key frame, its detail, and the way back to it.
    """

    def __init__(self) -> None:
        self._key: _Key | None = None
        self._detail: Maps | None = None

    def step(self, rgb: np.ndarray, steady: Maps, flow: Flow | None, key: tuple[Maps, Maps, float] | None) -> Maps:
        """The sharpened maps of the next frame.

        rgb: uint8 [h,w,3]. steady: its smoothed maps, of that size. flow: to the frame before. key: for a key frame the
        network's own maps without and with the sharpener, and the scale by which the smoothing multiplied the depth.
        """
        if key is not None:
            self._key, self._detail = _start(rgb), _detail(*key)
        elif self._key is not None and flow is not None:
            self._key = self._key.next(rgb, flow, exact=True)
        if self._key is None or self._detail is None:
            return steady
        depth, normal = steady.depth, steady.normal
        if depth is not None and self._detail.depth is not None:
            depth = np.clip(depth + self._key.trust * warp(self._detail.depth, self._key.way, crisp=True), 0, 1)
        if normal is not None and self._detail.normal is not None:
            normal = unit(normal + self._key.trust[..., None] * warp(self._detail.normal, self._key.way, crisp=True))
        return Maps(depth, normal)


def _detail(coarse: Maps, sharp: Maps, scale: float) -> Maps:
    depth = normal = None
    if coarse.depth is not None and sharp.depth is not None:
        depth = np.float32(scale) * (sharp.depth - coarse.depth)
    if coarse.normal is not None and sharp.normal is not None:
        normal = sharp.normal - coarse.normal
    return Maps(depth, normal)
