"""What lenses, sensors and codecs do to a picture, as pure functions for augmentation.

Pictures are float32 [N,h,w,3] in [0,1], display-referred, numpy arrays or torch tensors on any device; the result is of the
same kind. Strengths are numpy [N], one for each picture. Geometry never moves, so depth and normals stay true.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .tone import library_of, like

Array = Any  # numpy.ndarray or torch.Tensor


def vignette(rgb: Array, strength: np.ndarray) -> Array:
    """Darker towards the corners by cos^4, as of a lens whose half-angle there has the tangent `strength` (0: none)."""
    h, w = rgb.shape[1:3]
    y, x = np.mgrid[0:h, 0:w]
    radius = np.hypot((x - (w - 1) / 2) / (np.hypot(h, w) / 2), (y - (h - 1) / 2) / (np.hypot(h, w) / 2))
    light = (1 + (radius[None] * strength[:, None, None]) ** 2) ** -2.0  # cos^4 of the field angle
    return rgb * like(rgb, light.astype(np.float32)[..., None])


def sensor_noise(rgb: Array, normal: Array, shot: np.ndarray, read: np.ndarray) -> Array:
    """Noise whose variance grows with light: sigma^2 = read^2 + shot^2 * value (Foi et al. 2008).

    Args:
        normal: standard normal numbers of the picture's shape.
    """
    shot_, read_ = (like(rgb, s.astype(np.float32))[:, None, None, None] for s in (shot, read))
    return (rgb + normal * (read_**2 + shot_**2 * rgb) ** 0.5).clip(0, 1)


def motion_blur(rgb: Array, flow: Array, shutter: np.ndarray, taps: int = 9) -> Array:
    """Averages each pixel along its own flow.

    Args:
        flow: float32 [N,h,w,2] pixels to the next frame. shutter: the share of the frame's time that it is open, [N].
    """
    xp = library_of(rgb)
    h, w = rgb.shape[1:3]
    y, x = (like(rgb, a.astype(np.float32))[None] for a in np.mgrid[0:h, 0:w])
    open_ = like(rgb, shutter.astype(np.float32))[:, None, None]
    which = like(rgb, np.arange(len(rgb)))[:, None, None]
    total = rgb * 0
    for t in np.linspace(-0.5, 0.5, taps):
        u = xp.round(x + flow[..., 0] * open_ * float(t)).clip(0, w - 1)
        v = xp.round(y + flow[..., 1] * open_ * float(t)).clip(0, h - 1)
        total = total + rgb[which, _whole(v), _whole(u)]
    return total / taps


def defocus(rgb: Array, disparity: Array, focus: np.ndarray, aperture: np.ndarray, levels: int = 4) -> Array:
    """Blurs what is out of focus: a circle of confusion of aperture * |disparity - focus| pixels, a thin lens's law.

    Args:
        disparity: float32 [N,h,w], 1/metres. focus: the sharp disparity, [N]. aperture: pixels a unit of disparity, [N].
        levels: how many strengths of blur are mixed; the widest is 2^(levels - 2) pixels of standard deviation.
    """
    focus_, aperture_ = (like(rgb, s.astype(np.float32))[:, None, None] for s in (focus, aperture))
    xp = library_of(rgb)
    widest = 2.0 ** (levels - 2)
    radius = (xp.abs(disparity - focus_) * aperture_ * 0.5).clip(0, widest)  # standard deviation of the blur, pixels
    place = xp.log2((radius * 2).clip(1, 2 * widest))  # 0: sharp, k: blurred by 2^(k-1)
    out = rgb * 0
    for k in range(levels):
        weight = (1 - xp.abs(place - k)).clip(0, 1)[..., None]
        out = out + weight * (rgb if k == 0 else blur(rgb, 2.0 ** (k - 1)))
    return out


def blur(rgb: Array, sigma: float) -> Array:
    """Gaussian blur, edges repeated; sigma in pixels."""
    reach = max(int(np.ceil(2.5 * sigma)), 1)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis, length in ((1, rgb.shape[1]), (2, rgb.shape[2])):
        total = rgb * 0
        for shift, weight in zip(range(-reach, reach + 1), weights, strict=True):
            index = like(rgb, np.clip(np.arange(length) + shift, 0, length - 1))
            total = total + float(weight) * (rgb[:, index] if axis == 1 else rgb[:, :, index])
        rgb = total
    return rgb


_LUMA = np.array(  # the example tables of ITU-T T.81, annex K
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_CHROMA = np.full((8, 8), 99, np.float32)
_CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
_TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32)


def jpeg(rgb: Array, quality: np.ndarray) -> Array:
    """The loss of JPEG at qualities 1..100 [N]: 8x8 DCT and quantisation as by libjpeg, colour at full resolution."""
    xp = library_of(rgb)
    n, h, w = rgb.shape[:3]
    rows, columns = (like(rgb, np.minimum(np.arange(-(-k // 8) * 8), k - 1)) for k in (h, w))
    whole = rgb[:, rows][:, :, columns]
    ycc = (whole * 255) @ like(rgb, _TO_YCC.T.copy()) - like(rgb, np.array([128, 0, 0], np.float32))
    blocks = ycc.reshape(n, len(rows) // 8, 8, len(columns) // 8, 8, 3)
    blocks = _ordered(blocks, (0, 1, 3, 5, 2, 4))
    scale = np.where(quality < 50, 5000 / np.maximum(quality, 1), 200 - 2 * quality) / 100
    table = np.stack([_LUMA, _CHROMA, _CHROMA])[None] * scale[:, None, None, None]
    table = like(rgb, np.clip(np.floor(table + 0.5), 1, 255).astype(np.float32))[:, None, None]
    dct = like(rgb, _dct())
    coarse = xp.round(dct @ blocks @ dct.T / table) * table
    back = dct.T @ coarse @ dct
    back = _ordered(back, (0, 1, 4, 2, 5, 3))
    ycc = back.reshape(n, len(rows), len(columns), 3) + like(rgb, np.array([128, 0, 0], np.float32))
    out = ycc @ like(rgb, np.linalg.inv(_TO_YCC).T.astype(np.float32)) / 255
    return out[:, :h, :w].clip(0, 1)


def _dct() -> np.ndarray:
    k, x = np.mgrid[0:8, 0:8]
    matrix = np.cos((2 * x + 1) * k * np.pi / 16) * 0.5
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _whole(values: Array) -> Array:
    """As indices."""
    return values.astype(np.int64) if isinstance(values, np.ndarray) else values.long()


def _ordered(array: Array, axes: tuple[int, ...]) -> Array:
    return array.transpose(axes) if isinstance(array, np.ndarray) else array.permute(axes)
