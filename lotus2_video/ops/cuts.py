"""Where one shot ends and another begins, decided as the frames come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import cv2
import numpy as np

from ..frames import Flow
from .flow import dense_flow, warp

# Measured on hard cuts between nine real clips, and within them with pans, flashes and fades put in. Across 70 cuts at most
# 0.19 of the flow was consistent, and along it luma correlated at most 0.77 and its detail at most 0.46.
_FLOWS = 0.45  # share of consistent flow at which two frames are one shot without a further look
_TORN = 0.25  # share of consistent flow below which they may be two
_ALIKE = 0.8  # correlation of luma above which they are one shot all the same
_DETAIL_ALIKE = 0.5  # the same of its detail, for pans and shakes that uncover much
_FOUND_ALIKE = 0.5  # of the detail of its middle, wherever that was; different shots reach 0.42 at most
_LEAST_MIDDLE = 24  # pixels of its shorter side; anything smaller is found anywhere
_BLANK = 6.0  # standard deviation of luma (0 to 255) below which a frame shows nothing
_SATURATED = 0.3  # share of pixels at an end of the luma range in a frame that a flash or a fade has spoilt
_ONE_WAY = 0.93  # share of pixels that a flash makes brighter, or a fade darker
_LONGEST_DOUBT = 24  # frames that may be spoilt; after that the light is what it is now


class Cuts(Protocol):
    """Says of each frame in turn whether a new shot begins with it."""

    def step(self, rgb: np.ndarray, flow: Flow | None) -> bool:
        """rgb: uint8 [h,w,3]. flow: from this frame to the one before; None for the first, which begins no new shot."""
        ...


class NoCuts:
    """One shot from beginning to end."""

    def step(self, rgb: np.ndarray, flow: Flow | None) -> bool:
        return False


class ListedCuts:
    """Cuts at the given frames, counted from 0 at the first that is stepped."""

    def __init__(self, frames: Iterable[int]):
        self._frames = frozenset(frames)
        self._count = 0

    def step(self, rgb: np.ndarray, flow: Flow | None) -> bool:
        self._count += 1
        return self._count - 1 in self._frames


class SeenCuts:
    """Cuts where the flow breaks and the structure of the picture changes, but not at a flash, a dip or a fast pan.

    A frame that is blank or spoilt by light or darkness decides nothing; the next clear one is compared with the last clear
    one. State: the last clear frame, how many spoilt ones came since, and whether the flow broke on the way.
    """

    def __init__(self) -> None:
        self._clear: np.ndarray | None = None
        self._doubt = 0
        self._broke = False

    def step(self, rgb: np.ndarray, flow: Flow | None) -> bool:
        if self._clear is None or flow is None:
            return self._accept(rgb, cut=False)
        self._broke |= bool(flow.valid.mean() < _TORN)
        if self._doubt < _LONGEST_DOUBT and _spoilt(_small_luma(self._clear), _small_luma(rgb)):
            self._doubt += 1
            return False
        if not self._doubt and flow.valid.mean() >= _FLOWS:
            return self._accept(rgb, cut=False)
        return self._accept(rgb, cut=self._broke and not _same_shot(self._clear, rgb))

    def _accept(self, rgb: np.ndarray, cut: bool) -> bool:
        self._clear, self._doubt, self._broke = rgb, 0, False
        return cut


def _same_shot(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether the picture before, moved along the flow, is the picture now: by the flow, by its masses, or by its detail.

    A pan too fast for any flow is told by looking for the middle of the picture everywhere in the one before.
    """
    flow = dense_flow(before, now, "coarse")
    if flow.valid.mean() >= _TORN:
        return True
    a, b = _small_luma(warp(before, flow)), _small_luma(now)
    if _correlation(a, b) >= _ALIKE or _correlation(_detail(a), _detail(b)) >= _DETAIL_ALIKE:
        return True
    return _found(_detail(b), _detail(_small_luma(before))) >= _FOUND_ALIKE


def _found(detail: np.ndarray, in_detail: np.ndarray) -> float:
    """How well the middle of a picture float32 [h,w] matches another where it matches best, as a correlation."""
    height, width = (side // 4 for side in detail.shape)
    if min(height, width) < _LEAST_MIDDLE // 2:
        return 0.0
    middle = np.ascontiguousarray(detail[height:-height, width:-width])
    return float(np.nan_to_num(cv2.matchTemplate(in_detail, middle, cv2.TM_CCOEFF_NORMED)).max())


def _detail(luma: np.ndarray) -> np.ndarray:
    return luma - cv2.GaussianBlur(luma, (0, 0), 4)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two pictures float32 [h,w], whatever their brightness and contrast; 0 where one is flat."""
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


def _spoilt(before: np.ndarray, now: np.ndarray) -> bool:
    """Whether a frame is blank, or light or darkness alone could have made it of `before` and left too little to compare."""
    if float(now.std()) < _BLANK:
        return True
    ends = np.mean((now > 248) | (now < 6)) - np.mean((before > 248) | (before < 6))
    return bool(ends > _SATURATED and max(np.mean(now >= before - 2), np.mean(now <= before + 2)) > _ONE_WAY)


def _small_luma(rgb: np.ndarray) -> np.ndarray:
    """float32, a quarter of the size: fine detail moves too much to be compared."""
    size = (max(1, rgb.shape[1] // 4), max(1, rgb.shape[0] // 4))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
