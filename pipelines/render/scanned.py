"""Whole scenes from files, redressed: other materials, other light, more clutter each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .arrange import indoor_light, set_moving, tumbled
from .cameras import heights
from .clutter import SMALL
from .looks import Looks
from .rooms import room
from .scene import Instance, Material, Scene


def scanned(looks: Looks) -> Scene:
    """One of the library's scenes with things scattered in it; a procedural room where there are no such scenes."""
    if not looks.scenes:
        return room(looks)
    r = looks.rng
    mesh, materials = looks.scenes[int(r.integers(len(looks.scenes)))]
    scene = Scene(fov=(50, 95))
    strange = r.choice([0.0, 0.15, 0.5])
    scene.add(mesh, tuple(_redressed(looks, m, strange) for m in materials))
    low, high = mesh.bounds.astype(float)
    size = high - low
    corner, far = low + size * (0.15, 0, 0.15), high - size * (0.15, 0, 0.15)
    top = min(low[1] + 2.6, high[1] - 0.2)
    things = [_thing(scene, looks, r.uniform(corner, (far[0], top, far[2]))) for _ in range(int(r.integers(0, 12)))]
    set_moving(scene, r, things, 0.6, 0.3)
    lamps = [r.uniform((corner[0], low[1] + 0.7 * (top - low[1]), corner[2]), (far[0], top, far[2])) for _ in range(3)]
    scene.lighting = indoor_light(r, lamps, r.normal(size=3) * (1, 0, 1), float(min(size[0] * size[2], 80)))
    scene.eyes = standing_places(scene, r, corner, np.array([far[0], max(top, low[1] + 0.6), far[2]]))
    scene.interest = [r.uniform((low[0], low[1] + 0.3, low[2]), (high[0], top, high[2])) for _ in range(16)]
    return scene


def standing_places(scene: Scene, r: np.random.Generator, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Small boxes [2,3] at eye height over whatever floor is there; under a roof, where much of the scene has one."""
    points = r.uniform(low, high, (160, 3))
    below, above = heights(scene, points)
    eye = r.uniform(0.7, 1.8, len(points))
    good = (below < 1e6) & (below > 0.3)
    roofed = good & (above < 1e6)
    good = roofed if roofed.sum() > 0.3 * good.sum() else good
    floor = points[:, 1] - below
    at = np.stack([points[:, 0], np.minimum(floor + eye, points[:, 1]), points[:, 2]], 1)
    return [np.stack([p - 0.05, p + 0.05]) for p in at[good]] or [np.stack([low, high])]


def _redressed(looks: Looks, material: Material, strange: float) -> Material:
    if looks.rng.random() < strange:
        return looks.any()
    gain = looks.rng.uniform(0.75, 1.2, 3) * looks.rng.uniform(0.8, 1.1)
    r, g, b = (float(min(c * k, 1)) for c, k in zip(material.color, gain, strict=True))
    return replace(material, color=(r, g, b))


def _thing(scene: Scene, looks: Looks, where: np.ndarray) -> Instance:
    if looks.objects and looks.rng.random() < 0.7:
        return scene.add(*looks.object(), tumbled(looks.rng, where, float(looks.rng.uniform(0.15, 0.8))))
    return scene.add(
        *SMALL[looks.rng.integers(len(SMALL))](looks), tumbled(looks.rng, where, float(looks.rng.uniform(1, 3)))
    )
