"""Small things that stand on tables, shelves and floors. Each maker gives (mesh, materials), foot at the origin, metres."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import shapes
from .looks import Looks, Piece
from .scene import Material, Mesh, place, rotation

Maker = Callable[[Looks], Piece]


def package(looks: Looks) -> Piece:
    size = looks.rng.uniform(0.04, 0.3, 3)
    return shapes.box(size, (0, size[1] / 2, 0)), (looks.any(),)


def book_pile(looks: Looks) -> Piece:
    parts, materials, y = [], [], 0.0
    for k in range(int(looks.rng.integers(1, 6))):
        w, h, d = looks.rng.uniform((0.11, 0.012, 0.16), (0.2, 0.045, 0.28))
        turn = place(0, y, 0, float(looks.rng.normal(0, 0.15)))
        parts.append(shapes.moved(book(w, h, d, 2 * k), turn))
        materials += [looks.any(), looks.white()]
        y += h
    return shapes.merged(parts), tuple(materials)


def book(w: float, h: float, d: float, slot: int) -> Mesh:
    """Lying: cover in `slot`, pages in slot + 1, spine at -x."""
    cover = 0.003
    return shapes.merged(
        [
            shapes.box((w, cover, d), (0, cover / 2, 0), slot),
            shapes.box((w, cover, d), (0, h - cover / 2, 0), slot),
            shapes.box((cover, h - 2 * cover, d), (-w / 2 + cover / 2, h / 2, 0), slot),
            shapes.box((w - 0.008, h - 2 * cover, d - 0.008), (0.001, h / 2, 0), slot + 1),
        ]
    )


def bottle(looks: Looks) -> Piece:
    r, h = looks.rng.uniform(0.025, 0.05), looks.rng.uniform(0.15, 0.33)
    neck = r * looks.rng.uniform(0.25, 0.5)
    profile = [(0, 0), (r, 0), (r, 0.62 * h), (0.85 * r, 0.7 * h), (neck, 0.8 * h), (neck, 0.97 * h)]
    body = shapes.lathe([*profile, (0, 0.97 * h)], 28)
    cap = shapes.at(shapes.cylinder(neck * 1.15, 0.06 * h, 20, slot=1), 0, 0.95 * h, 0)
    label = shapes.at(shapes.cylinder(r * 1.01, 0.28 * h, 28, slot=2), 0, 0.2 * h, 0)
    return shapes.merged([body, cap, label]), (looks.paint(), looks.any(), looks.any())


def cup(looks: Looks) -> Piece:
    r, h = looks.rng.uniform(0.03, 0.05), looks.rng.uniform(0.06, 0.12)
    wall = 0.004
    inside = [(r - wall, h), (0.85 * (r - wall), wall), (0.0, wall)]
    body = shapes.lathe([(0, 0), (0.8 * r, 0), (r, h), *inside], 28)
    bend = np.linspace(-1.4, 1.4, 10)
    handle = np.stack([0.9 * r + 0.35 * h * np.cos(bend), 0.5 * h + 0.33 * h * np.sin(bend), 0 * bend], 1)
    parts = [body, shapes.tube(handle, 0.0045, 7)] if looks.rng.random() < 0.7 else [body]
    return shapes.merged(parts), (looks.any(),)


def bowl(looks: Looks) -> Piece:
    r, h = looks.rng.uniform(0.07, 0.16), looks.rng.uniform(0.04, 0.1)
    t = np.linspace(0, np.pi / 2, 8)
    outside = [(float(r * (0.35 + 0.65 * np.sin(a))), float(h * (1 - np.cos(a)))) for a in t]
    inside = [(max(x - 0.006, 0.01), y + 0.006) for x, y in outside[::-1]]
    return shapes.lathe([(0, 0), *outside, *inside, (0, 0.006)], 32), (looks.any(),)


def vase(looks: Looks) -> Piece:
    h, r = looks.rng.uniform(0.12, 0.4), looks.rng.uniform(0.03, 0.1)
    knots = looks.rng.uniform(0.4, 1.0, 5)
    y = np.linspace(0, 1, 20)
    radii = r * np.interp(y, np.linspace(0, 1, 5), knots)
    radii = np.convolve(np.pad(radii, 2, "edge"), np.ones(5) / 5, "valid")
    profile = [(0.0, 0.0), *((float(a), float(b * h)) for a, b in zip(radii, y, strict=True))]
    profile += [(float(radii[-1] * 0.85), h), (float(radii[-1] * 0.7), h * 0.9), (0.0, h * 0.9)]
    return shapes.lathe(profile, 32), (looks.any(),)


def fruit(looks: Looks) -> Piece:
    r = looks.rng.uniform(0.025, 0.06)
    squash = looks.rng.uniform(0.8, 1.1, 3)
    mesh = shapes.moved(shapes.ball(r, 24), place(0, r * squash[1], 0, 0, squash))
    return mesh, (looks.paint(),)


def can(looks: Looks) -> Piece:
    r, h = looks.rng.uniform(0.03, 0.06), looks.rng.uniform(0.06, 0.16)
    lid = shapes.at(shapes.cylinder(r * 0.93, 0.002, 28, slot=1), 0, h, 0)
    return shapes.merged([shapes.cylinder(r, h, 28), lid]), (looks.any(), looks.metal())


def ring(looks: Looks) -> Piece:
    r = looks.rng.uniform(0.03, 0.1)
    tube = r * looks.rng.uniform(0.1, 0.4)
    return shapes.at(shapes.torus(r, tube, 36, 12), 0, tube, 0), (looks.any(),)


def cone(looks: Looks) -> Piece:
    return shapes.cylinder(looks.rng.uniform(0.04, 0.1), looks.rng.uniform(0.08, 0.25), 28, top=0), (looks.any(),)


def plant(looks: Looks) -> Piece:
    """A pot with arching leaves, thin and many."""
    r, h = looks.rng.uniform(0.05, 0.14), looks.rng.uniform(0.08, 0.22)
    parts = [shapes.lathe([(0, 0), (0.75 * r, 0), (r, h), (0.88 * r, h), (0.85 * r, 0.9 * h), (0, 0.9 * h)], 24)]
    parts += leaves(looks.rng, int(looks.rng.integers(14, 45)), looks.rng.uniform(0.15, 0.6), 1)
    parts[1:] = [shapes.at(p, 0, 0.9 * h, 0) for p in parts[1:]]
    return shapes.merged(parts), (looks.any(), looks.leaf())


def leaves(rng: np.random.Generator, count: int, length: float, slot: int) -> list[Mesh]:
    """Blades that rise from the origin and bend over."""
    out, t = [], np.linspace(0, 1, 6)
    width = rng.uniform(0.02, 0.12) * length
    for _ in range(count):
        turn, reach, rise = rng.uniform(0, 2 * np.pi), length * rng.uniform(0.3, 0.9), length * rng.uniform(0.5, 1.2)
        bend = rng.uniform(0.2, 1.1)
        spine = np.stack([reach * t**1.3, rise * (t - bend * t**2 * 0.6), 0 * t], 1)
        half = width * np.sin(np.pi * np.clip(t * 0.9 + 0.08, 0, 1))
        blade = shapes.sheet(spine, (0, 0, 1), slot)
        points = blade.positions.reshape(-1, 2, 3)
        points[:, 0, 2], points[:, 1, 2] = -half, half
        out.append(shapes.moved(blade, rotation((0, 1, 0), turn)))
    return out


def desk_lamp(looks: Looks) -> Piece:
    h, reach = looks.rng.uniform(0.3, 0.5), looks.rng.uniform(0.1, 0.25)
    base = shapes.cylinder(0.08, 0.02, 28)
    arm = shapes.tube([[0, 0.02, 0], [-0.06, 0.55 * h, 0], [0.3 * reach, h, 0], [reach, 0.9 * h, 0]], 0.006, 8, 1)
    shade = shapes.at(shapes.lathe([(0.075, -0.09), (0.03, 0.0), (0.0, 0.01)], 28, slot=2), reach, 0.9 * h, 0)
    bulb = shapes.at(shapes.ball(0.025, 14, slot=3), reach, 0.9 * h - 0.06, 0)
    return shapes.merged([base, arm, shade, bulb]), (looks.paint(), looks.metal(), looks.paint(), looks.glowing())


def wire(looks: Looks) -> Piece:
    """A loose cable."""
    n = 40
    steps = np.cumsum(np.cumsum(looks.rng.normal(0, 0.004, (n, 2)), 0), 0)
    path = np.stack([np.linspace(0, 0.4, n) + steps[:, 0], np.full(n, 0.004), steps[:, 1]], 1)
    return shapes.tube(path - path.mean(0) * (1, 0, 1), 0.003, 6), (looks.paint(),)


def rack(looks: Looks) -> Piece:
    """A wire basket."""
    w, d, h = looks.rng.uniform(0.15, 0.35, 3) * (1, 1, 0.6)
    parts = []
    for y in np.linspace(0.01, h, 4):
        loop = [(-w / 2, y, -d / 2), (w / 2, y, -d / 2), (w / 2, y, d / 2), (-w / 2, y, d / 2), (-w / 2, y, -d / 2)]
        parts += [shapes.tube(loop[k : k + 2], 0.003, 6) for k in range(4)]
    for x in np.linspace(-w / 2, w / 2, 9):
        parts += [shapes.tube([(x, 0.01, z), (x, h, z)], 0.002, 5) for z in (-d / 2, d / 2)]
        parts.append(shapes.tube([(x, 0.01, -d / 2), (x, 0.01, d / 2)], 0.002, 5))
    return shapes.merged(parts), (looks.metal(),)


def figure(looks: Looks) -> Piece:
    """A mannequin about 1.7 m tall, of ellipsoids and tubes; scale it for toys."""
    r = looks.rng
    sway = r.normal(0, 0.12, (4, 2))
    parts = [shapes.moved(shapes.ball(1, 24, 0), place(0, 1.56, 0, 0, (0.09, 0.12, 0.1)))]
    parts.append(shapes.moved(shapes.ball(1, 24, 1), place(0, 1.6, -0.02, 0, (0.098, 0.1, 0.108))))
    torso = [(0, 0.85), (0.16, 0.88), (0.15, 1.05), (0.19, 1.3), (0.16, 1.42), (0.05, 1.47), (0.045, 1.52), (0, 1.52)]
    parts.append(shapes.moved(shapes.lathe(torso, 24, slot=2), place(0, 0, 0, 0, (1, 1, 0.65))))
    for k, side in enumerate((-1, 1)):
        hip, knee = np.array([0.09 * side, 0.9, 0]), np.array([0.1 * side, 0.48, 0.1 + sway[k, 0]])
        foot = np.array([0.1 * side, 0.05, sway[k, 0] * 2])
        parts.append(shapes.tube([hip, knee, foot], np.array([0.085, 0.06, 0.045]), 12, 3))
        parts.append(shapes.box((0.09, 0.07, 0.24), foot + (0, -0.015, 0.06), 4))
        shoulder = np.array([0.19 * side, 1.38, 0])
        elbow = shoulder + (0.06 * side, -0.28, sway[k + 2, 0])
        hand = elbow + (sway[k + 2, 1] * 0.5, -0.15 + abs(sway[k + 2, 0]), 0.16)
        parts.append(shapes.tube([shoulder, elbow, hand], np.array([0.055, 0.042, 0.03]), 10, 2))
        parts.append(shapes.moved(shapes.ball(0.045, 12, 0), place(*hand)))
    skin = tuple(float(c) for c in np.array([0.55, 0.33, 0.22]) * r.uniform(0.25, 1.3))
    return shapes.merged(parts), (
        Material((skin[0], skin[1], skin[2]), specular=0.1),
        looks.dark(),
        looks.cloth(),
        looks.cloth(),
        looks.dark(),
    )


SMALL: tuple[Maker, ...] = (
    package, package, book_pile, book_pile, bottle, cup, cup, bowl, vase, fruit, can, ring, cone, plant, desk_lamp, wire, rack,
)  # fmt: skip
