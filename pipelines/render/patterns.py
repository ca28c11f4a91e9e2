"""Procedural textures: uint8 [256,256,3] sRGB, seamless, each from a random generator alone. Used one repeat a metre or so."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import cv2
import numpy as np

SIZE = 256
Rng = np.random.Generator
Make = Callable[[Rng], np.ndarray]


def fractal(rng: Rng, slope: float = 1.0, stretch: float = 1.0, size: int = SIZE) -> np.ndarray:
    """Seamless noise float32 [size,size] in [0,1] with a power-law spectrum; stretch > 1 draws it out along x."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :] * stretch
    power = np.maximum(np.hypot(fx, fy), 1 / size) ** -(1 + slope)
    power[0, 0] = 0
    phase = np.exp(2j * np.pi * rng.random(power.shape))
    noise = np.fft.irfft2(power * phase, (size, size))
    low, high = np.quantile(noise, [0.01, 0.99])
    return np.clip((noise - low) / (high - low), 0, 1).astype(np.float32)


def color(
    rng: Rng, saturation: tuple[float, float] = (0.05, 0.7), value: tuple[float, float] = (0.25, 0.95)
) -> np.ndarray:
    """A random sRGB colour, float32 [3] in [0,1]."""
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value)), np.float32)


def near(rng: Rng, base: np.ndarray, spread: float = 0.15) -> np.ndarray:
    """A colour near another one: lighter or darker, slightly off in hue."""
    return np.clip(base * (1 + rng.uniform(-2, 2) * spread) + rng.normal(0, spread / 4, 3), 0.02, 1).astype(np.float32)


def blend(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Colours a and b ([3] or [h,w,3]) mixed by t [h,w]."""
    return a * (1 - t[..., None]) + b * t[..., None]


def _bytes(rgb: np.ndarray) -> np.ndarray:
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    return x, y


def noise(rng: Rng) -> np.ndarray:
    base = color(rng)
    return _bytes(blend(base, near(rng, base, 0.3), fractal(rng, rng.uniform(0.3, 1.6))))


def plaster(rng: Rng) -> np.ndarray:
    """Almost without texture: walls, plastics, paint."""
    base = color(rng, (0.0, 0.35), (0.55, 0.97))
    return _bytes(base * (0.97 + 0.03 * fractal(rng, rng.uniform(0.2, 1.2))[..., None]))


def wood(rng: Rng) -> np.ndarray:
    base = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0.05, 0.11), rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.85)), np.float32
    )
    grain = fractal(rng, 0.8, stretch=rng.uniform(8, 20))
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.integers(3, 9) * _grid()[1] + 1.5 * fractal(rng, 1.6, 5)))
    return _bytes(base * (0.75 + 0.25 * (0.6 * grain + 0.4 * rings)[..., None]))


def planks(rng: Rng) -> np.ndarray:
    rows = int(rng.integers(4, 9))
    out = wood(rng).astype(np.float32) / 255
    for k in range(rows):
        a, b = k * SIZE // rows, (k + 1) * SIZE // rows
        out[a:b] = np.roll(out[a:b], int(rng.integers(SIZE)), 1) * rng.uniform(0.8, 1.1)
        out[a : a + 1] *= 0.5
        joint = int(rng.integers(SIZE))
        out[a:b, joint : joint + 1] *= 0.55
    return _bytes(out)


def _cells(
    rng: Rng, rows: int, columns: int, shift: float, gap: int, base: np.ndarray, mortar: np.ndarray
) -> np.ndarray:
    out = np.tile(mortar, (SIZE, SIZE, 1))
    height, width = SIZE / rows, SIZE / columns
    for r in range(rows):
        strip = np.tile(mortar, (round((r + 1) * height) - round(r * height), SIZE, 1))
        for c in range(columns):
            strip[gap:, round(c * width) + gap : round((c + 1) * width)] = near(rng, base, 0.08)
        out[round(r * height) : round((r + 1) * height)] = np.roll(strip, int(r % 2 * shift * width), 1)
    return out * (0.85 + 0.15 * fractal(rng, 0.5)[..., None])


def bricks(rng: Rng) -> np.ndarray:
    base = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0, 0.1), rng.uniform(0.2, 0.65), rng.uniform(0.35, 0.8)), np.float32
    )
    rows = 2 * int(rng.integers(4, 8))
    return _bytes(_cells(rng, rows, rows // 2, 0.5, 2, base, color(rng, (0, 0.1), (0.5, 0.8))))


def tiles(rng: Rng) -> np.ndarray:
    count = int(rng.choice([2, 4, 8]))
    out = _cells(rng, count, count, 0, int(rng.integers(1, 4)), color(rng, (0, 0.5)), color(rng, (0, 0.1), (0.3, 0.9)))
    if rng.random() < 0.4:  # a chequerboard
        x, y = _grid()
        out = blend(out, color(rng, (0, 0.5)), ((x * count).astype(int) + (y * count).astype(int)) % 2 * 0.85)
    return _bytes(out)


def stripes(rng: Rng) -> np.ndarray:
    x, y = _grid()
    a, b = int(rng.integers(0, 5)), int(rng.integers(1, 12))
    wave = np.sin(2 * np.pi * (a * x + b * y))
    t = (wave > rng.uniform(-0.6, 0.6)).astype(np.float32) if rng.random() < 0.6 else 0.5 + 0.5 * wave
    return _bytes(blend(color(rng), color(rng), t.astype(np.float32)) * (0.92 + 0.08 * fractal(rng, 0.3)[..., None]))


def fabric(rng: Rng) -> np.ndarray:
    x, y = _grid()
    threads = int(rng.choice([32, 48, 64]))
    weave = 0.5 + 0.25 * np.sin(2 * np.pi * threads * x) + 0.25 * np.sin(2 * np.pi * threads * y)
    base = color(rng, (0.1, 0.7), (0.2, 0.9))
    return _bytes(base * (0.7 + 0.2 * weave + 0.1 * fractal(rng, 0.6))[..., None])


def stone(rng: Rng) -> np.ndarray:
    base, vein = color(rng, (0, 0.25), (0.3, 0.95)), color(rng, (0, 0.3), (0.1, 0.9))
    folds = 1 - np.abs(2 * fractal(rng, rng.uniform(0.9, 1.5)) - 1)
    return _bytes(blend(base, vein, folds ** rng.uniform(4, 14)) * (0.9 + 0.1 * fractal(rng, 0.2)[..., None]))


def asphalt(rng: Rng) -> np.ndarray:
    grey = rng.uniform(0.2, 0.5)
    speckle = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 0.8)
    return _bytes(np.repeat((grey + 0.06 * speckle + 0.1 * fractal(rng, 1.2))[..., None], 3, 2))


def grass(rng: Rng) -> np.ndarray:
    dark = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0.15, 0.38), rng.uniform(0.35, 0.8), rng.uniform(0.15, 0.4)), np.float32
    )
    light = near(rng, dark * 1.8, 0.1)
    return _bytes(blend(dark, light, 0.5 * fractal(rng, 0.0) + 0.5 * fractal(rng, 1.2)))


def dots(rng: Rng) -> np.ndarray:
    out = np.tile(color(rng), (SIZE, SIZE, 1))
    for _ in range(int(rng.integers(10, 60))):
        center, radius = rng.integers(0, SIZE, 2), int(rng.integers(4, 30))
        for dx in (-SIZE, 0, SIZE):
            for dy in (-SIZE, 0, SIZE):
                where = (int(center[0]) + dx, int(center[1]) + dy)
                cv2.circle(out, where, radius, [float(c) for c in color(rng)], -1, cv2.LINE_AA)
        color(rng)
    return _bytes(out)


def text(rng: Rng) -> np.ndarray:
    """Print: lines of random words, as on signs, pages and packages."""
    paper, ink = color(rng, (0, 0.4), (0.6, 1)), color(rng, (0, 0.9), (0.0, 0.35))
    if rng.random() < 0.3:
        paper, ink = ink, paper
    out, pen = np.ascontiguousarray(_bytes(np.tile(paper, (SIZE, SIZE, 1)))), [int(255 * c) for c in ink]
    y, big = 8, rng.random() < 0.4
    while y < SIZE - 8:
        scale = float(rng.uniform(1.2, 2.6) if big else rng.uniform(0.35, 0.8))
        words = " ".join("".join(chr(int(c)) for c in rng.integers(97, 123, rng.integers(2, 9))) for _ in range(8))
        words = words.upper() if rng.random() < 0.3 else words
        y += int(26 * scale) + 4
        cv2.putText(out, words, (8, y), int(rng.integers(0, 5)), scale, pen, 1 + int(scale), cv2.LINE_AA)
        if rng.random() < 0.15:
            y += 20
            cv2.rectangle(out, (12, y), (SIZE - 12, y + 30), [int(255 * c) for c in color(rng)], -1)
            y += 34
    return out


def patches(rng: Rng) -> np.ndarray:
    """Overlapping rectangles: posters, packages, abstract prints."""
    out = np.tile(color(rng), (SIZE, SIZE, 1))
    for _ in range(int(rng.integers(5, 40))):
        a, b = rng.integers(0, SIZE, 2), rng.integers(8, 120, 2)
        out[a[0] : a[0] + b[0], a[1] : a[1] + b[1]] = color(rng)
    return _bytes(out * (0.9 + 0.1 * fractal(rng, 0.5)[..., None]))


def lines(rng: Rng) -> np.ndarray:
    """Drawn lines: cutting mats, markings, seams, cracks, scribbles. They look like thin things and are flat."""
    paper = color(rng, (0, 0.6), (0.05, 0.95))
    out = np.tile(paper, (SIZE, SIZE, 1)) * (0.9 + 0.1 * fractal(rng, rng.uniform(0.2, 1.2))[..., None])
    inks = [np.clip(paper + np.sign(0.5 - paper.mean()) * rng.uniform(0.2, 0.8), 0, 1), color(rng, (0, 0.9), (0, 1))]
    if rng.random() < 0.6:
        _rule(out, rng, inks)
    else:
        for _ in range(int(rng.integers(2, 14))):
            _scribble(out, rng, inks[int(rng.integers(2))])
    return _bytes(out)


def _rule(out: np.ndarray, rng: Rng, inks: list[np.ndarray]) -> None:
    """Lines at even distances, one way or both; some broken into dashes, some heavier than the rest."""
    ways, wide = ((0,), (1,), (0, 1), (0, 1))[int(rng.integers(4))], int(rng.integers(1, 5))
    count, heavy = int(rng.choice([1, 2, 4, 8, 16])), rng.random() < 0.3
    dash = rng.uniform(0.3, 0.8) * SIZE if rng.random() < 0.3 else SIZE
    for way in ways:
        for k in range(count):
            at = k * SIZE // count
            thick = wide + 2 * (heavy and k % 4 == 0)
            strip = out[at : at + thick, : int(dash)] if way else out[: int(dash), at : at + thick]
            strip[:] = inks[int(heavy and k % 4 == 0)]


def _scribble(out: np.ndarray, rng: Rng, ink: np.ndarray) -> None:
    """One line that bends, across all edges of the texture."""
    turns = np.cumsum(rng.normal(0, rng.choice([0.0, 0.05, 0.4]), 24)) + rng.uniform(0, 2 * np.pi)
    steps = np.stack([np.cos(turns), np.sin(turns)], 1) * rng.uniform(4, 16)
    way = np.cumsum(steps, 0) + rng.uniform(0, SIZE, 2)
    thick, pen = int(rng.integers(1, 4)), [float(c) for c in ink]
    for dx in (-SIZE, 0, SIZE):
        for dy in (-SIZE, 0, SIZE):
            points = np.round(16 * (way + (dx, dy))).astype(np.int32)
            cv2.polylines(out, [points], False, pen, thick, cv2.LINE_AA, 4)


def sky(rng: Rng) -> np.ndarray:
    """A panorama [256,1024,3], zenith above, ground haze below: clear, cloudy, overcast, or dusk."""
    v = np.linspace(0, 1, 256, dtype=np.float32)[:, None] * np.ones((1, 1024), np.float32)
    top = np.array(
        colorsys.hsv_to_rgb(rng.uniform(0.55, 0.64), rng.uniform(0.2, 0.75), rng.uniform(0.45, 0.95)), np.float32
    )
    low = near(rng, np.array([0.93, 0.93, 0.95], np.float32), 0.04)
    if rng.random() < 0.25:
        low = np.array(colorsys.hsv_to_rgb(rng.uniform(0.02, 0.12), rng.uniform(0.2, 0.6), 0.97), np.float32)
    base = blend(low, top, np.clip((0.5 - v) * 2.2, 0, 1) ** 0.6)
    cover = rng.uniform(-0.3, 1.2)
    puffs = np.tile(fractal(rng, rng.uniform(0.7, 1.1)), (1, 4)) * 0.6
    puffs = puffs + np.repeat(fractal(rng, 1.3), 4, 1)[:, :1024] * 0.4
    white = np.clip((puffs - 1 + cover) * rng.uniform(1.5, 5), 0, 1)
    shade = near(rng, np.array([0.9, 0.9, 0.92], np.float32) * rng.uniform(0.75, 1.05), 0.03)
    return _bytes(blend(base, shade * (0.85 + 0.15 * puffs[..., None]), white * (v < 0.55)))


KINDS: dict[str, Make] = {
    "noise": noise,
    "plaster": plaster,
    "wood": wood,
    "planks": planks,
    "bricks": bricks,
    "tiles": tiles,
    "stripes": stripes,
    "fabric": fabric,
    "stone": stone,
    "asphalt": asphalt,
    "grass": grass,
    "dots": dots,
    "text": text,
    "patches": patches,
    "sky": sky,
    "lines": lines,
}
