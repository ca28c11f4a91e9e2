"""Where to stand and how to move: random cameras that see something, and paths for clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .cast import Renderer
from .pack import View
from .scene import Camera, Scene, intrinsics, look_at
from .textures import TextureLibrary

PROBE = (18, 32)


@cache
def _prober() -> Renderer:
    return Renderer(TextureLibrary(), "cpu", threads=1)


@dataclass(frozen=True, eq=False)
class Pose:
    """eye, target: world metres. roll: radians."""

    eye: np.ndarray
    target: np.ndarray
    roll: float

    def matrix(self) -> np.ndarray:
        return look_at(self.eye, self.target, self.roll)


def random_pose(rng: np.random.Generator, scene: Scene) -> Pose:
    low, high = scene.eyes[rng.integers(len(scene.eyes))]
    eye = rng.uniform(low, high)
    aims = [np.asarray(scene.interest[k]) for k in rng.integers(len(scene.interest), size=2)]
    far_one = max(aims, key=lambda p: float(np.linalg.norm(p - eye)))
    target = far_one if rng.random() < 0.6 else aims[0]
    away = float(np.linalg.norm(target - eye))
    target = target + rng.normal(0, 0.15 * away, 3) * (1, 0.6, 1)
    roll = rng.normal(0, 0.04) if rng.random() < 0.9 else rng.normal(0, 0.25)
    return Pose(eye, target, float(roll))


def worth(depth: np.ndarray, object_: np.ndarray) -> float:
    """How much a probe [h,w] shows: below 0 is not worth a picture (nose against a wall, one plane, only sky)."""
    seen = depth[np.isfinite(depth)]
    if seen.size < 0.25 * depth.size:
        return -2.0
    near, low, high = np.quantile(seen, [0.02, 0.1, 0.9])
    _, counts = np.unique(object_, return_counts=True)
    value = (
        min(np.log(high / low) / 1.0, 1.5) + 0.1 * min(len(counts), 12) - 1.2 * max(counts.max() / depth.size - 0.5, 0)
    )
    crowded = max(0.0, 0.25 * low / max(near, 1e-3) - 1) + 3 * (near < 0.1)
    return float(value - crowded - 0.6)


def probe(scene: Scene, cameras: list[Camera], size: tuple[int, int], seconds: list[float]) -> list[float]:
    """worth() of each camera, made for pictures of `size`, at its time."""
    shrink = np.diag([PROBE[1] / size[1], PROBE[0] / size[0], 1])
    small = [Camera(shrink @ c.K, c.pose) for c in cameras]
    views = [View(c, t) for c, t in zip(small, seconds, strict=True)]
    seen = _prober().cast(scene, views, PROBE, ("depth", "object"))
    return [worth(d, o) for d, o in zip(seen["depth"], seen["object"], strict=True)]


def heights(scene: Scene, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far below and above points [n,3] the scene is, metres [n]; infinite where it is not."""
    K = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    out = []
    for step in (-1.0, 1.0):
        views = [View(Camera(K, look_at(p, p + (0, step, 0)))) for p in points]
        out.append(_prober().cast(scene, views, (1, 1), ("depth",))["depth"][:, 0, 0])
    return out[0], out[1]


def field_of_view(rng: np.random.Generator, scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Random intrinsics [3,3]; wide pictures get the wide end."""
    low, high = scene.fov
    if max(size) / min(size) > 2.2:
        low = 0.5 * (low + high)
    return intrinsics(size, float(rng.uniform(low, high)))


def stills(rng: np.random.Generator, scene: Scene, size: tuple[int, int], count: int) -> list[Camera]:
    """`count` cameras, the worthiest of three times as many, in random order."""
    tries = [Camera(field_of_view(rng, scene, size), random_pose(rng, scene).matrix()) for _ in range(3 * count + 2)]
    values = probe(scene, tries, size, [0.0] * len(tries))
    good = [c for c, v in zip(tries, values, strict=True) if v > 0]
    ranked = [tries[k] for k in np.argsort(values)[::-1]]
    return (good + [c for c in ranked if not any(c is g for g in good)])[:count]


def path(rng: np.random.Generator, scene: Scene, size: tuple[int, int], seconds: np.ndarray) -> list[Camera]:
    """One camera for each time, along a smooth path: walk, drive, pan or hold, with a hand's tremor."""
    best: tuple[float, list[Camera]] | None = None
    for _ in range(6):
        start, other = random_pose(rng, scene), random_pose(rng, scene)
        K = field_of_view(rng, scene, size)
        for pace in (1.0, 0.4, 0.1):
            track = _track(rng, scene, start, other, K, seconds, pace)
            checked = [track[k] for k in (0, len(track) // 2, len(track) - 1)]
            value = min(probe(scene, checked, size, [float(seconds[k]) for k in (0, len(track) // 2, len(track) - 1)]))
            if best is None or value > best[0]:
                best = value, track
            if value > 0:
                return track
    assert best is not None
    return best[1]


def _track(
    rng: np.random.Generator, scene: Scene, start: Pose, other: Pose, K: np.ndarray, seconds: np.ndarray, pace: float
) -> list[Camera]:
    t = np.asarray(seconds, float)
    duration = max(float(t[-1] - t[0]), 1e-3)
    if scene.drive is not None and rng.random() < 0.75:
        travel = np.asarray(scene.drive)[None] * t[:, None] * pace
        eyes, targets = start.eye + travel, start.target + travel
    else:
        to, far = other.eye - start.eye, float(np.linalg.norm(start.target - start.eye))
        step = to / max(float(np.linalg.norm(to)), 1e-6) * min(0.35 * far * duration, float(np.linalg.norm(to))) * pace
        ease = _ease(t / duration)[:, None]
        eyes = start.eye + ease * step
        swing = (other.target - start.target) * min(
            1.0, 0.25 * far * duration / np.linalg.norm(other.target - start.target)
        )
        targets = start.target + ease * swing * pace
    tremor = float(np.exp(rng.uniform(np.log(0.001), np.log(0.012))))
    far = np.linalg.norm(targets - eyes, axis=1, keepdims=True)
    eyes = eyes + _tremble(rng, t, 3) * tremor * 0.6 * np.minimum(far, 3)
    targets = targets + _tremble(rng, t, 3) * tremor * far
    rolls = start.roll + _tremble(rng, t, 1)[:, 0] * tremor
    return [Camera(K, look_at(e, g, float(r))) for e, g, r in zip(eyes, targets, rolls, strict=True)]


def _ease(u: np.ndarray) -> np.ndarray:
    """From 0 to 1, starting and ending at half its middle pace."""
    return 0.5 * u + 0.5 * u * u * (3 - 2 * u)


def _tremble(rng: np.random.Generator, t: np.ndarray, channels: int) -> np.ndarray:
    """Smooth noise [T,channels] of about unit size, 0.3 to 4 Hz, slower waves larger."""
    rates = np.exp(rng.uniform(np.log(0.3), np.log(4.0), (6, channels)))
    phases, size = rng.uniform(0, 2 * np.pi, (6, channels)), rng.normal(0, 0.8, (6, channels)) / np.sqrt(rates / 0.6)
    return (size * np.sin(2 * np.pi * rates * t[:, None, None] + phases)).sum(1)
