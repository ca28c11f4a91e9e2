"""One still image as a viewer shows it: upright, display-referred 8-bit RGB."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from ..errors import InputError
from .colour import linear_to_display

_HINT = "check that it opens in an image viewer"


def read_image(path: Path) -> np.ndarray:
    """uint8 [H,W,3], RGB. Alpha is dropped; the colour under it is kept.

    16 bits are rounded to 8. Float images (EXR, HDR, float TIFF) are taken as linear light with 1 = white and encoded to
    sRGB. EXIF orientation is applied. Raises InputError naming the file.
    """
    return _read_exr(path) if path.suffix.lower() == ".exr" else _read_common(path)


def _read_common(path: Path) -> np.ndarray:
    try:
        data = np.fromfile(path, np.uint8)
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    except (OSError, cv2.error) as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})", path, _HINT) from error
    if bgr is None:
        raise InputError("not an image that can be read" if data.size else "the file is empty", path, _HINT)
    return cv2.cvtColor(_to_bytes(bgr, path), cv2.COLOR_BGR2RGB)


def _to_bytes(image: np.ndarray, path: Path) -> np.ndarray:
    """uint8, uint16 or float [H,W,3] to uint8."""
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return cv2.convertScaleAbs(image, alpha=1 / 257)
    if image.dtype.kind == "f":
        return linear_to_display(image)
    raise InputError(f"pixels of type {image.dtype} are not supported", path, "save it with 8 or 16 bits")


def _read_exr(path: Path) -> np.ndarray:
    import OpenEXR

    try:
        with OpenEXR.File(str(path)) as file:
            header = dict(file.header())
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise InputError("not an EXR image that can be read", path, _HINT) from error
    rgb = _as_displayed(linear_to_display(_colour_channels(channels, path)), header)
    aspect = float(header.get("pixelAspectRatio", 1.0))
    if 0.125 <= aspect <= 8 and abs(aspect - 1) > 1e-3:
        height, width = rgb.shape[:2]
        size = (round(width * max(aspect, 1)), round(height / min(aspect, 1)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC)
    return rgb


def _colour_channels(channels: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """float [H,W,3] from RGB, RGBA or Y at the top, else from the first layer (`beauty.RGB`) that has them."""
    for name in sorted(channels, key=lambda name: (name.count("."), name)):
        pixels, kind = channels[name], name.rpartition(".")[2]
        if kind in ("RGB", "RGBA"):
            return pixels[..., :3]
        if kind == "Y" and pixels.ndim == 2:
            return np.repeat(pixels[..., None], 3, axis=2)
    raise InputError(
        f"it has no colour (its channels are {', '.join(sorted(channels))})", path, "give frames with R, G, B"
    )


def _as_displayed(rgb: np.ndarray, header: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The display window of an EXR: what lies outside its data window is black, what lies outside the display is cut."""
    (left, top), (right, bottom) = (np.asarray(corner, int) for corner in header["displayWindow"])
    (x, y), (x_last, y_last) = (np.asarray(corner, int) for corner in header["dataWindow"])
    if (left, top, right, bottom) == (x, y, x_last, y_last):
        return rgb
    shown = np.zeros((bottom - top + 1, right - left + 1, 3), np.uint8)
    x0, y0, x1, y1 = max(x, left), max(y, top), min(x_last, right) + 1, min(y_last, bottom) + 1
    if x1 > x0 and y1 > y0:
        shown[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0 - y : y1 - y, x0 - x : x1 - x]
    return shown
