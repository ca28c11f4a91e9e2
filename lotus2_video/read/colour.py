"""Colour: which matrix a picture is coded with, and how HDR and linear light become display-referred 8 bits."""

from __future__ import annotations

from functools import cache

import numpy as np

# Names as ffmpeg gives them, by the code points of ITU-T H.273 that the streams carry; 2 is "unspecified".
MATRICES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c", 11: "smpte2085", 12: "chroma-derived-nc", 13: "chroma-derived-c", 14: "ictcp",
}  # fmt: skip
TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
    11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
    17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
RANGES = {1: "tv", 2: "pc"}
PQ, HLG = "smpte2084", "arib-std-b67"

SDR_WHITE = 203.0  # nits of diffuse white in HDR: ITU-R BT.2408
HDR_PEAK = 1000.0  # nits of the brightest highlight that is kept apart from white


def assumed_matrix(width: int, height: int) -> str:
    """The matrix of a picture without a tag, by size as players do: HD was always BT.709, SD always BT.601."""
    return "bt709" if width >= 1280 or height > 576 else "smpte170m"


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0,1] to sRGB in [0,1], the same float shape (IEC 61966-2-1). Outside values are clipped."""
    x = np.clip(linear, 0.0, 1.0)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)


@cache
def _half_table() -> np.ndarray:
    """uint8 [65536]: the sRGB byte of every half float, by its bits. NaN is black, infinity is clipped as all above 1."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        linear = np.nan_to_num(halves.astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(encode_srgb(linear) * 255).astype(np.uint8)


def linear_to_display(linear: np.ndarray) -> np.ndarray:
    """Scene-linear float of any shape, 1 = white, to sRGB uint8 of that shape. No exposure, no tone curve: above 1 clips."""
    with np.errstate(over="ignore"):
        return _half_table()[linear.astype(np.float16).view(np.uint16)]


def pq_to_nits(code: np.ndarray) -> np.ndarray:
    """PQ code in [0,1] to nits (SMPTE ST 2084 EOTF)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = code ** (1 / m2)
    return 10000 * (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (1 / m1)


def nits_to_pq(nits: np.ndarray | float) -> np.ndarray:
    """Nits to PQ code in [0,1] (SMPTE ST 2084 inverse EOTF)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    p = (np.asarray(nits, np.float64) / 10000) ** m1
    return ((c1 + c2 * p) / (1 + c3 * p)) ** m2


@cache
def pq_to_display() -> np.ndarray:
    """uint8 [256]: the display-referred byte of each full-range 8-bit PQ byte, applied to R, G and B alike.

    The roll-off is the EETF of ITU-R BT.2390-8 section 5.4.1 from 1000 nits to a white of 203 nits (BT.2408), then sRGB.
    The primaries stay those of the file.
    """
    peak = nits_to_pq(HDR_PEAK)
    e1 = np.minimum(np.arange(256) / 255 / peak, 1.0)
    white = nits_to_pq(SDR_WHITE) / peak
    knee = 1.5 * white - 0.5
    t = (e1 - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    nits = pq_to_nits(np.where(e1 < knee, e1, spline) * peak)
    return np.rint(encode_srgb(nits / SDR_WHITE) * 255).astype(np.uint8)
