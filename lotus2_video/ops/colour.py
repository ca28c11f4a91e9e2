"""Maps as pictures: dither, colormaps, normals as colour, source and map side by side.

Depth is drawn over its fixed range [0,1]; nothing here looks for a minimum or a maximum.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

COLORMAPS = ("gray", "inferno", "turbo", "spectral")
# What the components of a normal in GL axes (+X right, +Y up, +Z toward the camera) are multiplied by.
NORMAL_SPACES = {"gl": (1, 1, 1), "cv": (1, -1, -1), "directx": (1, -1, 1), "lotus": (-1, 1, 1)}

# The smallest Bayer pattern. Its noise sits at half the sampling rate, in few and large DCT coefficients, which is why it
# outlives an H.264 quantiser that wipes out blue noise and larger patterns; and it stands still, so nothing flickers.
_BAYER = (np.array([[0, 2], [3, 1]], np.float32) + 0.5) / 4
_ROWS = 48  # rows at a time: even, so that the pattern fits, and few, so that the work stays in the cache
_STEPS = 4096
# "Spectral", 11 classes, by Cynthia Brewer (colorbrewer2.org, Apache-2.0), turned round: near is warm.
_SPECTRAL = (
    (94, 79, 162), (50, 136, 189), (102, 194, 165), (171, 221, 164), (230, 245, 152), (255, 255, 191),
    (254, 224, 139), (253, 174, 97), (244, 109, 67), (213, 62, 79), (158, 1, 66),
)  # fmt: skip


def dither(image: np.ndarray, low: int = 0, high: int = 255, out: np.ndarray | None = None) -> np.ndarray:
    """Rounds to 8 bits so that the mean over any 2x2 pixels keeps two bits more: slow gradients show no bands.

    image: float32 [H,W] or [H,W,3]; 0 becomes `low`, 1 becomes `high`, both exactly; what lies outside is clipped.
    out: uint8 of the same shape, or None for a new one. The pattern is the same in every frame.
    """
    image = image.astype(np.float32, copy=False)
    result = np.empty(image.shape, np.uint8) if out is None else out
    thresholds = _thresholds(image.shape[1], image.ndim, low)
    for top in range(0, len(image), _ROWS):
        rows = image[top : top + _ROWS] * np.float32(high - low)
        rows += thresholds[: len(rows)]
        np.clip(rows, low, high + 0.5, out=rows)
        result[top : top + _ROWS] = rows  # cuts the fraction off
    return result


@lru_cache(maxsize=8)
def _thresholds(width: int, ndim: int, low: int) -> np.ndarray:
    pattern = np.tile(_BAYER, (_ROWS // 2, (width + 1) // 2))[:, :width] + np.float32(low)
    return pattern if ndim == 2 else pattern[:, :, None]


def to_uint16(image: np.ndarray) -> np.ndarray:
    """round(65535 * image), clipped. image: float32 of any shape, in [0,1]. Returns uint16 of that shape."""
    scaled = np.clip(image, 0, 1) * np.float32(65535)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def apply_colormap(depth: np.ndarray, name: str) -> np.ndarray:
    """Depth as a dithered 8-bit picture. depth: float32 [H,W] in [0,1]. Returns uint8 RGB [H,W,3]; see COLORMAPS."""
    index = _palette_index(depth)
    for number, (y, x) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        index[y::2, x::2] += number * _STEPS
    packed = np.take(_dithered_palettes(name), index)
    return cv2.cvtColor(packed.view(np.uint8).reshape(*depth.shape, 4), cv2.COLOR_RGBA2RGB)


def apply_colormap16(depth: np.ndarray, name: str) -> np.ndarray:
    """Depth as a 16-bit picture. depth: float32 [H,W] in [0,1]. Returns uint16 RGB [H,W,3]; see COLORMAPS."""
    return np.take(_palette(name), _palette_index(depth), axis=0)


def _palette_index(depth: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(depth, 0, 1) * np.float32(_STEPS - 1)).astype(np.uint16)


@lru_cache(maxsize=8)
def _palette(name: str) -> np.ndarray:
    """uint16 [4096,3], far to near: fine enough that its steps cannot be seen."""
    anchors = _anchors(name)
    at = np.linspace(0, len(anchors) - 1, _STEPS)
    channels = [np.interp(at, np.arange(len(anchors)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1) * 257).astype(np.uint16)


def _anchors(name: str) -> np.ndarray:
    """RGB colours 0..255 [N,3] at even distances from far to near."""
    if name == "gray":
        return np.array([(0, 0, 0), (255, 255, 255)], np.float64)
    if name == "spectral":
        return np.array(_SPECTRAL, np.float64)
    if name not in COLORMAPS:
        raise ValueError(f"no colormap {name!r} (there are {', '.join(COLORMAPS)})")
    code = {"inferno": cv2.COLORMAP_INFERNO, "turbo": cv2.COLORMAP_TURBO}[name]
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)[:, 0, ::-1].astype(np.float64)


@lru_cache(maxsize=8)
def _dithered_palettes(name: str) -> np.ndarray:
    """The palette rounded by each of the four thresholds of the Bayer pattern, end to end: uint32 [4*4096], RGB and a zero."""
    exact = _palette(name).astype(np.float32) / 257
    rounded = np.zeros((4, _STEPS, 4), np.uint8)
    rounded[:, :, :3] = exact + _BAYER.reshape(4, 1, 1)  # cuts the fraction off
    return rounded.view(np.uint32).reshape(-1)


def to_normal_space(normal: np.ndarray, space: str) -> np.ndarray:
    """Normals in other axes. normal: float32 [H,W,3], GL axes. space: gl, cv (x,-y,-z), directx (x,-y,z), lotus (-x,y,z)."""
    if space not in NORMAL_SPACES:
        raise ValueError(f"no normal space {space!r} (there are {', '.join(NORMAL_SPACES)})")
    return normal if space == "gl" else normal * np.array(NORMAL_SPACES[space], np.float32)


def encode_normal(normal: np.ndarray, space: str = "gl") -> np.ndarray:
    """Normals as colour, (n+1)/2. normal: float32 [H,W,3], GL axes. Returns float32 RGB [H,W,3] in [0,1], in `space`."""
    return (to_normal_space(normal, space) + np.float32(1)) * np.float32(0.5)


def side_by_side(rgb: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """The source left of its map. rgb: uint8 [H,W,3]. picture: uint8 or uint16 RGB [H,W,3]. Returns [H,2W,3] of its dtype."""
    left = rgb if picture.dtype == np.uint8 else rgb.astype(np.uint16) * np.uint16(257)
    return np.concatenate([left, picture], axis=1)
