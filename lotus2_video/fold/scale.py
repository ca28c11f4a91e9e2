"""The scale and shift of each frame: most of the flicker of a per-frame model is these two numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow
from ..ops.align import fit_affine
from ..ops.flow import warp
from ..ops.geometry import CameraMotion, advance, camera_motion, to_gl

_BLOCK = 8  # pixels of the map to one of the coarse grid that scale is judged on: two numbers need no more
_FOCAL = 0.7  # of the longer side, a field of view of 71 degrees; motion compensation hardly depends on it
_EDGE = 0.03  # curvature of disparity above which a coarse pixel straddles an edge, as a fraction of the range
_SKY = 0.02  # disparity as the network gives it, below which a point may be the sky
_LEAST_SAMPLES = 40
_ENDS = (0.002, 0.998)  # a map value beyond is cut off and has lost its scale


@dataclass(frozen=True)
class Affine:
    """disparity -> scale * disparity + shift; a shift upwards fades out toward 0, so that the sky stays at infinity."""

    scale: float = 1.0
    shift: float = 0.0

    def __call__(self, disparity: np.ndarray) -> np.ndarray:
        shift = np.float32(self.shift)
        if shift > 0:
            shift = shift * np.minimum(disparity / np.float32(_SKY), np.float32(1))
        return np.float32(self.scale) * disparity + shift


class ScaleTrack:
    """Follows the network's scale and shift from frame to frame, so that the world keeps its depth while they wander.

    State: a coarse picture of the world as given out so far, carried along the flow and moved with the camera, with the
    number of frames that each of its pixels rests on: old pixels are anchors, fresh ones hardly count.
    """

    def __init__(self, config: FoldConfig):
        self._config = config
        self._world: np.ndarray | None = None
        self._age: np.ndarray = np.empty(0)
        self.affine = Affine()
        self.motion: CameraMotion | None = None  # how the camera got to this frame

    def reset(self, depth: np.ndarray) -> Affine:
        """Starts a new scene with this frame, float32 [h,w]; its scale and shift."""
        self.affine, self.motion = Affine(self._config.start_scale), None
        self._world = self.affine(_coarse(depth))
        self._age = np.ones_like(self._world)
        return self.affine

    def step(self, depth: np.ndarray, flow: Flow) -> Affine:
        """The scale and shift for the next frame, float32 [h,w]."""
        assert self._world is not None, "reset comes first"
        now, moved = _coarse(depth), _coarse_flow(flow)
        near = self.affine(now) + np.float32(self._config.infinity)
        self.motion = camera_motion(near, moved, _FOCAL * max(now.shape))
        world = self.predict(warp(self._world, moved))
        age = np.where(moved.valid, warp(self._age, moved), 0)
        self.affine = self._limited(self._fit(now, world, age))
        self._remember(self.affine(now), world, age)
        return self.affine

    def predict(self, disparity: np.ndarray) -> np.ndarray:
        """What disparity given out before, float32, is now that the camera has moved."""
        zero = np.float32(self._config.infinity)
        return advance(disparity + zero, self.motion) - zero

    def turn(self, normal: np.ndarray, flow: Flow) -> np.ndarray:
        """What normals given out before, float32 [h,w,3], GL axes, are in this camera's axes."""
        motion = self.motion
        if self._world is None:  # no depth in this film: the camera's rotation from flow alone
            moved = _coarse_flow(flow)
            motion = camera_motion(np.zeros(moved.valid.shape), moved, _FOCAL * max(moved.valid.shape))
        return normal if motion is None else normal @ to_gl(motion.matrix()).astype(np.float32)

    def _fit(self, now: np.ndarray, world: np.ndarray, age: np.ndarray) -> Affine:
        kept = (now > _ENDS[0]) & (now < _ENDS[1]) & (np.abs(cv2.Laplacian(now, cv2.CV_32F)) < _EDGE)
        weight = np.minimum(age, self._config.anchor) * kept
        if np.count_nonzero(weight) < _LEAST_SAMPLES:
            return self.affine
        return Affine(*fit_affine(now, world, weight, both_noisy=True))

    def _limited(self, fitted: Affine) -> Affine:
        """Within reach of the network's own scale, and pulled back to it the more the farther it is."""
        start, most = self._config.start_scale, math.log(self._config.most_scale)
        away = math.log(max(fitted.scale, 1e-3) / start)
        pull = self._config.pull * (1 + (away / (most / 2)) ** 2)
        away = float(np.clip(away * (1 - min(pull, 1)), -most, most))
        return Affine(start * math.exp(away), fitted.shift * (1 - min(pull, 1)))

    def _remember(self, given: np.ndarray, world: np.ndarray, age: np.ndarray) -> None:
        agrees = 1 / (1 + ((given - world) / self._config.surprise) ** 2)
        self._age = np.minimum(age * agrees, self._config.anchor) + 1
        self._world = world + (given - world) / self._age


def _coarse(map_: np.ndarray) -> np.ndarray:
    height, width = (max(1, side // _BLOCK) for side in map_.shape[:2])
    return cv2.resize(map_, (width, height), interpolation=cv2.INTER_AREA)


def _coarse_flow(flow: Flow) -> Flow:
    small = _coarse(flow.to_previous) / np.float32(_BLOCK)
    return Flow(small, _coarse(flow.valid.astype(np.float32)) > 0.95)
