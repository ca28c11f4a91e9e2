"""Smoothing with hindsight: frames are held back until those after them have said what they know."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from ..frames import Flow
from ..ops.flow import invert, warp


@dataclass(frozen=True, eq=False)
class Surprise:
    """What a frame has that those before did not foretell, at half the size.

    trust: float32 [h,w], how much of the frame is what was foretold. disparity [h,w], normal [h,w,3]: float32, what was given
    out for it less what was foretold; None without such a map. flow: to the frame before. turned: float32 [3,3], of row
    vectors from the axes of the frame before to this one's.
    """

    trust: np.ndarray
    disparity: np.ndarray | None
    normal: np.ndarray | None
    flow: Flow
    turned: np.ndarray


@dataclass(frozen=True, eq=False)
class Steadied:
    """A frame's maps after the causal filter, disparity not yet in range, and its surprise; None for the first of a shot."""

    disparity: np.ndarray | None
    normal: np.ndarray | None
    surprise: Surprise | None


@dataclass(frozen=True, eq=False)
class Hindsight:
    """What later frames add to a frame's disparity [h,w] and normals [h,w,3], float32 at half the size; None for nothing."""

    disparity: np.ndarray | None = None
    normal: np.ndarray | None = None


class LookAhead:
    """Holds back `frames` frames, and gives each with what those after it say of it.

    The fixed-lag smoother of Rauch, Tung and Striebel (AIAA Journal 3, 1965) to the causal filter, a Kalman filter whose gain
    is 1 - trust: a frame is corrected by its trusted share of the next one's surprise, and of what that was corrected by. The
    share that the camera's motion changes a disparity by is left out: of a correction it is next to nothing.
    State: the frames held, and the way from each to the next.
    """

    def __init__(self, frames: int):
        self._frames = frames
        self._held: deque[Steadied] = deque()
        self._ways: deque[Flow] = deque()  # from each but the last to the one after it

    def step(self, given: Steadied) -> list[tuple[Steadied, Hindsight]]:
        """The frames that are final with this one; the first of a shot ends what is held."""
        final = self.flush() if given.surprise is None else []
        if given.surprise is not None and self._frames:
            self._ways.append(invert(given.surprise.flow))
        self._held.append(given)
        while len(self._held) > self._frames:
            final.append(self._release())
        return final

    def flush(self) -> list[tuple[Steadied, Hindsight]]:
        return [self._release() for _ in range(len(self._held))]

    def _release(self) -> tuple[Steadied, Hindsight]:
        told = Hindsight()
        for held, way in zip(list(self._held)[:0:-1], reversed(self._ways), strict=True):
            assert held.surprise is not None, "a shot is flushed before the next one's first frame is held"
            told = _passed_back(held.surprise, told, way)
        if self._ways:
            self._ways.popleft()
        return self._held.popleft(), told


def _passed_back(surprise: Surprise, told: Hindsight, way: Flow) -> Hindsight:
    """What a frame and those after it say of the one before."""
    disparity, normal = surprise.disparity, surprise.normal
    if disparity is not None:
        total = disparity if told.disparity is None else disparity + told.disparity
        disparity = warp(surprise.trust * total, way) * way.valid
    if normal is not None:
        total = normal if told.normal is None else normal + told.normal
        normal = warp(surprise.trust[..., None] * total, way) * way.valid[..., None] @ surprise.turned.T
    return Hindsight(disparity, normal)
