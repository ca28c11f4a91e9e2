"""Thin structures: fences, lattices, cables, scaffolds, bicycles, cages; what depth networks lose first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import shapes, vegetation
from .arrange import Floor, indoor_light, outdoor_light, scatter, set_moving
from .clutter import SMALL, Maker, Piece, figure, plant, rack, wire
from .furniture import chair, clothes_rack, floor_lamp, ladder, office_chair, shelf
from .looks import Looks
from .scene import Mesh, Scene, place, rotation


def thin(looks: Looks) -> Scene:
    """Thin things at 1 to 10 metres before a wall, a room or open country."""
    r = looks.rng
    scene = Scene(fov=(40, 80))
    indoors = r.random() < 0.4
    back = float(r.uniform(3, 6) if indoors else r.uniform(4, 30))
    ground = looks.floor() if indoors else (looks.meadow() if r.random() < 0.6 else looks.ground())
    scene.add(shapes.quad((-60, 0, 10), (120, 0, 0), (0, 0, -130)), ground)
    if indoors or r.random() < 0.5:
        scene.add(shapes.quad((-40, 0, -back), (80, 0, 0), (0, float(r.uniform(3, 9)), 0)), looks.wall())
    floor = Floor(-4, 4, -min(back, 8) + 0.5, 1.0)
    for _ in range(int(r.integers(1, 4))):
        barrier = BARRIERS[r.integers(len(BARRIERS))](looks)
        spot = r.uniform((-1.5, -min(back, 8) + 0.6), (1.5, 0.5))
        scene.add(*barrier, place(spot[0], 0, spot[1], float(r.normal(0, 0.5))))
    things = scatter(scene, looks, floor, 0, int(r.integers(3, 9)), STANDING, (0.9, 1.3))
    scatter(scene, looks, floor, 0, int(r.integers(2, 8)), SMALL, (1, 3))
    _cables(scene, looks, back)
    if not indoors:
        for x, z in r.uniform((-20, -60), (20, -back - 2), (6, 2)):
            scene.add(*vegetation.tree(looks), place(x, 0, z))
    set_moving(scene, r, things, 0.3, 0.25)
    scene.lighting = (
        indoor_light(r, [r.uniform((-2, 2.2, -1), (2, 3, 2))], None, 25) if indoors else outdoor_light(looks)
    )
    scene.eyes = [np.array([[-2.5, 0.6, 1.6], [2.5, 2.0, 4.0]])]
    scene.interest = [np.array([x, r.uniform(0.4, 1.5), z]) for x, z in r.uniform((-2, -2.5), (2, 0.5), (6, 2))]
    return scene


def _cables(scene: Scene, looks: Looks, back: float) -> None:
    """Lines that hang across the view, of any thickness."""
    t, strands = np.linspace(0, 1, 30), []
    for _ in range(int(looks.rng.integers(0, 7))):
        a, b = looks.rng.uniform((-5, 1.5, -back), (-3, 3.5, 1)), looks.rng.uniform((3, 1.5, -back), (5, 3.5, 1))
        line = a + (b - a) * t[:, None]
        line[:, 1] -= looks.rng.uniform(0, 2.0) * 4 * t * (1 - t) * 0.4
        strands.append(shapes.tube(line, float(looks.rng.uniform(0.003, 0.02)), 6))
    if strands:
        scene.add(shapes.merged(strands), looks.dark() if looks.rng.random() < 0.5 else looks.paint())


def railing(looks: Looks) -> Piece:
    r = looks.rng
    w, h, step = r.uniform(2, 7), r.uniform(0.8, 1.3), r.uniform(0.08, 0.2)
    bar = float(r.uniform(0.006, 0.018))
    parts = [shapes.tube([(x, 0.05, 0), (x, h, 0)], bar, 7) for x in np.arange(-w / 2, w / 2, step)]
    parts += [shapes.tube([(-w / 2, y, 0), (w / 2, y, 0)], 1.8 * bar, 8) for y in (0.08, h)]
    parts += [shapes.tube([(x, 0, 0), (x, h + 0.05, 0)], 2.5 * bar, 8) for x in np.arange(-w / 2, w / 2 + 0.1, w / 3)]
    return shapes.merged(parts), (looks.metal() if r.random() < 0.4 else looks.paint(),)


def pickets(looks: Looks) -> Piece:
    r = looks.rng
    w, h, board = r.uniform(2, 6), r.uniform(0.7, 1.5), r.uniform(0.05, 0.12)
    gap = board * r.uniform(1.3, 2.4)
    parts = [shapes.box((board, h, 0.018), (x, h / 2, 0), 0) for x in np.arange(-w / 2, w / 2, gap)]
    parts += [shapes.box((w, 0.06, 0.03), (0, y * h, -0.025), 0) for y in (0.2, 0.8)]
    return shapes.merged(parts), (looks.wood() if r.random() < 0.5 else looks.white(),)


def lattice(looks: Looks) -> Piece:
    """A trellis or wire mesh, square or diagonal."""
    r = looks.rng
    w, h, step, bar = r.uniform(1.2, 4), r.uniform(1, 2.2), r.uniform(0.07, 0.25), float(r.uniform(0.003, 0.012))
    parts: list[Mesh] = []
    if r.random() < 0.5:
        parts += [shapes.tube([(x, 0, 0), (x, h, 0)], bar, 5) for x in np.arange(-w / 2, w / 2, step)]
        parts += [shapes.tube([(-w / 2, y, 0), (w / 2, y, 0)], bar, 5) for y in np.arange(0, h, step)]
    else:
        for slant in (-1, 1):
            for start in np.arange(-w / 2 - h, w / 2 + h, step * 1.4):
                low, high = sorted((np.clip(-w / 2, start, start + h), np.clip(w / 2, start, start + h)))
                if high - low > 0.05:
                    ends = [(slant * x, x - start, 0) for x in (low, high)]
                    parts.append(shapes.tube(ends, bar, 5))
    parts += [shapes.box((0.05, h + 0.1, 0.05), (x * w / 2, h / 2, 0), 0) for x in (-1, 1)]
    return shapes.merged(parts), (looks.metal() if r.random() < 0.5 else looks.any(),)


def scaffold(looks: Looks) -> Piece:
    r = looks.rng
    w, d, levels, tall = r.uniform(1.5, 3), r.uniform(0.7, 1.2), int(r.integers(1, 4)), float(r.uniform(1.2, 2.0))
    bar, parts = float(r.uniform(0.012, 0.025)), []
    for x in (-w / 2, w / 2):
        parts += [shapes.tube([(x, 0, z), (x, levels * tall, z)], bar, 8) for z in (-d / 2, d / 2)]
    for k in range(1, levels + 1):
        y = k * tall
        parts += [shapes.tube([(-w / 2, y, z), (w / 2, y, z)], bar, 8) for z in (-d / 2, d / 2)]
        parts += [shapes.tube([(x, y, -d / 2), (x, y, d / 2)], bar, 8) for x in (-w / 2, w / 2)]
        parts.append(shapes.tube([(-w / 2, y - tall, d / 2), (w / 2, y, d / 2)], 0.8 * bar, 8))
        parts.append(shapes.box((w, 0.03, 0.8 * d), (0, y, 0), 1))
    return shapes.merged(parts), (looks.metal(), looks.wood())


def bicycle(looks: Looks) -> Piece:
    """Along x: spoked wheels, frame, bars, saddle, chain ring."""
    r, parts = looks.rng, []
    wheel = float(r.uniform(0.28, 0.36))
    for x in (-0.52, 0.52):
        upright = place(x, wheel, 0) @ rotation((1, 0, 0), np.pi / 2)
        parts.append(shapes.moved(shapes.torus(wheel - 0.016, 0.016, 48, 8, 1), upright))
        parts.append(shapes.moved(shapes.torus(wheel - 0.04, 0.007, 48, 6, 2), upright))
        for a in np.linspace(0, 2 * np.pi, int(r.integers(14, 30)), endpoint=False):
            tip = (x + (wheel - 0.04) * np.cos(a), wheel + (wheel - 0.04) * np.sin(a), 0)
            parts.append(shapes.tube([(x, wheel, 0.03 * (-1) ** int(a * 7)), tip], 0.0016, 4, 2))
        parts.append(shapes.moved(shapes.cylinder(0.025, 0.08, 12, slot=2), upright @ place(0, -0.04, 0)))
    seat, head, crank = (-0.2, 0.88, 0), (0.38, 0.86, 0), (-0.06, 0.3, 0)
    rear, fork = (-0.52, wheel, 0), (0.52, wheel, 0)
    for a, b in ((seat, head), (head, crank), (seat, crank), (crank, rear), (seat, rear), (head, fork)):
        parts.append(shapes.tube([a, b], 0.015, 10, 0))
    parts.append(shapes.tube([(0.38, 0.86, 0), (0.36, 0.98, 0)], 0.013, 8, 2))
    parts.append(shapes.tube([(0.3, 1.0, -0.27), (0.36, 0.98, 0), (0.3, 1.0, 0.27)], 0.012, 8, 2))
    parts.append(shapes.box((0.24, 0.05, 0.13), (-0.22, 0.93, 0), 3))
    parts.append(shapes.moved(shapes.torus(0.09, 0.008, 32, 6, 2), place(*crank) @ rotation((1, 0, 0), np.pi / 2)))
    parts.append(shapes.tube([(-0.06, 0.3, 0.05), (0.04, 0.16, 0.07), (0.04, 0.16, 0.16)], 0.009, 6, 2))
    return shapes.merged(parts), (looks.paint(), looks.dark(), looks.metal(), looks.dark())


def cage(looks: Looks) -> Piece:
    """A round cage of bars, on a stand."""
    r = looks.rng
    radius, h, count = r.uniform(0.15, 0.4), r.uniform(0.4, 0.9), int(r.integers(14, 36))
    base, parts = float(r.uniform(0, 0.9)), []
    bend = np.linspace(0, np.pi / 2, 7)
    for a in np.linspace(0, 2 * np.pi, count, endpoint=False):
        dome = np.stack([radius * np.cos(bend), base + 0.65 * h + 0.35 * h * np.sin(bend), 0 * bend], 1)
        bar = np.concatenate([[(radius, base, 0)], dome])
        parts.append(shapes.moved(shapes.tube(bar, 0.003, 5), rotation((0, 1, 0), a)))
    parts += [shapes.at(shapes.torus(radius, 0.006, 40, 6), 0, base + y * h, 0) for y in (0.01, 0.33, 0.65)]
    if base > 0.1:
        parts += [shapes.cylinder(0.15, 0.02, 24), shapes.tube([(0, 0, 0), (0, base, 0)], 0.012, 8)]
        parts.append(shapes.at(shapes.cylinder(radius, 0.02, 32), 0, base - 0.02, 0))
    return shapes.merged(parts), (looks.metal(),)


def net(looks: Looks) -> Piece:
    """A goal or hammock: a net that sags between posts."""
    r = looks.rng
    w, h, n, m = r.uniform(1.5, 3.5), r.uniform(1, 2), int(r.integers(10, 26)), int(r.integers(8, 18))
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, n), np.linspace(0, 1, m))
    sag = r.uniform(0.1, 0.6) * (1 - 4 * u * u) * v * (1 - v) * 4
    points = np.stack([u * w, v * h, -sag], -1)
    string = float(r.uniform(0.002, 0.006))
    parts = [shapes.tube(row, string, 4, 1) for row in points] + [
        shapes.tube(c, string, 4, 1) for c in points.transpose(1, 0, 2)
    ]
    parts += [shapes.tube([(x * w / 2, 0, 0), (x * w / 2, h, 0)], 0.03, 10) for x in (-1, 1)]
    parts.append(shapes.tube([(-w / 2, h, 0), (w / 2, h, 0)], 0.03, 10))
    return shapes.merged(parts), (looks.white(), looks.white() if r.random() < 0.6 else looks.paint())


def reeds(looks: Looks) -> Piece:
    return vegetation.tuft(looks)


BARRIERS: tuple[Callable[[Looks], Piece], ...] = (railing, pickets, lattice, lattice, net, scaffold)
STANDING: tuple[Maker, ...] = (
    bicycle, bicycle, cage, ladder, chair, office_chair, floor_lamp, plant, rack, clothes_rack, wire, figure, shelf, reeds,
)  # fmt: skip
