"""From a result to the frame an encoder takes, one class for each kind of pixel.

Y'CbCr is BT.709 in the narrow range that every player expects: 0 becomes 16 and 1 becomes 235 in 8 bits, and a player shows
exactly 0 and 1. Grey needs no conversion at all: it is written straight into Y', the chroma planes stay constant.
"""

from __future__ import annotations

from typing import Protocol

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from ..frames import Result, StreamInfo
from ..ops import colour
from .look import Look, depth_of


class Pixels(Protocol):
    """Makes encoder frames of one pixel format. The frame given may be the same object each time."""

    name: str
    rgb: bool
    full_range: bool
    warnings: tuple[str, ...]

    def frame(self, result: Result) -> av.VideoFrame: ...


class GrayYuv:
    """Grey as 8- or 10-bit Y'CbCr; the 8 bits are dithered."""

    rgb = full_range = False
    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, width: int, height: int):
        self.name = name
        self._bits = av.VideoFormat(name).components[0].bits
        self._frame = av.VideoFrame(width, height, name)
        self._frame.colorspace, self._frame.color_range = Colorspace.ITU709, ColorRange.MPEG
        for chroma in self._frame.planes[1:]:
            _plane(chroma, self._bits)[:] = 1 << (self._bits - 1)

    def frame(self, result: Result) -> av.VideoFrame:
        self._frame.make_writable()  # an encoder that still reads the last one keeps it, we get a copy
        luma = _plane(self._frame.planes[0], self._bits)
        if self._bits == 8:
            colour.dither(depth_of(result), 16, 235, out=luma)
        else:
            step = 1 << (self._bits - 8)
            luma[:] = np.rint(np.clip(depth_of(result), 0, 1) * np.float32(219 * step) + np.float32(16 * step))
        return self._frame


def _plane(plane: VideoPlane, bits: int) -> np.ndarray:
    """The pixels of a plane, writable, uint8 or uint16 [h,w]."""
    padded = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
    return padded[:, : plane.width]


class ColourYuv:
    """Colour as Y'CbCr, converted from dithered 8-bit or from 16-bit RGB."""

    rgb = full_range = False
    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, look: Look):
        self.name, self._look = name, look
        self._deep = av.VideoFormat(name).components[0].bits > 8

    def frame(self, result: Result) -> av.VideoFrame:
        if self._deep:
            rgb = av.VideoFrame.from_ndarray(self._look.sixteen(result), format="rgb48le")
        else:
            rgb = av.VideoFrame.from_ndarray(self._look.eight(result), format="rgb24")
        return rgb.reformat(
            format=self.name,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            dst_colorspace=Colorspace.ITU709,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
        )


class Data16:
    """The map itself in 16 bits, full range: grey, or RGB for normals."""

    full_range = True
    warnings: tuple[str, ...] = ()

    def __init__(self, look: Look):
        self._look = look
        self.rgb = not look.gray
        self.name = "rgb48le" if self.rgb else "gray16le"

    def frame(self, result: Result) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(self._look.sixteen(result), format=self.name)


def h264_pixels(look: Look, info: StreamInfo) -> Pixels:
    """4:2:0, which plays everywhere, or 4:4:4 for odd sizes, which 4:2:0 cannot have (its cropping counts in twos)."""
    width, height = look.width(info.width), info.height
    odd = width % 2 or height % 2
    name = "yuv444p" if odd else "yuv420p"
    pixels = GrayYuv(name, width, height) if look.gray else ColourYuv(name, look)
    if odd:
        pixels.warnings = (
            f"{width}x{height} is odd, so the mp4 is H.264 4:4:4, which QuickTime and Safari do not play",
        )
    return pixels


def prores_pixels(look: Look, info: StreamInfo) -> Pixels:
    """4:4:4; libav's encoder takes 10 bits, the file and its decoders have 12."""
    name = "yuv444p10le"
    return GrayYuv(name, info.width, info.height) if look.gray else ColourYuv(name, look)


def ffv1_pixels(look: Look, info: StreamInfo) -> Pixels:
    return Data16(look)
