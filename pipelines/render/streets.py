"""Streets: facades, cars, poles, wires, trees, signs, people; seen by a driver, a walker or from a window."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from . import shapes
from .arrange import outdoor_light
from .clutter import Piece, figure
from .looks import Looks
from .scene import Material, Mesh, Motion, Scene, place, rotation
from .vegetation import bush, tree


def street(looks: Looks) -> Scene:
    """A straight street along z, 160 m, the driver looking towards -z."""
    r = looks.rng
    lanes, walk = float(r.uniform(6, 13)), float(r.uniform(1.2, 4))
    scene = Scene(fov=(45, 100))
    _road(scene, looks, lanes, walk)
    for side in (-1, 1):
        if r.random() < 0.8:
            _facades(scene, looks, side, lanes / 2 + walk)
        _row(scene, looks, side, lanes / 2 + 0.5, walk)
    _traffic(scene, looks, lanes)
    if r.random() < 0.5:
        _wires(scene, looks, lanes / 2 + 0.5)
    scene.lighting = outdoor_light(looks)
    lane = lanes / 4
    scene.eyes = [np.array([[lane - 0.5, 1.2, 40], [lane + 0.5, 2.2, 70]])] * 3
    scene.eyes.append(np.array([[lanes / 2, 1.3, 20], [lanes / 2 + walk - 0.4, 1.9, 70]]))
    scene.interest = [np.array([r.uniform(-3, 3), r.uniform(0.5, 2.5), -60.0]) for _ in range(5)]
    scene.interest += [np.array([r.uniform(-lanes, lanes), 1.5, r.uniform(0, 30)]) for _ in range(2)]
    scene.drive = (0.0, 0.0, -float(r.uniform(2, 14)))
    return scene


def _road(scene: Scene, looks: Looks, lanes: float, walk: float) -> None:
    r = looks.rng
    scene.add(shapes.quad((-lanes / 2, 0, 90), (lanes, 0, 0), (0, 0, -260)), looks.ground())
    pavement, verge = looks.ground(), looks.meadow()
    for side in (-1, 1):
        scene.add(shapes.box((walk, 0.14, 260), (side * (lanes + walk) / 2, 0.07, -40)), pavement)
        scene.add(shapes.box((60, 0.1, 260), (side * (lanes / 2 + walk + 30), 0.05, -40)), verge)
    if r.random() < 0.8:
        dash = [shapes.quad((-0.07, 0.006, z), (0.14, 0, 0), (0, 0, -2.5)) for z in np.arange(85, -160, -6.0)]
        scene.add(shapes.merged(dash), looks.white())
    if r.random() < 0.4:
        bars = [
            shapes.quad((x, 0.007, 30), (0.5, 0, 0), (0, 0, -3))
            for x in np.arange(-lanes / 2 + 0.5, lanes / 2 - 0.5, 1.0)
        ]
        scene.add(shapes.merged(bars), looks.white())


def _facades(scene: Scene, looks: Looks, side: int, start: float) -> None:
    z, r = 80.0, looks.rng
    while z > -120:
        w, h, gap = float(r.uniform(6, 20)), float(r.uniform(3.5, 22)), float(r.choice([0, 0, 0, 2, 6]))
        if r.random() < 0.9:
            setback = float(r.choice([0, 0, 0.5, 3])) * float(r.uniform(0.5, 1.5))
            where = place(side * (start + setback), 0, z - w / 2, -side * np.pi / 2)
            scene.add(*house(looks, w, h), where)
        z -= w + gap


def house(looks: Looks, w: float, h: float) -> Piece:
    """A block whose front is the plane z = 0, towards +z, with windows set in, a door, ledges, perhaps a pitched roof."""
    r = looks.rng
    floors, columns = max(1, int(h / r.uniform(2.7, 3.8))), max(1, int(w / r.uniform(1.6, 3.5)))
    fh, cw = h / floors, w / columns
    ww, wh = cw * r.uniform(0.35, 0.75), fh * r.uniform(0.4, 0.7)
    depth = float(r.uniform(0.08, 0.25))
    parts = [shapes.box((w, h, 8), (0, h / 2, -4 - depth), 0)]
    for k in range(columns + 1):  # piers and bands stand before the glass: windows are truly set in
        width = cw - ww if 0 < k < columns else (cw - ww) / 2
        x = -w / 2 + k * cw + (width / 2 if k == 0 else -width / 2 if k == columns else 0)
        parts.append(shapes.box((width, h, depth), (x, h / 2, -depth / 2), 0))
    for k in range(floors + 1):
        tall = fh - wh if 0 < k < floors else (fh - wh) / 2
        y = k * fh + (tall / 2 if k == 0 else -tall / 2 if k == floors else 0)
        parts.append(shapes.box((w, tall, depth), (0, y, -depth / 2), 0))
        if r.random() < 0.4:
            parts.append(shapes.box((w, 0.12, 0.2), (0, min(k * fh, h), 0.05), 2))
    for c in range(columns):
        for f in range(floors):
            x, y = -w / 2 + (c + 0.5) * cw, (f + 0.5) * fh
            parts.append(shapes.quad((x - ww / 2, y - wh / 2, -depth + 0.01), (ww, 0, 0), (0, wh, 0), 1))
            parts.append(shapes.box((0.05, wh, 0.04), (x, y, -depth + 0.03), 2))
            if f > 0 and r.random() < 0.08:
                parts += _balcony(x, y - wh / 2, ww)
    parts.append(shapes.box((1.0, 2.1, 0.1), (float(r.uniform(-w / 3, w / 3)), 1.05, 0.0), 3))
    if r.random() < 0.4:
        parts.append(_roof(w, h, float(r.uniform(1, 3.5))))
    return shapes.merged(parts), (looks.facade(), _glass(looks), looks.white(), looks.paint(), looks.ground())


def _balcony(x: float, y: float, w: float) -> list[Mesh]:
    rail = [shapes.box((w * 1.3, 0.1, 1.0), (x, y, 0.5), 2), shapes.box((w * 1.3, 0.04, 0.04), (x, y + 1.0, 0.98), 2)]
    return rail + [
        shapes.box((0.025, 1.0, 0.025), (u, y + 0.5, 0.98), 2) for u in np.linspace(x - 0.62 * w, x + 0.62 * w, 9)
    ]


def _roof(w: float, h: float, rise: float) -> Mesh:
    front = shapes.quad((-w / 2 - 0.2, h, 0.3), (w + 0.4, 0, 0), (0, rise, -4.4), 4)
    return shapes.merged([front, shapes.quad((w / 2 + 0.2, h, -8.5), (-w - 0.4, 0, 0), (0, rise, 4.4), 4)])


def _glass(looks: Looks) -> Material:
    return replace(looks.dark(), mirror=float(looks.rng.uniform(0.05, 0.4)), roughness=0.05)


def car(looks: Looks) -> Piece:
    """Along z, nose at -z: a body lofted along its length, wheels, windows, lamps."""
    r = looks.rng
    length, w, h = r.uniform((3.4, 1.6, 1.3), (5.0, 1.95, 2.1))
    boxy = r.random() < 0.35
    roof = [0.95, 1, 1, 0.98] if boxy else [0.6, 0.98, 1, 0.68]
    hood = 0.55 * h
    z = length * np.array([-0.5, -0.48, -0.28, -0.12, 0.22, 0.38, 0.49, 0.5])
    top = np.array(
        [0.3 * h, 0.45 * h, hood, h * roof[1], h * roof[2], h * roof[3], 0.6 * h if not boxy else h * 0.9, 0.35 * h]
    )
    parts = [_loft(z, np.full(8, 0.18 * h), np.minimum(top, hood * 1.02), w / 2, 0)]
    cabin = slice(2, 7)
    parts.append(_loft(z[cabin], np.full(5, 0.9 * hood), np.maximum(top[cabin], hood), w / 2 * 0.88, 1))
    parts.append(shapes.box((w * 0.74, 0.03, length * 0.3), (0, h * 1.0, 0.05 * length), 0))
    wheel = shapes.moved(shapes.cylinder(0.19 * length / 2.6, 0.2, 24, slot=2), _lying())
    hub = shapes.moved(shapes.cylinder(0.11 * length / 2.6, 0.21, 16, slot=3), _lying())
    for x in (-w / 2 + 0.04, w / 2 - 0.04):
        for at in (-0.31, 0.31):
            parts += [shapes.at(m, x, 0.19 * length / 2.6, at * length) for m in (wheel, hub)]
    for x in (-0.36, 0.36):
        parts.append(shapes.box((0.25, 0.1, 0.04), (x * w, 0.42 * h, -length / 2), 3))
        parts.append(shapes.box((0.2, 0.12, 0.04), (x * w, 0.45 * h, length / 2), 4))
    paint = replace(looks.paint(), specular=0.6, roughness=0.15, mirror=0.05)
    red = replace(looks.paint(), color=(0.5, 0.02, 0.02))
    return shapes.merged(parts), (paint, _glass(looks), looks.dark(), looks.metal(), red)


def _lying() -> np.ndarray:
    return rotation((0, 0, 1), np.pi / 2) @ place(0, -0.1, 0)


def _loft(z: np.ndarray, low: np.ndarray, high: np.ndarray, half: float, slot: int) -> Mesh:
    """A closed hull of rectangular sections along z, sides drawn in a little towards the top."""
    rings = np.stack(
        [
            np.stack([np.full_like(z, -half), low, z], 1),
            np.stack([np.full_like(z, half), low, z], 1),
            np.stack([np.full_like(z, half * 0.9), high, z], 1),
            np.stack([np.full_like(z, -half * 0.9), high, z], 1),
        ],
        1,
    )  # [n,4,3]
    n, faces = len(z), []
    at = np.arange(4 * n).reshape(n, 4)
    for k in range(n - 1):
        for a in range(4):
            b = (a + 1) % 4
            faces += [(at[k, a], at[k + 1, b], at[k, b]), (at[k, a], at[k + 1, a], at[k + 1, b])]
    faces += [(at[0, 0], at[0, 1], at[0, 2]), (at[0, 0], at[0, 2], at[0, 3])]
    faces += [(at[-1, 2], at[-1, 1], at[-1, 0]), (at[-1, 3], at[-1, 2], at[-1, 0])]
    triangles = np.array(faces, np.int32)[:, ::-1].copy()
    points = rings.reshape(-1, 3).astype(np.float32)
    return Mesh(points, triangles, None, points[:, [2, 1]].copy(), np.full(len(triangles), slot, np.int32))


def _traffic(scene: Scene, looks: Looks, lanes: float) -> None:
    r = looks.rng
    models = [car(looks) for _ in range(int(r.integers(2, 5)))]
    for side in (-1, 1):
        for z in np.arange(75, -110, -float(r.uniform(5.5, 14))):  # parked
            if r.random() < 0.5:
                mesh, _ = models[r.integers(len(models))]
                scene.add(
                    mesh,
                    car(looks)[1],
                    place(side * (lanes / 2 - 1.1), 0, z + r.normal(0, 0.5), float(r.choice([0, np.pi]))),
                )
    for _ in range(int(r.integers(0, 6))):
        side, z = (-1, float(r.uniform(-80, 35))) if r.random() < 0.6 else (1, float(r.uniform(-80, 28)))
        speed = float(r.uniform(3, 12))
        placed = scene.add(*models[r.integers(len(models))], place(side * lanes / 4, 0, z, np.pi if side < 0 else 0.0))
        scene.move(placed, Motion(velocity=(0.0, 0.0, -side * speed)))


def _row(scene: Scene, looks: Looks, side: int, x: float, walk: float) -> None:
    """What stands along the kerb: trees, lamp posts, signs, posts, bins, people."""
    r = looks.rng
    trees, lamp = [tree(looks) for _ in range(2)], lamp_post(looks)
    step = float(r.uniform(5, 14))
    kinds = r.choice(["tree", "lamp", "sign", "post", "bush", "none"], 3)
    for k, z in enumerate(np.arange(78, -110, -step)):
        kind = kinds[k % 3]
        where = place(side * x, 0.12, z, float(np.pi if side > 0 else 0))
        if kind == "tree":
            turn = place(side * x, 0.1, z, float(r.uniform(0, 6)), float(r.uniform(0.7, 1.2)))
            scene.add(*trees[r.integers(2)], turn)
        elif kind == "lamp":
            scene.add(*lamp, where)
        elif kind == "sign":
            scene.add(*sign(looks), place(side * x, 0.12, z))
        elif kind == "bush":
            scene.add(*bush(looks), where)
        elif kind == "post":
            scene.add(shapes.cylinder(0.06, 0.9, 16), looks.paint(), where)
    for _ in range(int(r.integers(0, 7))):
        at = place(side * (x + r.uniform(0, walk)), 0.14, float(r.uniform(-40, 60)), float(r.uniform(0, 6)))
        placed = scene.add(*figure(looks), at)
        if r.random() < 0.7:
            scene.move(placed, Motion(velocity=(0.0, 0.0, float(r.normal(0, 1.2)))))


def lamp_post(looks: Looks) -> Piece:
    h, reach = float(looks.rng.uniform(4, 9)), float(looks.rng.uniform(0.4, 2.0))
    bend = [(0, 0, 0), (0, 0.8 * h, 0), (0.25 * reach, 0.96 * h, 0), (reach, h, 0)]
    head = shapes.box((0.5, 0.1, 0.2), (reach, h - 0.05, 0), 0)
    return shapes.merged([shapes.tube(bend, np.array([0.09, 0.06, 0.05, 0.04]), 12), head]), (looks.metal(),)


def sign(looks: Looks) -> Piece:
    h = float(looks.rng.uniform(1.8, 3.2))
    post = shapes.tube([(0, 0, 0), (0, h, 0)], 0.03, 10)
    if looks.rng.random() < 0.5:
        w, tall = looks.rng.uniform(0.4, 1.2, 2)
        plate = shapes.box((w, tall, 0.02), (0, h, 0.03), 1)
        face = shapes.quad((-w / 2, h - tall / 2, 0.045), (w, 0, 0), (0, tall, 0), 2)
        return shapes.merged([post, plate, face]), (looks.metal(), looks.metal(), looks.print(w, tall))
    disc = shapes.moved(shapes.cylinder(0.32, 0.02, 32, slot=1), rotation((1, 0, 0), np.pi / 2))
    return shapes.merged([post, shapes.at(disc, 0, h, 0.04)]), (looks.metal(), looks.paint())


def _wires(scene: Scene, looks: Looks, x: float) -> None:
    """Cables that sag between poles."""
    h, z = float(looks.rng.uniform(5, 8)), np.arange(80, -110, -22.0)
    pole = shapes.merged([shapes.cylinder(0.13, h, 14, 0.09), shapes.box((1.6, 0.1, 0.1), (0, h - 0.3, 0))])
    wood = looks.bark()
    for at in z:
        scene.add(pole, wood, place(x, 0, at))
    t = np.linspace(0, 1, 12)
    spans = []
    for offset in (-0.7, 0, 0.7):
        for a, b in pairwise(z):
            sag = h - 0.2 - 2.4 * t * (1 - t)
            spans.append(shapes.tube(np.stack([np.full(12, x + offset), sag, a + (b - a) * t], 1), 0.012, 5))
    scene.add(shapes.merged(spans), looks.dark())
