"""Furniture. Each maker gives (mesh, materials): foot at the origin, back towards -z, metres."""

from __future__ import annotations

import numpy as np

from . import shapes
from .clutter import Maker, Piece, book
from .looks import Looks
from .scene import Mesh, place, rotation


def _legs(w: float, d: float, h: float, thick: float, slot: int, round_: bool) -> list[Mesh]:
    spots = [(x * (w / 2 - thick), z * (d / 2 - thick)) for x in (-1, 1) for z in (-1, 1)]
    if round_:
        return [shapes.at(shapes.cylinder(thick / 2, h, 14, slot=slot), x, 0, z) for x, z in spots]
    return [shapes.box((thick, h, thick), (x, h / 2, z), slot) for x, z in spots]


def table(looks: Looks, size: tuple[float, float, float] | None = None) -> Piece:
    """size: width, height, depth."""
    w, h, d = size or looks.rng.uniform((0.7, 0.4, 0.5), (1.8, 0.78, 0.95))
    thick = looks.rng.uniform(0.02, 0.06)
    top = [shapes.box((w, thick, d), (0, h - thick / 2, 0), 0)]
    if looks.rng.random() < 0.2:
        foot = [shapes.cylinder(0.3 * d, 0.03, 28, slot=1), shapes.cylinder(0.04, h - thick, 20, slot=1)]
        top = [
            shapes.at(
                shapes.moved(shapes.cylinder(0.5, thick, 48, slot=0), place(0, 0, 0, 0, (w, 1, d))), 0, h - thick, 0
            )
        ]
        return shapes.merged(top + foot), (looks.wood(), looks.metal())
    legs = _legs(w, d, h - thick, looks.rng.uniform(0.025, 0.08), 1, looks.rng.random() < 0.4)
    apron = [shapes.box((w - 0.12, 0.07, 0.02), (0, h - thick - 0.035, z * (d / 2 - 0.06)), 1) for z in (-1, 1)]
    return shapes.merged(top + legs + apron), (
        looks.wood(),
        looks.wood() if looks.rng.random() < 0.6 else looks.metal(),
    )


def chair(looks: Looks) -> Piece:
    w, h, d = 0.43, looks.rng.uniform(0.42, 0.48), 0.43
    rise = looks.rng.uniform(0.35, 0.55)
    parts = [shapes.box((w, 0.035, d), (0, h, 0), 0), *_legs(w, d, h, 0.035, 1, looks.rng.random() < 0.5)]
    posts = [shapes.box((0.035, rise, 0.03), (x * (w / 2 - 0.02), h + rise / 2, -d / 2 + 0.02), 1) for x in (-1, 1)]
    if looks.rng.random() < 0.5:  # slats: thin bars against the light
        count = int(looks.rng.integers(3, 8))
        xs = np.linspace(-w / 2 + 0.05, w / 2 - 0.05, count)
        posts += [shapes.tube([(x, h, -d / 2 + 0.02), (x, h + rise, -d / 2 + 0.02)], 0.008, 8, 1) for x in xs]
        posts.append(shapes.box((w, 0.05, 0.03), (0, h + rise, -d / 2 + 0.02), 1))
    else:
        posts.append(shapes.box((w, 0.6 * rise, 0.025), (0, h + 0.7 * rise, -d / 2 + 0.03), 0))
    return shapes.merged(parts + posts), (looks.any(), looks.wood() if looks.rng.random() < 0.6 else looks.metal())


def office_chair(looks: Looks) -> Piece:
    parts = [shapes.at(shapes.cylinder(0.025, 0.4, 14, slot=1), 0, 0.06, 0)]
    for k in range(5):
        foot = shapes.tube([(0, 0.1, 0), (0.3, 0.06, 0)], 0.02, 8, 1)
        parts.append(shapes.moved(foot, rotation((0, 1, 0), 2 * np.pi * k / 5)))
    parts.append(shapes.moved(shapes.ball(1, 28, 0), place(0, 0.48, 0, 0, (0.26, 0.06, 0.25))))
    parts.append(shapes.moved(shapes.ball(1, 28, 0), place(0, 0.82, -0.22, 0, (0.23, 0.28, 0.05))))
    parts.append(shapes.tube([(0, 0.45, -0.1), (0, 0.5, -0.28), (0, 0.8, -0.26)], 0.02, 8, 1))
    return shapes.merged(parts), (looks.cloth(), looks.dark())


def sofa(looks: Looks) -> Piece:
    w, d, seat = looks.rng.uniform(0.8, 2.3), looks.rng.uniform(0.75, 0.95), looks.rng.uniform(0.38, 0.46)
    back, arm = looks.rng.uniform(0.7, 0.95), looks.rng.uniform(0.1, 0.25)
    parts = [shapes.box((w, seat - 0.15, d), (0, seat / 2, 0), 0)]
    parts.append(shapes.box((w, back - 0.1, 0.2), (0, back / 2 + 0.05, -d / 2 + 0.1), 0))
    parts += [shapes.box((arm, seat + 0.1, d), (x * (w / 2 - arm / 2), seat / 2 + 0.1, 0), 0) for x in (-1, 1)]
    seats = max(1, round((w - 2 * arm) / 0.65))
    each = (w - 2 * arm) / seats
    for k in range(seats):
        x = -w / 2 + arm + each * (k + 0.5)
        parts.append(pillow((each * 0.98, 0.16, d - 0.24), (x, seat + 0.03, 0.1), 1))
        tilted = shapes.moved(pillow((each * 0.94, 0.42, 0.16), (0, 0, 0), 2), rotation((1, 0, 0), -0.2))
        parts.append(shapes.at(tilted, x, seat + 0.28, -d / 2 + 0.27))
    parts += _legs(w, d, 0.08, 0.05, 3, True)
    return shapes.merged(parts), (looks.cloth(), looks.cloth(), looks.cloth(), looks.wood())


def pillow(size: tuple[float, float, float], center: tuple[float, float, float], slot: int) -> Mesh:
    """A soft box: a superellipsoid, smooth."""
    u, v = np.linspace(-np.pi, np.pi, 33), np.linspace(-np.pi / 2, np.pi / 2, 17)
    power = 0.35

    def bent(a: np.ndarray) -> np.ndarray:
        return np.sign(a) * np.abs(a) ** power

    cu, su, cv, sv = bent(np.cos(u)), bent(np.sin(u)), bent(np.cos(v)), bent(np.sin(v))
    p = np.stack([cv[:, None] * cu[None], np.broadcast_to(sv[:, None], (17, 33)), -cv[:, None] * su[None]], -1)
    n = np.sign(p) * np.abs(p) ** (2 / power - 1) / (np.asarray(size) / 2)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-12)
    n[0], n[-1] = (0, -1, 0), (0, 1, 0)
    points = (p * np.asarray(size) / 2 + np.asarray(center)).reshape(-1, 3).astype(np.float32)
    k = np.arange(17 * 33, dtype=np.int32).reshape(17, 33)
    a, b, c, d = k[:-1, :-1].ravel(), k[:-1, 1:].ravel(), k[1:, 1:].ravel(), k[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    uvs = (points[:, [0, 2]] + points[:, [1]]).astype(np.float32)
    return Mesh(points, faces, n.reshape(-1, 3).astype(np.float32), uvs, np.full(len(faces), slot, np.int32), True)


def bed(looks: Looks) -> Piece:
    w, d, h = looks.rng.uniform(0.9, 1.8), 2.0, looks.rng.uniform(0.25, 0.4)
    parts = [shapes.box((w, h, d), (0, h / 2, 0), 0), shapes.box((w, 0.6, 0.06), (0, h + 0.2, -d / 2), 0)]
    parts.append(pillow((w * 0.99, 0.3, d * 0.98), (0, h + 0.06, 0.01), 1))
    for x in (-0.25, 0.25) if w > 1.3 else (0,):
        parts.append(pillow((0.55, 0.16, 0.38), (x * w, h + 0.26, -d / 2 + 0.28), 2))
    parts.append(shapes.box((w * 1.02, 0.02, d * 0.45), (0, h + 0.215, d * 0.22), 3))
    return shapes.merged(parts), (looks.wood(), looks.cloth(), looks.white(), looks.cloth())


def shelf(looks: Looks) -> Piece:
    """Open shelves with books and gaps."""
    w, h, d = looks.rng.uniform(0.5, 1.6), looks.rng.uniform(0.8, 2.1), looks.rng.uniform(0.22, 0.36)
    t, rows = 0.02, int(looks.rng.integers(2, 6))
    parts = [shapes.box((t, h, d), (x * (w - t) / 2, h / 2, 0), 0) for x in (-1, 1)]
    parts += [shapes.box((w, t, d), (0, y, 0), 0) for y in np.linspace(t / 2, h - t / 2, rows + 1)]
    if looks.rng.random() < 0.6:
        parts.append(shapes.box((w, h, 0.008), (0, h / 2, -d / 2), 0))
    materials = [looks.wood(), looks.white(), *(looks.any() for _ in range(8))]
    for y in np.linspace(t / 2, h - t / 2, rows + 1)[:-1]:
        parts += _row_of_books(looks.rng, w - 2 * t, (h - t) / rows - t, d, y + t / 2)
    return shapes.merged(parts), tuple(materials)


def _row_of_books(rng: np.random.Generator, width: float, room: float, depth: float, y: float) -> list[Mesh]:
    """Spines outward, slots 2.. for covers; ends somewhere or has a gap."""
    out, x, end = [], -width / 2 + rng.uniform(0, 0.3) * width, width / 2 * rng.uniform(0.2, 1)
    while True:
        thick, tall, deep = (
            rng.uniform(0.012, 0.05),
            rng.uniform(0.55, 0.95) * min(room, 0.34),
            rng.uniform(0.6, 0.95) * depth,
        )
        if x + thick > end:
            return out
        if rng.random() < 0.06:
            x += rng.uniform(0.03, 0.15)
            continue
        z = -depth / 2 + 0.01 + deep / 2
        out.append(shapes.box((thick * 0.97, tall, deep), (x + thick / 2, y + tall / 2, z), int(rng.integers(2, 10))))
        x += thick


def cabinet(looks: Looks) -> Piece:
    w, h, d = looks.rng.uniform((0.4, 0.5, 0.35), (1.6, 2.1, 0.6))
    columns, rows = max(1, round(w / 0.5)), max(1, round(h / looks.rng.uniform(0.25, 1.0)))
    parts = [shapes.box((w, h, d), (0, h / 2, 0), 0)]
    for c in range(columns):
        for r in range(rows):
            x, y = -w / 2 + w * (c + 0.5) / columns, h * (r + 0.5) / rows
            parts.append(shapes.box((w / columns - 0.012, h / rows - 0.012, 0.018), (x, y, d / 2 + 0.009), 1))
            parts.append(shapes.box((0.1, 0.012, 0.02), (x, y + 0.3 * h / rows, d / 2 + 0.028), 2))
    front = looks.wood() if looks.rng.random() < 0.5 else looks.paint()
    return shapes.merged(parts), (looks.wood(), front, looks.metal())


def screen(looks: Looks) -> Piece:
    """A television or monitor on a foot; most are off, dark and glossy."""
    w = looks.rng.uniform(0.45, 1.3)
    h = w * 0.58
    parts = [shapes.box((w, h, 0.03), (0, 0.1 + h / 2, 0), 0), shapes.box((0.06, 0.1, 0.03), (0, 0.05, -0.02), 0)]
    parts.append(shapes.box((0.4 * w, 0.012, 0.2), (0, 0.006, 0), 0))
    inner = (w - 0.03, h - 0.03)
    parts.append(shapes.quad((-inner[0] / 2, 0.115, 0.0155), (inner[0], 0, 0), (0, inner[1], 0), 1))
    picture = looks.print(*inner) if looks.rng.random() < 0.4 else looks.dark()
    return shapes.merged(parts), (looks.dark(), picture)


def floor_lamp(looks: Looks) -> Piece:
    h = looks.rng.uniform(1.2, 1.8)
    shade = shapes.lathe([(0.2, h - 0.15), (0.12, h + 0.12)], 32, slot=1)
    parts = [shapes.cylinder(0.14, 0.025, 28), shapes.tube([(0, 0, 0), (0, h, 0)], 0.011, 10), shade]
    parts.append(shapes.at(shapes.ball(0.05, 16, slot=2), 0, h - 0.02, 0))
    return shapes.merged(parts), (looks.metal(), looks.cloth(), looks.glowing(4))


def ladder(looks: Looks) -> Piece:
    h, w = looks.rng.uniform(1.2, 2.2), 0.4
    parts = [shapes.tube([(x * w / 2, 0, 0.35), (x * w / 2 * 0.8, h, 0)], 0.018, 8) for x in (-1, 1)]
    parts += [shapes.tube([(x * w / 2, 0, -0.35), (x * w / 2 * 0.8, h, 0)], 0.014, 8) for x in (-1, 1)]
    for t in np.linspace(0.12, 0.95, 6):
        x, z = w / 2 * (1 - 0.2 * t), 0.35 * (1 - t)
        parts.append(shapes.tube([(-x, h * t, z), (x, h * t, z)], 0.014, 8))
    return shapes.merged(parts), (looks.metal(),)


def clothes_rack(looks: Looks) -> Piece:
    w, h = looks.rng.uniform(0.7, 1.3), 1.6
    parts = [shapes.tube([(-w / 2, h, 0), (w / 2, h, 0)], 0.012, 8)]
    for x in (-w / 2, w / 2):
        parts += [
            shapes.tube([(x, 0.02, 0), (x, h, 0)], 0.012, 8),
            shapes.tube([(x, 0.02, -0.25), (x, 0.02, 0.25)], 0.012, 8),
        ]
    materials = [looks.metal()]
    for k, x in enumerate(looks.rng.uniform(-w / 2 + 0.05, w / 2 - 0.05, int(looks.rng.integers(2, 9)))):
        z = np.linspace(-0.2, 0.2, 14)
        fold = np.stack([x + 0.02 * np.sin(20 * z + k), np.full(14, h - 0.12), z], 1)
        parts.append(shapes.sheet(fold, (0, -looks.rng.uniform(0.5, 1.1), 0), k + 1))
        parts.append(shapes.tube([(x, h, 0), (x, h - 0.06, 0)], 0.003, 5))
        materials.append(looks.cloth())
    return shapes.merged(parts), tuple(materials)


def single_book(looks: Looks) -> Piece:
    return book(0.15, 0.03, 0.22, 0), (looks.any(), looks.white())


AGAINST_WALL: tuple[Maker, ...] = (sofa, bed, shelf, shelf, cabinet, cabinet, table, floor_lamp, ladder, clothes_rack)
FREE: tuple[Maker, ...] = (table, chair, chair, office_chair, sofa)
