"""The scale and shift of each frame: most of the flicker of a per-frame model is these two numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..config import FoldConfig
from ..frames import Flow
from ..ops.align import fit_affine
from ..ops.flow import corner_flow, half_size, inside, shrink_flow, shrink_half, warp
from ..ops.geometry import CameraMotion, advance, camera_motion, to_gl

_COARSE = 28  # pixels of the shorter side of the coarse grid that scale is judged on: two numbers need no more
_FOCAL = 0.7  # of the longer side, a field of view of 71 degrees; motion compensation hardly depends on it
_CLOSE, _CLOSE_SHARE = (
    0.6,
    0.1,
)  # pixels of the half-size flow, and share of it, within which a scene at rest explains it
_AROUND = 9  # pixels of the half-size picture over which two flows are compared by how alike they make the frames
_PLAIN = 1.0  # grey levels by which the flow of a scene at rest may be worse, as where nothing is to be seen
_NEARBY, _CONTOUR = (
    41,
    100.0,
)  # pixels of it that tell how a plain place moves; grey levels of an edge that says all it can
_EXPLAINED = 10.0  # grey levels below which that flow alone is enough, though the dense one found no match
_EDGE = 0.03  # curvature of disparity above which a coarse pixel straddles an edge, as a fraction of the range
_SKY = 0.02  # disparity as the network gives it, below which a point may be the sky
_DOUBT = 3.0  # times what the camera's motion is said to change: the network's maps bend, and a road grows wrongly as a whole
_LEAST_SAMPLES = 40
_LIKELY_JITTER = 0.004  # of a network's scale between two frames, as long as nothing is known about it
_LONG = 15  # frames over which that jitter is averaged
_FIRST = 15  # frames that the first one's scale counts for among those that say what the network's own is
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


class _Jitter:
    """How much the network's scale changes between frames and back; a change that goes on and on is no jitter.

    usual: mean of the last frames, as a factor less 1. State: that mean, over how many frames, and the last change.
    """

    def __init__(self) -> None:
        self.usual, self._count, self._last = _LIKELY_JITTER, 1, 0.0

    def step(self, factor: float) -> None:
        change, last = math.log(factor), self._last
        self._last, self._count = change, min(self._count + 1, _LONG)
        self.usual += (abs(change - last) / math.sqrt(2) - self.usual) / self._count


class ScaleTrack:
    """Follows the network's scale and shift from frame to frame, so that the world keeps its depth while they wander.

    State: a coarse picture of the world as given out so far, carried along the flow and moved with the camera, with the
    number of frames that each of its pixels rests on: old pixels are anchors, fresh ones hardly count; and the network's own
    scale, which one frame alone does not tell.
    """

    def __init__(self, config: FoldConfig):
        self._config = config
        self._infinity = config.infinity  # what the network's disparity lacks, in this scene, to be 0 at infinity
        self._world: np.ndarray | None = None
        self._age: np.ndarray = np.empty(0)
        self._jitter = _Jitter()
        self._own, self._seen = 0.0, 0  # log of the network's own scale over start_scale; frames that told of it
        self.affine = self._fitted = Affine()
        self.motion: CameraMotion | None = None  # how the camera got to this frame
        self._rest: np.ndarray = np.empty(0)  # float32 [h/2,w/2], 1 where it sees what does not move by itself

    def reset(self, depth: np.ndarray) -> Affine:
        """Starts a new scene with this frame, float32 [h,w]; its scale and shift."""
        self.affine, self.motion, self._jitter = Affine(self._config.start_scale), None, _Jitter()
        self._own, self._seen = 0.0, 0
        now = _coarse(depth)
        self._infinity = min(self._config.infinity, float(now.min()))
        self._world = self.affine(now)
        self._age = np.ones_like(self._world)
        return self.affine

    def step(self, depth: np.ndarray, flow: Flow, before: np.ndarray, rgb: np.ndarray) -> tuple[Affine, Flow]:
        """The scale and shift for the next frame, and a better flow to the one before, at half the size.

        depth: float32 [h,w]. flow: at that size. before, rgb: uint8 [h,w,3], the frame before and this one.
        """
        assert self._world is not None, "reset comes first"
        now = _coarse(depth)
        self._infinity = min(self._infinity, float(now.min()))  # sky in view: the network's 0 is infinity itself
        better = self._follow_camera(depth, flow, before, rgb)
        moved = shrink_flow(better, _coarse_size(depth))
        before_motion = warp(self._world, moved)
        world = self.predict(before_motion)
        age = np.where(moved.valid, warp(self._age, moved), 0)
        fitted = self._fit(now, world, age, np.float32(_DOUBT) * (world - before_motion))
        self._jitter.step(self._near(fitted, now) / self._near(self.affine, now))
        self.affine, self._fitted = self._limited(fitted, float(np.median(now))), fitted
        self._remember(self.affine(now), world + self.given_up(now), age)
        return self.affine, better

    def _follow_camera(self, depth: np.ndarray, flow: Flow, before: np.ndarray, rgb: np.ndarray) -> Flow:
        """Finds `motion`, and what is at rest. Returns the flow at half the size: that of the moving camera wherever the
        dense one is near it or makes the pictures no more alike, for it knows no aperture and does not stick to 0 where
        there is no texture."""
        corners, to_previous = corner_flow(before, rgb, flow)
        near = self.affine(depth[corners[:, 1], corners[:, 0]]) + self._zero
        focal = _FOCAL * max(depth.shape)
        self.motion = camera_motion(near, corners, to_previous, depth.shape, focal)
        half = shrink_flow(flow, half_size(depth))
        self._rest = np.ones(half.valid.shape, np.float32)
        if self.motion is None:
            return half
        rigid = self.motion.flow(
            self.affine(shrink_half(depth)) + self._zero, focal * half.valid.shape[1] / depth.shape[1]
        )
        (du, dv), (u, v) = cv2.split(rigid - half.to_previous), cv2.split(rigid)
        close = cv2.magnitude(du, dv) < np.float32(_CLOSE) + np.float32(_CLOSE_SHARE) * cv2.magnitude(u, v)
        old, new = (shrink_half(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)) for picture in (before, rgb))
        at_rest = _differs(old, new, rigid)
        alike = at_rest <= _differs(old, new, half.to_previous) + np.float32(_PLAIN)
        close |= alike & _around_rests(close, half.valid, new)
        self._rest = close.astype(np.float32)
        explained = close & (at_rest < _EXPLAINED) & inside(rigid)
        return Flow(np.where(close[..., None], rigid, half.to_previous), half.valid | explained)

    @property
    def _zero(self) -> np.float32:
        """What disparity as given out lacks to be 0 at infinity."""
        return np.float32(self._infinity * self._config.start_scale)

    def _near(self, affine: Affine, now: np.ndarray) -> float:
        """The disparity from infinity that `affine` gives to what is near in this frame."""
        return max(affine.scale * float(np.quantile(now, 0.9)) + affine.shift + float(self._zero), 1e-3)

    def given_up(self, depth: np.ndarray) -> np.ndarray:
        """By how much this frame's scale and shift differ from those that agree best with the past; the past follows them.

        depth: float32, as the network gave it. Returns the difference of what is given out, of the same shape.
        """
        return self.affine(depth) - self._fitted(depth)

    def from_infinity(self, disparity: np.ndarray) -> np.ndarray:
        """How far disparity as given out, float32, is above that of infinity."""
        return np.maximum(disparity + self._zero, 0)

    def predict(self, disparity: np.ndarray) -> np.ndarray:
        """What disparity given out before, float32, is now that the camera has moved; of what moves by itself, as it was."""
        moved = advance(disparity + self._zero, self.motion, _FOCAL * max(disparity.shape)) - self._zero
        rest = self._rest
        if rest.shape != disparity.shape:
            rest = cv2.resize(rest, disparity.shape[::-1], interpolation=cv2.INTER_AREA)
        return disparity + rest * (moved - disparity)

    @property
    def turned(self) -> np.ndarray:
        """float64 [3,3]: takes normals given out before, row vectors in GL axes, to this camera's axes."""
        return np.eye(3) if self.motion is None else to_gl(self.motion.matrix())

    def _fit(self, now: np.ndarray, world: np.ndarray, age: np.ndarray, doubt: np.ndarray) -> Affine:
        kept = (now > _ENDS[0]) & (now < _ENDS[1]) & (_bend(now) < _EDGE)
        kept &= _bend(world) < _EDGE * self.affine.scale  # carried along, an edge spreads
        weight = np.minimum(age, self._config.anchor) * kept
        if np.count_nonzero(weight) < _LEAST_SAMPLES:
            return self.affine
        return self._weighed(now + np.float32(self._infinity), world + self._zero, weight, doubt)

    def _weighed(self, now: np.ndarray, world: np.ndarray, weight: np.ndarray, doubt: np.ndarray) -> Affine:
        """The fit of `now` to `world`, both 0 at infinity, as far as it is more certain than what is known before.

        Before: the scale is that of the last frame and infinity is at 0, each within its usual jitter. The fit's own
        covariance is that of a straight line, as if only one pixel in `alike` told something of its own. doubt: float32 [h,w],
        what may be wrong with the world as predicted, which no residual shows where all of it is wrong alike.
        """
        config, old = self._config, self.affine.scale
        scale, lift = fit_affine(now, world, weight, both_noisy=True)
        share = weight / weight.sum()
        middle = float((share * now).sum())
        spread = float((share * (now - middle) ** 2).sum())
        squares = np.minimum((scale * now + lift - world) ** 2, config.surprise**2) + doubt**2
        miss = float((share * squares).sum())
        told = (
            np.array([[spread + middle**2, middle], [middle, 1]])
            / (miss + 1e-8)
            * (np.count_nonzero(weight) / config.alike)
        )
        known = np.diag([1 / (config.jitter * old) ** 2, 1 / config.shift_jitter**2])
        scale, lift = np.linalg.solve(told + known, told @ [scale, lift] + known @ [old, 0])
        return Affine(float(scale), float(lift) + (float(scale) - config.start_scale) * self._infinity)

    def _limited(self, fitted: Affine, middle: float) -> Affine:
        """Within reach of the network's own scale and zero, and pulled back to them, to the scale the more the farther it is.

        middle: a usual value of the map; what is given up of the shift goes into the scale, so that it stays where it is.
        """
        start, most, infinity = self._config.start_scale, math.log(self._config.most_scale), self._infinity
        lifted = fitted.shift - (fitted.scale - start) * infinity
        config, steady = self._config, math.exp(-((self._jitter.usual / self._config.hardly) ** 2))
        given_up = (config.shift_pull + steady * (config.steady_pull - config.shift_pull)) * lifted
        reached = math.log(max(fitted.scale + given_up / (middle + infinity + 1e-3), 1e-3) / start)
        self._learn(reached, 1 - steady)
        away = reached - self._own
        pull = config.pull * (1 + (away / (most / 2)) ** 2) + steady * (config.steady_pull - config.pull)
        scale = start * math.exp(float(np.clip(self._own + away * (1 - min(pull, 1)), -most, most)))
        return Affine(scale, (scale - start) * infinity + lifted - given_up)

    def _learn(self, reached: float, share: float) -> None:
        """Takes this frame's scale, a logarithm, into the network's own, as long as that is open. A first frame that is off
        would else go on drawing the others to it, and a mean without end would go along with the errors that add up."""
        if self._seen < self._config.settle:
            self._seen += 1
            self._own += share * (reached - self._own) / (self._seen + _FIRST)

    def _remember(self, given: np.ndarray, world: np.ndarray, age: np.ndarray) -> None:
        agrees = 1 / (1 + ((given - world) / self._config.surprise) ** 2)
        self._age = np.minimum(age * agrees, self._config.anchor) + 1
        self._world = world + (given - world) / self._age


def _differs(before: np.ndarray, now: np.ndarray, to_previous: np.ndarray) -> np.ndarray:
    """float32 [h,w], 0 to 255: how far two grey pictures uint8 [h,w] differ along a flow [h,w,2], around each pixel."""
    moved = warp(before, Flow(to_previous, np.ones(now.shape, np.bool_)))
    return cv2.blur(cv2.absdiff(moved, now).astype(np.float32), (_AROUND, _AROUND))


def _around_rests(close: np.ndarray, valid: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """bool [h,w]: whether most of what can be followed around a pixel moves as a scene at rest does.

    What is plain is alike along any flow, so it goes with what has contours: else the inside of a plain thing that moves
    would be taken for the wall behind it. close, valid: bool [h,w], of the dense flow. grey: uint8 [h,w].
    """
    contours = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    told = np.minimum(contours, np.float32(_CONTOUR)) * valid
    return cv2.blur(told * close, (_NEARBY, _NEARBY)) >= 0.5 * cv2.blur(told, (_NEARBY, _NEARBY))


def _bend(map_: np.ndarray) -> np.ndarray:
    return np.abs(cv2.Laplacian(map_, cv2.CV_32F))


def _coarse(map_: np.ndarray) -> np.ndarray:
    return cv2.resize(map_, _coarse_size(map_)[::-1], interpolation=cv2.INTER_AREA)


def _coarse_size(map_: np.ndarray) -> tuple[int, int]:
    height, width = map_.shape[:2]
    block = max(1, min(height, width) // _COARSE)
    return height // block, width // block
