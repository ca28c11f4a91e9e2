"""Between the size of the source and the size of the network: frames down, maps up."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from typing import Literal

import cv2
import numpy as np

from ..frames import Maps

# Colour distance (0 to 255) over which trust in a neighbour falls to 1/e, and the trust that is left to any colour, so
# that a pixel unlike all its neighbours gets the plain bilinear value. Chosen on exact depth: measured on rendered rooms.
COLOUR_REACH = 6.0
LEAST_TRUST = 1e-4
_TRUST = (np.exp(-np.arange(256) / COLOUR_REACH) + LEAST_TRUST).astype(np.float32)
_BAND = 96  # rows worked on at once, so that what is computed stays in the processor's cache


def shrink(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame at the size a network wants.

    rgb: uint8 [H,W,3]. size: (height, width) in pixels. Returns uint8 [height,width,3]: each pixel the mean of the area it
    covers, so that nothing aliases; a frame smaller than that is enlarged bicubically.
    """
    if rgb.shape[:2] == size:
        return rgb
    while _halves(rgb.shape[0], size[0]) and _halves(rgb.shape[1], size[1]):
        rgb = cv2.resize(rgb, (rgb.shape[1] // 2, rgb.shape[0] // 2), interpolation=cv2.INTER_AREA)  # twice as fast
    smaller = size[0] <= rgb.shape[0] and size[1] <= rgb.shape[1]
    return cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _halves(length: int, wanted: int) -> bool:
    return length % 2 == 0 and length // 2 >= wanted


def upsample(
    maps: Maps,
    guide: np.ndarray,
    method: Literal["guided", "bilinear"] = "guided",
    small: np.ndarray | None = None,
) -> Maps:
    """Maps at the size of the frame they belong to.

    maps: of size (h,w). guide: uint8 [H,W,3], the frame. small: uint8 [h,w,3], `shrink(guide, maps.size)` where the caller
    has it already. Returns Maps of size (H,W).

    "guided": joint bilateral upsampling (Kopf et al., SIGGRAPH 2007, eq. 3) with the four nearest map pixels, each weighted
    by its distance and by how much its colour is like this pixel's. Contours follow the picture; as a mean of neighbours
    with positive weights it can neither overshoot (no halo) nor carry texture onto a flat surface. "bilinear": no guide.
    """
    if maps.size == guide.shape[:2]:
        return maps
    larger = maps.size[0] <= guide.shape[0] and maps.size[1] <= guide.shape[1]
    if method == "bilinear" or not larger:
        return _each_plane(maps, lambda planes: [_resize(plane, guide.shape[:2]) for plane in planes])
    if small is None or small.shape[:2] != maps.size:
        small = shrink(guide, maps.size)
    return _each_plane(maps, lambda planes: _guided(planes, guide, small))


def _each_plane(maps: Maps, resample: Callable[[list[np.ndarray]], list[np.ndarray]]) -> Maps:
    """Resamples the planes of the maps (depth, and x, y, z of the normals) all at once and puts them together again."""
    planes = [] if maps.depth is None else [maps.depth]
    if maps.normal is not None:
        planes += cv2.split(maps.normal)
    done = resample(planes)
    depth = None if maps.depth is None else done.pop(0)
    if depth is not None:
        np.clip(depth, 0, 1, out=depth)
    return Maps(depth, _unit(done) if done else None)


def _unit(axes: list[np.ndarray]) -> np.ndarray:
    """The float32 [h,w] planes x, y, z as unit vectors [h,w,3]; where opposite ones cancelled, toward the camera."""
    x, y, z = axes
    length = np.sqrt(x * x + y * y + z * z)
    lost = length < 1e-6
    if lost.any():
        x[lost], y[lost], z[lost], length[lost] = 0, 0, 1, 1
    return cv2.merge([x / length, y / length, z / length])


def _resize(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = size[0] < plane.shape[0] or size[1] < plane.shape[1]
    return cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _guided(planes: list[np.ndarray], guide: np.ndarray, small: np.ndarray) -> list[np.ndarray]:
    """float32 [h,w] planes at the size of `guide`, uint8 [H,W,3], of which `small`, uint8 [h,w,3], is the shrunken self."""
    height, width = guide.shape[:2]
    left, right_share = cells(width, small.shape[1])
    above, below_share = cells(height, small.shape[0])
    neighbours = [_columns(part, left) for part in (small, *planes)]
    out = [np.empty((height, width), np.float32) for _ in planes]
    for top in range(0, height, _BAND):
        rows = slice(top, top + _BAND)
        band = [plane[rows] for plane in out]
        _fill(band, guide[rows], neighbours, right_share, above[rows], below_share[rows])
    return out


def _fill(
    band: list[np.ndarray],
    guide: np.ndarray,
    neighbours: list[tuple[np.ndarray, np.ndarray]],
    right_share: np.ndarray,
    above: np.ndarray,
    below_share: np.ndarray,
) -> None:
    """One band of n rows of every plane, [n,W] each: the mean of four neighbours weighted by nearness and likeness."""
    colours, *columns = neighbours
    total = np.zeros(guide.shape[:2], np.float32)
    theirs, value = np.empty_like(guide), np.empty_like(total)
    for plane in band:
        plane.fill(0)
    for dy, dx in product((0, 1), (0, 1)):
        weight = _trust(np.take(colours[dx], above + dy, axis=0, out=theirs, mode="clip"), guide)
        weight *= right_share if dx else 1 - right_share
        weight *= (below_share if dy else 1 - below_share)[:, None]
        total += weight
        for plane, column in zip(band, columns, strict=True):
            cv2.accumulateProduct(weight, np.take(column[dx], above + dy, axis=0, out=value, mode="clip"), plane)
    for plane in band:
        plane /= total


def _trust(theirs: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """float32 [n,W], how alike two uint8 [n,W,3] are; the channels' differences count as they do in luma."""
    distance = cv2.cvtColor(cv2.absdiff(theirs, ours), cv2.COLOR_RGB2GRAY)
    return cv2.LUT(distance, _TRUST)


def _columns(low: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each full-size column its left and its right neighbour in `low`, whose border is repeated once."""
    edged = cv2.copyMakeBorder(low, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return np.take(edged, left, axis=1), np.take(edged, left + 1, axis=1)


@lru_cache(maxsize=16)
def cells(full: int, low: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis, for each of `full` pixels: the low pixel before it (border counted), and the share of the next one."""
    position = (np.arange(full) + 0.5) * (low / full) + 0.5
    before = np.floor(position)
    return before.astype(np.intp), (position - before).astype(np.float32)
