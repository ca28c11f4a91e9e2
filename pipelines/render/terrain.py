"""Open country: hills, trees, rocks, grass, water, a path, perhaps a house or a fence."""

from __future__ import annotations

import numpy as np

from . import shapes, thin, vegetation
from .arrange import outdoor_light
from .clutter import Piece, figure
from .looks import Looks
from .patterns import fractal
from .scene import Material, Motion, Scene, place
from .streets import house

EXTENT, POINTS = 240.0, 160  # metres, samples a side


class Ground:
    """A height for every place, metres."""

    def __init__(self, rng: np.random.Generator):
        rough, rise = rng.uniform(1.3, 1.8), float(np.exp(rng.uniform(np.log(5), np.log(80))))
        bumps = fractal(rng, rough, size=256)[:POINTS, :POINTS] - 0.5
        x, z = np.meshgrid(np.linspace(-1, 1, POINTS), np.linspace(-1, 1, POINTS))
        rim = np.clip(np.hypot(x, z) - 0.1, 0, None) ** 1.3  # calmer where the camera is, hills around
        lift = rng.uniform(-0.3, 1.2)
        self.heights = (bumps * rise * (0.25 + rim) + rise * lift * rim).astype(np.float64)

    def at(self, x: float, z: float) -> float:
        u = (np.array([z, x]) / EXTENT + 0.5) * (POINTS - 1)
        k = np.clip(u.astype(int), 0, POINTS - 2)
        f = u - k
        a = self.heights[k[0] : k[0] + 2, k[1] : k[1] + 2]
        return float(
            (1 - f[0]) * ((1 - f[1]) * a[0, 0] + f[1] * a[0, 1]) + f[0] * ((1 - f[1]) * a[1, 0] + f[1] * a[1, 1])
        )


def terrain(looks: Looks) -> Scene:
    r = looks.rng
    ground = Ground(r)
    scene = Scene(fov=(40, 90))
    scene.add(
        shapes.heightfield(ground.heights, (EXTENT, EXTENT)), looks.meadow() if r.random() < 0.8 else looks.ground()
    )
    level = -np.inf
    if r.random() < 0.25:
        level = float(np.quantile(ground.heights, r.uniform(0.05, 0.3)))
        water = Material((0.02, 0.05, 0.06), specular=0.8, roughness=0.08, mirror=float(r.uniform(0.2, 0.6)))
        scene.add(shapes.quad((-EXTENT, level, EXTENT), (2 * EXTENT, 0, 0), (0, 0, -2 * EXTENT)), water)
    _spread(
        scene,
        looks,
        ground,
        [vegetation.tree(looks) for _ in range(3)],
        int(np.exp(r.uniform(2, 5.3))),
        float(r.uniform(40, 110)),
        (0.6, 1.8),
    )
    _spread(scene, looks, ground, [vegetation.rock(looks) for _ in range(3)], int(r.integers(0, 60)), 40, (0.3, 3))
    _spread(scene, looks, ground, [vegetation.bush(looks) for _ in range(2)], int(r.integers(0, 40)), 60, (0.6, 2))
    tufts = [vegetation.tuft(looks) for _ in range(3)]
    _spread(scene, looks, ground, tufts, int(r.integers(0, 250)), 14, (0.4, 1.6))
    if r.random() < 0.4:
        _spread(
            scene, looks, ground, [house(looks, float(r.uniform(5, 14)), float(r.uniform(3, 8)))], 2, 70, (0.8, 1.2)
        )
    if r.random() < 0.4:
        barriers = [thin.pickets(looks), thin.railing(looks)]
        _spread(scene, looks, ground, barriers, int(r.integers(1, 6)), 15, (0.9, 1.2))
    walkers = _spread(scene, looks, ground, [figure(looks) for _ in range(2)], int(r.integers(0, 5)), 18, (0.9, 1.1))
    for walker in walkers:
        scene.move(walker, Motion(velocity=(float(r.normal(0, 0.8)), 0.0, float(r.normal(0, 0.8)))))
    scene.lighting = outdoor_light(looks)
    for x, z in r.uniform(-16, 16, (12, 2)):
        y = max(ground.at(x, z), level)
        scene.eyes.append(np.array([[x, y + 0.7, z], [x, y + r.choice([2.0, 2.2, 9.0]), z]]))
    for x, z in r.uniform(-50, 50, (8, 2)):
        scene.interest.append(np.array([x, ground.at(x, z) + r.uniform(0, 2), z]))
    return scene


def _spread(scene: Scene, looks: Looks, ground: Ground, pieces: list[Piece], count: int, reach: float,
            scale: tuple[float, float]) -> list:  # fmt: skip
    """Copies over the land, nearer ones more often, feet a little in the ground."""
    out = []
    for _ in range(count):
        turn, far = looks.rng.uniform(0, 2 * np.pi), reach * np.sqrt(looks.rng.uniform(0.002, 1))
        x, z, size = far * np.cos(turn), far * np.sin(turn), float(np.exp(looks.rng.uniform(*np.log(scale))))
        where = place(x, ground.at(x, z) - 0.03 * size, z, float(looks.rng.uniform(0, 2 * np.pi)), size)
        out.append(scene.add(*pieces[looks.rng.integers(len(pieces))], where))
    return out
