"""Close-ups: a table crowded with small things, and things afloat before a backdrop."""

from __future__ import annotations

import numpy as np

from . import shapes
from .arrange import Floor, indoor_light, scatter, set_moving, tumbled
from .clutter import SMALL, figure
from .looks import Looks
from .scene import Scene, Sphere, place, scaling, translation


def tabletop(looks: Looks) -> Scene:
    """A cluttered table, walls or nothing much behind it. Cameras 0.25 to 1.2 m away."""
    r = looks.rng
    scene = Scene(fov=(35, 75))
    w, d, h = r.uniform(0.6, 1.6), r.uniform(0.5, 1.0), r.uniform(0.5, 0.8)
    shape = shapes.box((w, 0.04, d), (0, h - 0.02, 0))
    scene.add(shape, looks.wood() if r.random() < 0.5 else looks.any())
    for x in (-1, 1):
        for z in (-1, 1):
            scene.add(
                shapes.box((0.05, h - 0.04, 0.05)),
                looks.wood(),
                place(x * (w / 2 - 0.05), h / 2 - 0.02, z * (d / 2 - 0.05)),
            )
    scene.add(shapes.quad((-4, 0, 3), (8, 0, 0), (0, 0, -6)), looks.floor())
    back = -d / 2 - float(r.uniform(0.02, 2.5))
    scene.add(shapes.quad((-4, 0, back), (8, 0, 0), (0, 3.2, 0)), looks.wall())
    scene.add(shapes.quad((-4, 0, 4), (0, 0, -8), (0, 3.2, 0)), looks.wall())
    scene.add(shapes.quad((4, 0, -4), (0, 0, 8), (0, 3.2, 0)), looks.wall())
    things = scatter(scene, looks, Floor(-w / 2, w / 2, -d / 2, d / 2), h, int(r.integers(6, 28)), found=(0.08, 0.35))
    stacked = [t for t in things if r.random() < 0.15]
    for thing in stacked:
        top = thing.transform[:3, 3] + (0, float(thing.shape.bounds[1, 1]), 0)
        scene.add(*SMALL[r.integers(len(SMALL))](looks), translation(top))
    if r.random() < 0.3:
        at = place(
            float(r.uniform(-w / 3, w / 3)),
            h,
            float(r.uniform(-d / 3, 0)),
            float(r.uniform(0, 6)),
            float(r.uniform(0.1, 0.2)),
        )
        scene.add(*figure(looks), at)
    set_moving(scene, r, things, 0.3, 0.06)
    lamp = np.array([r.uniform(-1.5, 1.5), h + r.uniform(0.6, 1.8), r.uniform(-0.5, 1.5)])
    scene.lighting = indoor_light(r, [lamp], None, 6.0)
    scene.eyes = [np.array([[-0.9 * w, h + 0.08, 0.1], [0.9 * w, h + 0.7, d / 2 + 0.7]])]
    scene.interest = [t.transform[:3, 3] + (0, 0.06, 0) for t in things] or [np.array([0, h, 0])]
    return scene


def floating(looks: Looks) -> Scene:
    """Random solids in the air before a photograph or a wall: no context to guess depth from but the picture itself."""
    r = looks.rng
    scene = Scene(fov=(40, 85))
    far = float(r.uniform(3, 12))
    span = 4 * far
    scene.add(
        shapes.quad((-span / 2, -span / 3, -far), (span, 0, 0), (0, span / 1.5, 0)), looks.print(span / 2, span / 2)
    )
    if r.random() < 0.6:
        scene.add(shapes.quad((-span, -1.2, far), (2 * span, 0, 0), (0, 0, -2 * far)), looks.floor())
    things = []
    for _ in range(int(r.integers(8, 50))):
        depth = float(np.exp(r.uniform(np.log(0.8), np.log(far))))
        at = np.array([r.uniform(-0.9, 0.9) * depth, r.uniform(-0.6, 0.6) * depth, -depth])
        size = float(np.exp(r.uniform(np.log(0.06), np.log(0.35)))) * depth
        things.append(_solid(scene, looks, at, size))
    set_moving(scene, r, things, 0.7, 0.25)
    scene.lighting = indoor_light(r, [r.uniform((-2, 1, -1), (2, 3, 2))], None, 15.0)
    scene.eyes = [np.array([[-0.3, -0.3, 0.0], [0.3, 0.3, 0.6]])]
    scene.interest = [np.array([0, 0, -far / 2]), *(t.transform[:3, 3] for t in things[:3])]
    return scene


def _solid(scene: Scene, looks: Looks, at: np.ndarray, size: float):
    r = looks.rng
    kind = int(r.integers(7))
    turned = tumbled(r, at, size)
    if looks.objects and r.random() < 0.3:
        return scene.add(*looks.object(), turned)
    if kind == 0:
        return scene.add(Sphere(), looks.any(), turned @ scaling(r.uniform(0.3, 1, 3)))
    if kind == 1:
        return scene.add(shapes.torus(0.7, float(r.uniform(0.03, 0.3))), looks.any(), turned)
    if kind == 2:
        return scene.add(
            shapes.cylinder(0.4, float(r.uniform(0.3, 2)), 36, float(r.uniform(0, 0.6))), looks.any(), turned
        )
    if kind == 3:
        path = np.cumsum(r.normal(0, 0.25, (8, 3)), 0)
        smooth = np.stack([np.interp(np.linspace(0, 7, 50), np.arange(8), path[:, k]) for k in range(3)], 1)
        return scene.add(shapes.tube(smooth, float(r.uniform(0.01, 0.1)), 8), looks.any(), turned)
    if kind == 4:
        piece = SMALL[r.integers(len(SMALL))](looks)
        reach = float(np.abs(piece[0].bounds).max())
        return scene.add(*piece, turned @ scaling(1 / reach))
    return scene.add(shapes.box(r.uniform(0.1, 1.4, 3)), looks.any(), turned)
