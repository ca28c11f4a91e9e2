"""Dense optical flow between two frames, with the pixels whose match can be trusted."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from ..frames import Flow

# A pixel's way there and back may miss by this much: a share of the squared lengths of both flows, plus squared pixels.
# The forward-backward test and its constants: Sundaram, Brox, Keutzer, "Dense point trajectories by GPU-accelerated large
# displacement optical flow", ECCV 2010, eq. 5.
_MISS_SHARE = 0.01
_MISS_PIXELS2 = 0.5
Quality = Literal["coarse", "fast", "medium"]
_PRESETS: dict[Quality, int] = {
    "coarse": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
_CELL = 16  # pixels a block, of which the best corner is followed exactly
_LEAST_CORNER = 1e-4  # smaller eigenvalue of the gradients (OpenCV's unit) below which a block has no corner
_WINDOW, _STOP = (11, 11), (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 10, 0.01)
_REFINED = 1.5  # pixels by which the exact match may differ from the dense flow
_INVERSIONS = 4  # rounds; each halves what is left where a flow changes by half a pixel a pixel
_SMALL = 240  # pixels of the short side below which a quarter of the size is too coarse for what moves
_SMALLEST = 32  # pixels; below this DIS has no coarse level to start from


def dense_flow(previous: np.ndarray, current: np.ndarray, quality: Quality = "fast") -> Flow:
    """Where each pixel of `current` was in `previous`.

    previous, current: uint8 [h,w,3], at the size the network sees. quality: "medium" is five times as slow, and better
    where the camera moves fast; "coarse" never looks finer than at a quarter of the size, and so does not find in one
    picture what is in another by chance. Returns a Flow of size (h,w); out of frame and hidden pixels are not valid.

    Dense Inverse Search (Kroeger et al., ECCV 2016) as OpenCV has it, run both ways. A pure function: the same two frames
    give the same bits, whatever was computed before and on however many threads.
    """
    if min(current.shape[:2]) < _SMALLEST:
        return _still(current.shape[:2])
    before, now = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (previous, current))
    search = cv2.DISOpticalFlow.create(_PRESETS[quality])
    if min(now.shape) < _SMALL and quality != "coarse":
        search.setFinestScale(1)  # patches at half the size, and not at a quarter of it
    there = np.asarray(search.calc(now, before, None))  # type: ignore[call-overload]  # the stub wants an array to fill
    back = np.asarray(search.calc(before, now, None))  # type: ignore[call-overload]
    half = half_size(there)  # no flow is finer than that
    agrees = _agrees(_shrunk(there, half), _shrunk(back, half), _MISS_PIXELS2 * (half[0] / there.shape[0]) ** 2)
    return Flow(there, cv2.resize(agrees.view(np.uint8), there.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0)


def warp(previous: np.ndarray, flow: Flow, crisp: bool = False) -> np.ndarray:
    """A map of the frame before, moved to where its points are now.

    previous: float32 [h,w] or [h,w,c]. Returns the same shape; meaningless where `flow.valid` is False. Bilinear, or `crisp`:
    bicubic, which overshoots a little and keeps what is a pixel wide.
    """
    return _at(previous, flow.to_previous, cv2.INTER_CUBIC if crisp else cv2.INTER_LINEAR)


def chain(flow: Flow, earlier: Flow) -> Flow:
    """Two steps back in one: `flow` to the frame before, and `earlier` from that to some older frame."""
    before = warp(earlier.to_previous, flow)
    valid = cv2.remap(earlier.valid.view(np.uint8), *_lookup(flow.to_previous), cv2.INTER_NEAREST, borderValue=0) > 0
    return Flow(flow.to_previous + before, flow.valid & valid)


def invert(flow: Flow) -> Flow:
    """Where each pixel of the frame before is in this one: `to_previous` of the result leads there.

    By fixed-point iteration (Chen et al., Medical Physics 35, 2008). Valid where the way there and back ends within a pixel.
    """
    way = -flow.to_previous
    for _ in range(_INVERSIONS):
        way = -_at(flow.to_previous, way)
    miss = _square(way + _at(flow.to_previous, way))
    known = cv2.remap(flow.valid.view(np.uint8), *_lookup(way), cv2.INTER_NEAREST, borderValue=0) > 0
    return Flow(way, known & (miss < 1))


def refine(flow: Flow, previous: np.ndarray, current: np.ndarray) -> Flow:
    """A chained flow, matched once more between its two ends, so that the errors of its steps do not add up.

    previous, current: uint8 [h,w,3], of the flow's size. What is valid stays so. Twice as fine as a dense flow, so that a
    contour lands on its pixel; the smoothing that a flow from nothing needs is left out, which pays for that.
    """
    if min(current.shape[:2]) < _SMALLEST:
        return flow
    before, now = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (previous, current))
    search = cv2.DISOpticalFlow.create(_PRESETS["fast"])
    search.setFinestScale(1)  # patches at half the size, and not at a quarter of it
    search.setVariationalRefinementIterations(0)
    return Flow(np.asarray(search.calc(now, before, flow.to_previous.copy())), flow.valid)


def inside(to_previous: np.ndarray) -> np.ndarray:
    """bool [h,w]: whether what is seen here was in the picture, by vectors [h,w,2]."""
    x, y = _lookup(to_previous)
    height, width = x.shape
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def shrink_flow(flow: Flow, size: tuple[int, int]) -> Flow:
    """The flow on a smaller grid, (height, width): valid where all pixels under one are."""
    valid = cv2.resize(flow.valid.view(np.uint8) * np.uint8(255), size[::-1], interpolation=cv2.INTER_AREA)
    return Flow(_shrunk(flow.to_previous, size), valid >= 254)


def half_size(map_: np.ndarray) -> tuple[int, int]:
    return max(1, map_.shape[0] // 2), max(1, map_.shape[1] // 2)


def shrink_half(map_: np.ndarray) -> np.ndarray:
    """A map or picture [h,w] or [h,w,c] at half the size, each pixel the mean of four."""
    return cv2.resize(map_, half_size(map_)[::-1], interpolation=cv2.INTER_AREA)


def _shrunk(vectors: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 [h,w,2] in pixels of its grid, on a smaller grid and in pixels of that."""
    smaller = cv2.resize(vectors, size[::-1], interpolation=cv2.INTER_AREA)
    x, y = size[1] / vectors.shape[1], size[0] / vectors.shape[0]
    return smaller * (
        np.float32(x) if x == y else np.array([x, y], np.float32)
    )  # one factor is ten times as fast as two


def corner_flow(previous: np.ndarray, current: np.ndarray, flow: Flow) -> tuple[np.ndarray, np.ndarray]:
    """The flow again, exact to a few hundredths of a pixel, at the best corner of each block of the picture.

    Dense flow sticks to 0 where a picture has little texture and moves little, which makes a walking camera seem slow. Here
    Lucas-Kanade (Bouguet's, in OpenCV) starts from the dense flow at corners by Shi and Tomasi's measure.
    previous, current: uint8 [h,w,3]. Returns the corners int [n,2], x and y in pixels, and to_previous float32 [n,2].
    """
    before, now = (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (previous, current))
    x, y = _corners(now)
    x, y = x[flow.valid[y, x]], y[flow.valid[y, x]]
    if not len(x):
        return np.zeros((0, 2), np.intp), np.zeros((0, 2), np.float32)
    at = np.stack([x, y], axis=1).astype(np.float32)
    guess = at + flow.to_previous[y, x]
    start = guess.copy()
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        now, before, at, start, winSize=_WINDOW, maxLevel=0, criteria=_STOP, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    kept = (status[:, 0] > 0) & (np.abs(found - guess).max(axis=1) < _REFINED)
    return np.stack([x, y], axis=1)[kept], (found - at)[kept]


def _agrees(there: np.ndarray, back: np.ndarray, miss2: float) -> np.ndarray:
    """bool [h,w]: inside the picture, and the way back leads home, or misses it by no more than the square root of miss2."""
    x, y = _lookup(there)
    home = cv2.remap(back, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    allowed = _MISS_SHARE * (_square(there) + _square(home)) + miss2
    return inside(there) & (_square(there + home) < allowed)


def _corners(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y, int [n], of the strongest corner in each block that has one; looked for at half the size, for speed."""
    small = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    strength, cell = cv2.cornerMinEigenVal(small, 3, ksize=3), _CELL // 2
    height, width = (side // cell for side in small.shape)
    blocks = strength[: height * cell, : width * cell].reshape(height, cell, width, cell).swapaxes(1, 2)
    blocks = blocks.reshape(height * width, cell * cell)
    best = blocks.argmax(axis=1)
    number = np.flatnonzero(blocks[np.arange(len(best)), best] > _LEAST_CORNER)
    down, across = np.divmod(best[number], cell)
    return 2 * (number % width * cell + across), 2 * (number // width * cell + down)


def _square(vectors: np.ndarray) -> np.ndarray:
    x, y = cv2.split(vectors)
    return x * x + y * y


def _at(map_: np.ndarray, vectors: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """A map [h,w] or [h,w,c] as found at the end of each pixel's vector, [h,w,2]."""
    return cv2.remap(map_, *_lookup(vectors), interpolation, borderMode=cv2.BORDER_REPLICATE)


def _lookup(to_previous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 x and y [h,w] at which each pixel was before."""
    dx, dy = cv2.split(to_previous)
    x, y = _pixels(*dx.shape)
    return dx + x, dy + y


@lru_cache(maxsize=8)
def _pixels(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [1,w] and [h,1], the pixels' own places."""
    return np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]


def _still(size: tuple[int, int]) -> Flow:
    return Flow(np.zeros((*size, 2), np.float32), np.zeros(size, np.bool_))
