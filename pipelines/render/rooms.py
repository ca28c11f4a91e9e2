"""Rooms and corridors, furnished at random."""

from __future__ import annotations

import numpy as np

from . import furniture, shapes
from .arrange import Floor, footprint, indoor_light, scatter, set_moving
from .clutter import SMALL, Piece, figure
from .looks import Looks
from .scene import Material, Mesh, Scene, place, rotation


def room(looks: Looks) -> Scene:
    """A furnished room about the origin, floor at y = 0: furniture along the walls and free, pictures, windows, clutter."""
    r = looks.rng
    w, h, d = r.uniform((2.6, 2.3, 2.8), (6.5, 3.3, 8.0))
    scene = Scene(fov=(45, 95))
    window = shell(scene, looks, w, h, d)
    floor = Floor(-w / 2, w / 2, -d / 2, d / 2)
    line_walls(scene, looks, floor, w, d, int(r.integers(5, 16)))
    loose = []
    for _ in range(int(r.integers(0, 7))):
        piece = furniture.FREE[r.integers(len(furniture.FREE))](looks)
        spot = floor.free_spot(r, footprint(piece))
        if spot is not None:
            scene.add(*piece, place(spot[0], 0, spot[1], float(r.uniform(0, 2 * np.pi))))
            top_clutter(scene, looks, piece, spot, 0.0)
    loose += scatter(scene, looks, floor, 0, int(r.integers(0, 10)), scale=(0.8, 2.5), found=(0.2, 0.9))
    if r.random() < 0.3:
        loose += scatter(scene, looks, floor, 0, 1, (figure,), (0.9, 1.05))
    if r.random() < 0.4:
        rug = (float(r.uniform(1, min(w, 3))), 0.012, float(r.uniform(1, min(d, 3))))
        scene.add(shapes.box(rug), looks.cloth(), place(0, 0.006, 0, float(r.choice([0, 0.3]))))
    lamps = ceiling_lamps(scene, looks, w, h, d)
    set_moving(scene, r, loose, 0.5, 0.3)
    scene.lighting = indoor_light(r, lamps, window, w * d)
    scene.eyes = [np.array([[-w / 2 + 0.3, 0.5, -d / 2 + 0.3], [w / 2 - 0.3, min(1.9, h - 0.3), d / 2 - 0.3]])]
    scene.interest += [
        np.array([x, r.uniform(0.1, 1.4), z]) for x, z in r.uniform((-w / 2, -d / 2), (w / 2, d / 2), (8, 2))
    ]
    return scene


def corridor(looks: Looks) -> Scene:
    """A long passage with doors, pipes under the ceiling, lamps in a row and things along the walls."""
    r = looks.rng
    w, h, d = r.uniform((1.4, 2.2, 8), (3.0, 3.2, 25))
    scene = Scene(fov=(45, 90))
    shell(scene, looks, w, h, d, windows=0)
    doors(scene, looks, w, d)
    for _ in range(int(r.integers(0, 5))):
        x, y, radius = r.uniform(-w / 2, w / 2), h - r.uniform(0.05, 0.3), r.uniform(0.01, 0.08)
        scene.add(shapes.tube([(x, y, -d / 2), (x, y, d / 2)], radius, 12), looks.any())
    side = Floor(-w / 2, -w / 2 + 0.5, -d / 2, d / 2)
    scatter(scene, looks, side, 0, int(r.integers(0, 10)), (*SMALL, furniture.chair, furniture.ladder), (1, 1.5))
    walkers = scatter(
        scene, looks, Floor(-w / 2, w / 2, -d / 2, d / 2), 0, int(r.integers(0, 3)), (figure,), (0.9, 1.1)
    )
    set_moving(scene, r, walkers, 0.8, 0.6)
    lamps = [np.array([0, h - 0.15, z]) for z in np.linspace(-d / 2 + 1, d / 2 - 1, 5)]
    panel = looks.glowing(5)
    for lamp in lamps:
        scene.add(shapes.box((0.25, 0.03, 1.0)), panel, place(lamp[0], h - 0.015, lamp[2]))
    scene.lighting = indoor_light(r, lamps, None, w * d)
    scene.eyes = [np.array([[-w / 4, 0.9, d / 4], [w / 4, 1.8, d / 2 - 0.3]])]
    scene.interest = [np.array([r.uniform(-w / 3, w / 3), r.uniform(0.7, 1.7), -d / 2]) for _ in range(4)]
    scene.drive = (0.0, 0.0, -float(r.uniform(0.5, 1.8)))
    return scene


def shell(scene: Scene, looks: Looks, w: float, h: float, d: float, windows: int | None = None) -> np.ndarray | None:
    """Floor, ceiling and walls, windows cut through some. Returns the direction out of a window, if there is one."""
    r = looks.rng
    scene.add(shapes.quad((-w / 2, 0, d / 2), (w, 0, 0), (0, 0, -d)), looks.floor())
    scene.add(
        shapes.quad((-w / 2, h, -d / 2), (w, 0, 0), (0, 0, d)), looks.white() if r.random() < 0.8 else looks.wall()
    )
    paper = looks.wall()
    wanted = int(r.integers(0, 3)) if windows is None else windows
    with_window = set(r.permutation(4)[:wanted].tolist())
    doorway = int(r.integers(4)) if windows is None and r.random() < 0.45 else -1
    out = None
    for k in range(4):
        length, away = (w, d / 2) if k % 2 == 0 else (d, w / 2)
        turn = rotation((0, 1, 0), k * np.pi / 2)
        material = paper if r.random() < 0.8 else looks.wall()
        if k == doorway and k not in with_window:
            _next_room(scene, looks, length, h, material, turn @ place(0, 0, -away))
            continue
        parts, materials = _wall(looks, length, h, k in with_window)
        for mesh, worn in zip(parts, (material, *materials), strict=True):
            scene.add(mesh, worn, turn @ place(0, 0, -away))
        if k in with_window:
            out = -turn[:3, 2]
        elif r.random() < 0.8:
            _pictures(scene, looks, length, h, turn @ place(0, 0, -away + 0.012))
    return out


def _wall(looks: Looks, length: float, h: float, window: bool) -> tuple[list[Mesh], list]:
    """A wall in the plane z = 0 that faces +z: [wall, frame, curtains]; and the materials of frame and curtains."""
    r = looks.rng
    skirting = shapes.box((length, float(r.uniform(0.04, 0.14)), 0.015), (0, 0.05, 0.008))
    if not window:
        whole = shapes.quad((-length / 2, 0, 0), (length, 0, 0), (0, h, 0))
        return [whole, skirting], [looks.white() if r.random() < 0.7 else looks.wood()]
    ww, wh = r.uniform(0.6, 0.7 * length), r.uniform(0.7, h - 1.1)
    x, y = r.uniform(-length / 2 + 0.1, length / 2 - ww - 0.1), r.uniform(0.6, h - wh - 0.15)
    pieces = [
        ((-length / 2, 0), (length, y)),
        ((-length / 2, y + wh), (length, h - y - wh)),
        ((-length / 2, y), (x + length / 2, wh)),
        ((x + ww, y), (length / 2 - x - ww, wh)),
    ]
    wall = shapes.merged([shapes.quad((a, b, 0), (c, 0, 0), (0, e, 0)) for (a, b), (c, e) in pieces])
    bars = [shapes.box((ww + 0.08, 0.05, 0.12), (x + ww / 2, v, -0.04)) for v in (y, y + wh)]
    bars += [
        shapes.box((0.05, wh, 0.12), (x + u, y + wh / 2, -0.04)) for u in np.linspace(0, ww, int(r.integers(2, 5)))
    ]
    parts, materials = [wall, shapes.merged([*bars, skirting])], [looks.white() if r.random() < 0.7 else looks.wood()]
    if r.random() < 0.5:
        parts.append(shapes.merged([_curtain(r, x + u, min(y + wh + 0.15, h - 0.02)) for u in (-0.1, ww - 0.15)]))
        materials.append(looks.cloth())
    return parts, materials


def _next_room(scene: Scene, looks: Looks, length: float, h: float, paper: Material, wall: np.ndarray) -> None:
    """A wall with a doorway, perhaps its door ajar, and what it leads to: another room with furniture at its back."""
    r = looks.rng
    dw, dh, deep = float(r.uniform(0.8, min(1.8, length - 0.6))), 2.05, float(r.uniform(1.5, 5))
    x = float(r.uniform(-length / 2 + 0.2, length / 2 - dw - 0.2))
    pieces = [((-length / 2, 0), (x + length / 2, h)), ((x + dw, 0), (length / 2 - x - dw, h)), ((x, dh), (dw, h - dh))]
    scene.add(shapes.merged([shapes.quad((a, b, 0), (c, 0, 0), (0, e, 0)) for (a, b), (c, e) in pieces]), paper, wall)
    frame = [shapes.box((0.07, dh, 0.16), (u, dh / 2, -0.05)) for u in (x, x + dw)]
    frame.append(shapes.box((dw + 0.07, 0.07, 0.16), (x + dw / 2, dh, -0.05)))
    scene.add(shapes.merged(frame), looks.white() if r.random() < 0.6 else looks.wood(), wall)
    if r.random() < 0.4 and dw < 1.1:
        leaf = shapes.box((dw, dh - 0.02, 0.04), (dw / 2, dh / 2, 0))
        scene.add(leaf, looks.wood(), wall @ place(x, 0, 0.03, -float(r.uniform(0.3, 2.2))))
    left, right, back = x - float(r.uniform(0.1, 1.5)), x + dw + float(r.uniform(0.1, 1.5)), -0.1 - deep
    floor, paint = looks.floor(), looks.wall()
    wide = right - left
    scene.add(shapes.quad((left, 0, 0), (wide, 0, 0), (0, 0, back)), floor, wall)
    scene.add(shapes.quad((left, h, back), (wide, 0, 0), (0, 0, -back)), looks.white(), wall)
    sides = [
        shapes.quad((left, 0, -0.1), (0, 0, back + 0.1), (0, h, 0)),
        shapes.quad((left, 0, back), (wide, 0, 0), (0, h, 0)),
    ]
    sides.append(shapes.quad((right, 0, back), (0, 0, -back - 0.1), (0, h, 0)))
    scene.add(shapes.merged(sides), paint, wall)
    piece = furniture.AGAINST_WALL[r.integers(len(furniture.AGAINST_WALL))](looks)
    scene.add(*piece, wall @ place((left + right) / 2, 0, back - float(piece[0].bounds[0, 2]) + 0.03))


def _curtain(r: np.random.Generator, x: float, top: float) -> Mesh:
    u = np.linspace(0, float(r.uniform(0.25, 0.5)), 40)
    fold = np.stack([x + u, np.full(40, top), 0.1 + 0.03 * np.sin(u * r.uniform(40, 70))], 1)
    return shapes.sheet(fold, (0, 0.05 - top, 0))


def _pictures(scene: Scene, looks: Looks, length: float, h: float, wall: np.ndarray) -> None:
    for _ in range(int(looks.rng.integers(1, 4))):
        w, tall = looks.rng.uniform(0.2, 1.1), looks.rng.uniform(0.2, 0.9)
        x, y = (
            looks.rng.uniform(-length / 2 + w, max(length / 2 - w, w - length / 2 + 0.01)),
            looks.rng.uniform(1.2, h - 0.5),
        )
        picture = shapes.quad((-w / 2, -tall / 2, 0.013), (w, 0, 0), (0, tall, 0), 1)
        frame = shapes.box((w + 0.06, tall + 0.06, 0.024), (0, 0, 0), 0)
        frame_look = looks.wood() if looks.rng.random() < 0.5 else looks.dark()
        scene.add(shapes.merged([frame, picture]), (frame_look, looks.print(w, tall)), wall @ place(x, y, 0))


def line_walls(scene: Scene, looks: Looks, floor: Floor, w: float, d: float, count: int) -> None:
    """Furniture with its back to the walls, clutter on top of what is low enough."""
    r = looks.rng
    for _ in range(count):
        piece = furniture.AGAINST_WALL[r.integers(len(furniture.AGAINST_WALL))](looks)
        low, high = piece[0].bounds
        radius, back = float(high[0] - low[0]) / 2, -float(low[2])
        k = int(r.integers(4))
        length, away = (w, d / 2) if k % 2 == 0 else (d, w / 2)
        if 2 * radius > length - 0.2:
            continue
        along, turn = r.uniform(-length / 2 + radius, length / 2 - radius), k * np.pi / 2
        x, _, z = (rotation((0, 1, 0), turn) @ (along, 0, -away + back + 0.03, 1))[:3]
        if any(np.hypot(x - p[0], z - p[1]) < 0.9 * (radius + q) for p, q in floor.taken):
            continue
        floor.take(x, z, radius)
        scene.add(*piece, place(x, 0, z, turn))
        scene.interest.append(np.array([x, 0.6 * high[1], z]))
        top_clutter(scene, looks, piece, np.array([x, z]), turn)


def top_clutter(scene: Scene, looks: Looks, piece: Piece, spot: np.ndarray, turn: float) -> None:
    """Things on a piece of furniture that a hand can reach the top of: small ones, sometimes a screen."""
    low, high = piece[0].bounds
    if not 0.35 < high[1] < 1.3 or looks.rng.random() < 0.2:
        return
    half = 0.8 * (high - low) / 2
    surface = Floor(-half[0], half[0], -half[2], half[2])
    makers = (*SMALL, furniture.screen) if half[0] > 0.4 else SMALL
    before = len(scene.instances)
    scatter(scene, looks, surface, 0, int(looks.rng.integers(1, 7)), makers, found=(0.1, 0.35))
    to_top = place(spot[0], float(high[1]), spot[1], turn)
    for k in range(before, len(scene.instances)):
        instance = scene.instances[k]
        scene.instances[k] = type(instance)(
            instance.shape, to_top @ instance.transform, instance.materials, None, instance.object
        )


def ceiling_lamps(scene: Scene, looks: Looks, w: float, h: float, d: float) -> list[np.ndarray]:
    """Lamps that hang or sit flat; returns where light should come from."""
    out = []
    for _ in range(int(looks.rng.integers(1, 4))):
        x, z = looks.rng.uniform((-w / 3, -d / 3), (w / 3, d / 3))
        drop = float(looks.rng.uniform(0.3, 0.9)) if looks.rng.random() < 0.5 else 0.06
        if drop > 0.1:
            shade = shapes.lathe([(0.2, -0.12), (0.06, 0.0)], 32)
            cord = shapes.tube([(0, 0, 0), (0, drop, 0)], 0.004, 6)
            bulb = shapes.at(shapes.ball(0.05, 16, slot=1), 0, -0.08, 0)
            scene.add(shapes.merged([shade, cord, bulb]), (looks.paint(), looks.glowing()), place(x, h - drop, z))
        else:
            scene.add(shapes.cylinder(0.2, 0.05, 32), looks.glowing(5), place(x, h - 0.05, z))
        out.append(np.array([x, h - drop - 0.25, z]))
    return out


def doors(scene: Scene, looks: Looks, w: float, d: float) -> None:
    leaf, frame = looks.wood(), looks.white()
    for z in np.arange(-d / 2 + 1.2, d / 2 - 0.6, looks.rng.uniform(1.8, 4)):
        for side in (-1, 1):
            if looks.rng.random() < 0.3:
                continue
            turned = place(side * (w / 2 - 0.01), 0, z, -side * np.pi / 2)
            door = shapes.box((0.85, 2.0, 0.04), (0, 1.0, 0.0), 0)
            edge = [shapes.box((0.07, 2.08, 0.06), (x, 1.04, 0), 1) for x in (-0.46, 0.46)]
            edge.append(shapes.box((1.0, 0.07, 0.06), (0, 2.07, 0), 1))
            handle = shapes.at(shapes.ball(0.03, 12, slot=2), 0.36, 1.0, 0.05)
            worn = (leaf if looks.rng.random() < 0.8 else looks.paint(), frame, looks.metal())
            scene.add(shapes.merged([door, *edge, handle]), worn, turned)
