"""From a decoded picture to what a viewer shows: upright, square pixels, display-referred 8-bit RGB."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from .colour import MATRICES, PQ, RANGES, TRANSFERS, assumed_matrix, pq_to_display

_SWS_MATRIX = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "bt470bg": Colorspace.ITU601,
    "smpte170m": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020nc": Colorspace.BT2020,
    "bt2020c": Colorspace.BT2020,
}
# 8-bit pictures at their own size take swscale's table-driven path: 0.2 ms instead of 2.5 ms at 720p, one level too dark.
_FAST = Interpolation.BICUBIC
_EXACT = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_SCALED = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Turn:
    """What brings a stored picture upright: first swap x and y, then mirror. All eight orientations are some such turn."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Turn:
        """matrix: int32 [9], a QuickTime display matrix: x' = a x + c y, y' = b x + d y with a, b, c, d at 0, 1, 3, 4.

        Angles between are taken as the nearest of the eight.
        """
        a, b, c, d = (int(matrix[i]) for i in (0, 1, 3, 4))
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def clockwise(self) -> int:
        """Degrees clockwise, after a mirroring left to right where there is one."""
        mirrored = self.transpose ^ self.flip_x ^ self.flip_y
        if self.transpose:
            return 270 if self.flip_y ^ mirrored else 90
        return 180 if self.flip_y else 0

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        if self.transpose:
            rgb = cv2.transpose(rgb)
        if self.flip_x or self.flip_y:
            rgb = cv2.flip(rgb, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return rgb


@dataclass(frozen=True)
class Colour:
    """The colour tags of a picture, names as ffmpeg gives them, None where it has none."""

    matrix: str | None
    transfer: str | None
    color_range: str | None

    @classmethod
    def of(cls, picture: av.VideoFrame) -> Colour:
        return cls(MATRICES.get(picture.colorspace), TRANSFERS.get(picture.color_trc), RANGES.get(picture.color_range))


def turn_of(picture: av.VideoFrame) -> Turn:
    for data in cast(Iterable[Any], picture.side_data):  # it iterates over its values, whatever its annotation says
        if data.type.name == "DISPLAYMATRIX":
            return Turn.from_matrix(np.frombuffer(data, np.int32))
    return Turn()


class ToRgb:
    """Converts the pictures of one stream, all to the shown size of the first.

    first: the first picture. pixel_aspect: width over height of one stored pixel; the smaller side is stretched.
    height, width: as shown. turn, colour: as found.
    """

    def __init__(self, first: av.VideoFrame, pixel_aspect: Fraction):
        self.turn, self.colour = turn_of(first), Colour.of(first)
        self._stored = first.width, first.height
        self._width = math.floor(first.width * max(pixel_aspect, Fraction(1)) + Fraction(1, 2))
        self._height = math.floor(first.height / min(pixel_aspect, Fraction(1)) + Fraction(1, 2))
        shown = (self._width, self._height) if self.turn.transpose else (self._height, self._width)
        self.height, self.width = shown
        self._reformatter = VideoReformatter()
        self._tone = pq_to_display() if self.colour.transfer == PQ else None

    def fits(self, picture: av.VideoFrame) -> bool:
        """Whether the picture has the stored size of the first."""
        return (picture.width, picture.height) == self._stored

    def __call__(self, picture: av.VideoFrame) -> np.ndarray:
        """uint8 [height,width,3], C-contiguous, its own memory or that of the picture."""
        rgb = self._reformatter.reformat(
            picture,
            self._width,
            self._height,
            "rgb24",
            src_colorspace=self._matrix(picture),
            src_color_range=_range(picture),
            dst_color_range=ColorRange.JPEG,
            interpolation=self._interpolation(picture),
            threads=1,
        ).to_ndarray()
        if self._tone is not None:
            rgb = cv2.LUT(rgb, self._tone)
        return np.ascontiguousarray(self.turn(rgb))

    def _matrix(self, picture: av.VideoFrame) -> Colorspace | None:
        if picture.format.is_rgb:
            return None
        name = MATRICES.get(picture.colorspace, "")
        return _SWS_MATRIX.get(name) or _SWS_MATRIX[assumed_matrix(picture.width, picture.height)]

    def _interpolation(self, picture: av.VideoFrame) -> Interpolation:
        if (picture.width, picture.height) != (self._width, self._height):
            return _SCALED
        return _FAST if picture.format.components[0].bits == 8 else _EXACT


def is_supported(matrix: str | None) -> bool:
    return matrix is None or matrix == "gbr" or matrix in _SWS_MATRIX


def _range(picture: av.VideoFrame) -> ColorRange:
    """The tag; else full range for RGB, grey and the yuvj formats, and limited range for all others, as ffmpeg does."""
    if picture.color_range in (ColorRange.MPEG, ColorRange.JPEG) and not picture.format.is_rgb:
        return ColorRange(picture.color_range)
    full = picture.format.is_rgb or picture.format.name.startswith(("yuvj", "gray", "ya", "mono", "pal"))
    return ColorRange.JPEG if full else ColorRange.MPEG
