"""The demo clip: our own furnished room, with thin things, a turning mobile, a rolling ball and a walking camera.

Everything comes from this file's numbers, so the clip and its exact depth can be remade by anyone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from . import clutter, furniture, patterns, shapes, vegetation
from .cast import GEOMETRY, Quality, Renderer
from .looks import Looks
from .media import hum, write_video
from .pack import View
from .scene import Camera, Light, Lighting, Material, Motion, Scene, Sphere, intrinsics, look_at, place
from .textures import TextureLibrary, library
from .tone import Development, develop, exposure

SIZE, FRAMES, RATE = (360, 640), 90, 30
FINE = Quality(samples=6, ambient=2)
TRUTH_EVERY, TRUTH_STEP = 10, 2  # frames, pixels


def scene(textures: TextureLibrary) -> Scene:
    looks = Looks(np.random.default_rng(24), textures, photos=0.0)
    out = Scene()
    _room(out, textures, looks)
    _table(out, textures, looks)
    _mobile(out)
    for maker, seed, where in (
        (furniture.shelf, 3, place(1.5, 0, -1.85)),
        (furniture.sofa, 24, place(-1.75, 0, 0.2, np.pi / 2)),
        (furniture.chair, 8, place(0.95, 0, 0.15, -2.4)),
        (furniture.floor_lamp, 2, place(-1.8, 0, -1.6)),
        (clutter.plant, 5, place(-1.05, 0, -1.55, 0, 2.2)),
        (clutter.rack, 6, place(-0.75, 0.014, 0.75, 0.4, 1.2)),
    ):
        out.add(*maker(Looks(np.random.default_rng(seed), textures, photos=0.0)), where)
    _garden(out, textures)
    ball = out.add(
        Sphere(), _skin(textures, "stripes", 3, (0.95, 0.9, 0.85), specular=0.4, roughness=0.25), _ball_start()
    )
    out.move(ball, Motion(velocity=(0.34, 0.0, -0.06), axis=(-0.06, 0.0, -0.34), spin=0.345 / 0.14))
    out.lighting = Lighting(
        lights=(
            Light("sun", (-0.35, 0.62, -0.7), (5.2, 4.5, 3.5), 0.012),
            Light("lamp", (0.2, 2.35, 0.9), (1.5, 1.35, 1.1), 0.25),
            Light("lamp", (-1.85, 1.5, -1.6), (0.5, 0.38, 0.22), 0.1),
        ),
        sky=((0.35, 0.65, 1.5), (0.95, 1.15, 1.4), (0.4, 0.45, 0.35)),
        ambient=((0.42, 0.42, 0.44), (0.36, 0.36, 0.38), (0.24, 0.22, 0.2)),
        ambient_reach=1.2,
        bounce=0.45,
    )
    return out


def _ball_start() -> np.ndarray:
    return place(-0.55, 0.154, 0.62, 0, 0.14)


def _skin(textures: TextureLibrary, kind: str, number: int, tint: tuple[float, float, float], **more: Any) -> Material:
    index = textures.add(patterns.KINDS[kind](np.random.default_rng([77, number])), "demo")
    return replace(Material(tint, index), **more)


def _room(out: Scene, textures: TextureLibrary, looks: Looks) -> None:
    w, h = 4.4, 2.6
    wood = _skin(textures, "planks", 11, (0.85, 0.62, 0.42), mirror=0.04, specular=0.3, roughness=0.3)
    paper = _skin(textures, "plaster", 5, (0.72, 0.78, 0.8))
    back, front = -2.1, 3.6
    out.add(shapes.quad((-w / 2, 0, front), (w, 0, 0), (0, 0, back - front)), wood)
    out.add(shapes.quad((-w / 2, h, back), (w, 0, 0), (0, 0, front - back)), Material((0.85, 0.85, 0.83)))
    out.add(shapes.quad((-w / 2, 0, front), (0, 0, back - front), (0, h, 0)), paper)
    out.add(shapes.quad((w / 2, 0, back), (0, 0, front - back), (0, h, 0)), paper)
    _window_wall(out, paper, w, h, back)
    rug = _skin(textures, "fabric", 2, (0.75, 0.35, 0.3))
    out.add(shapes.box((2.3, 0.014, 1.5)), rug, place(-0.1, 0.007, 0.25, 0.1))
    for k, (x, y, size) in enumerate(((-0.9, 1.55, 0.42), (-0.35, 1.5, 0.34), (0.2, 1.6, 0.5))):
        art = _skin(textures, "patches", 20 + k, (0.95, 0.95, 0.95))
        art = replace(art, scale=(1 / size, 1 / size))
        frame = shapes.box((size + 0.06, size + 0.06, 0.03), (0, 0, 0), 0)
        canvas = shapes.quad((-size / 2, -size / 2, 0.016), (size, 0, 0), (0, size, 0), 1)
        out.add(
            shapes.merged([frame, canvas]), (Material((0.1, 0.07, 0.05)), art), place(-w / 2 + 0.02, y, x, np.pi / 2)
        )


def _window_wall(out: Scene, paper: Material, w: float, h: float, z: float) -> None:
    x0, x1, y0, y1 = -1.35, 0.45, 0.85, 2.2
    strips = [
        (-w / 2, 0, w, y0),
        (-w / 2, y1, w, h - y1),
        (-w / 2, y0, x0 + w / 2, y1 - y0),
        (x1, y0, w / 2 - x1, y1 - y0),
    ]
    out.add(shapes.merged([shapes.quad((x, y, z), (a, 0, 0), (0, b, 0)) for x, y, a, b in strips]), paper)
    bars = [shapes.box((x1 - x0 + 0.1, 0.06, 0.14), ((x0 + x1) / 2, y, z)) for y in (y0, y1)]
    bars += [shapes.box((0.05, y1 - y0, 0.1), (x, (y0 + y1) / 2, z)) for x in np.linspace(x0, x1, 4)]
    bars.append(shapes.box((x1 - x0, 0.035, 0.05), ((x0 + x1) / 2, 1.65, z)))
    out.add(shapes.merged(bars), Material((0.85, 0.84, 0.8)))
    cloth = Material((0.75, 0.7, 0.55))
    for x in (x0 - 0.28, x1 - 0.02):
        u = np.linspace(0, 0.32, 60)
        fold = np.stack([x + u, np.full(60, y1 + 0.15), z + 0.12 + 0.03 * np.sin(70 * u)], 1)
        out.add(shapes.sheet(fold, (0, -2.2, 0)), cloth)
    out.add(
        shapes.tube([(x0 - 0.4, y1 + 0.17, z + 0.12), (x1 + 0.4, y1 + 0.17, z + 0.12)], 0.012, 10),
        Material((0.2, 0.2, 0.2)),
    )


def _garden(out: Scene, textures: TextureLibrary) -> None:
    """What the window shows: a lawn, trees, a hedge, hills."""
    lawn = _skin(textures, "grass", 1, (0.8, 0.9, 0.7), scale=(0.3, 0.3))
    out.add(shapes.quad((-60, -0.4, -2.4), (120, 0, 0), (0, 0, -90)), lawn)
    for seed, x, z, size in ((1, -3.0, -9, 0.9), (4, 2.2, -14, 1.0), (6, -0.5, -22, 1.1), (9, -8, -26, 1.3)):
        out.add(*vegetation.tree(Looks(np.random.default_rng(seed), textures)), place(x, -0.4, z, 0, size))
    x, z = np.linspace(-1, 1, 60), np.linspace(0, 1, 20)
    hills = (6 + 3 * np.sin(5 * x) + 2 * np.sin(11 * x + 1))[None] * np.sin(np.pi * z)[:, None]
    out.add(shapes.heightfield(hills, (160, 40)), Material((0.12, 0.2, 0.1)), place(0, -2, -80))


def _table(out: Scene, textures: TextureLibrary, looks: Looks) -> None:
    top = 0.74
    wood = _skin(textures, "wood", 4, (0.9, 0.75, 0.55), specular=0.25, roughness=0.35)
    mesh, _ = furniture.table(Looks(np.random.default_rng(5), textures), (1.3, top, 0.75))
    out.add(mesh, (wood, wood), place(0.0, 0, -0.55))
    spots = (
        (clutter.desk_lamp, -0.48, -0.72, 0.5),
        (clutter.bowl, 0.1, -0.5, 0.0),
        (clutter.cup, -0.18, -0.35, 0.8),
        (clutter.book_pile, 0.42, -0.68, 0.3),
        (clutter.vase, -0.12, -0.75, 0.0),
        (clutter.bottle, 0.52, -0.36, 0.0),
        (clutter.wire, 0.15, -0.3, 0.4),
    )
    for maker, x, z, turn in spots:
        out.add(*maker(looks), place(x, top, z, turn))
    for k, (x, z) in enumerate(((0.06, -0.5), (0.14, -0.53), (0.12, -0.45))):
        color = ((0.7, 0.1, 0.05), (0.85, 0.45, 0.05), (0.5, 0.6, 0.1))[k]
        out.add(shapes.ball(0.038, 32), Material(color, specular=0.3, roughness=0.3), place(x, top + 0.055, z))


def _mobile(out: Scene) -> None:
    """Rods of 4 mm with balls, hung from the ceiling, turning."""
    steel = Material((0.15, 0.15, 0.16), specular=0.6, roughness=0.3)
    hues = ((0.75, 0.12, 0.1), (0.1, 0.3, 0.6), (0.85, 0.6, 0.1), (0.12, 0.45, 0.25))
    turn = Motion(spin=0.7)
    hang = place(0.35, 1.95, -0.75)
    parts = [shapes.tube([(0, 0, 0), (0, 0.6, 0)], 0.003, 6), shapes.tube([(-0.42, 0, 0), (0.42, 0, 0)], 0.004, 8)]
    for side in (-1, 1):
        end = 0.42 * side
        parts.append(shapes.tube([(end, 0, 0), (end, -0.22 - 0.05 * side, 0)], 0.002, 6))
        y = -0.22 - 0.05 * side
        parts.append(shapes.tube([(end, y, -0.18), (end, y, 0.18)], 0.004, 8))
        parts += [shapes.tube([(end, y, z), (end, y - 0.13, z)], 0.002, 6) for z in (-0.18, 0.18)]
    out.move(out.add(shapes.merged(parts), steel, hang), turn)
    for k, (side, z) in enumerate(((-1, -0.18), (-1, 0.18), (1, -0.18), (1, 0.18))):
        spot = (0.42 * side, -0.22 - 0.05 * side - 0.18, z)
        placed = out.add(shapes.at(shapes.ball(0.055, 32), *spot), Material(hues[k], specular=0.3, roughness=0.3), hang)
        out.move(placed, turn)


def views() -> list[View]:
    """A step to the side and forward, with a hand's tremor."""
    K = intrinsics(SIZE, 68)
    out = []
    for k in range(FRAMES):
        u = k / (FRAMES - 1)
        ease = u * u * (3 - 2 * u)
        shake = np.array([np.sin(9.1 * u), np.sin(12.3 * u + 1), np.sin(7.7 * u + 2)]) * 0.008
        eye = np.array([1.2 - 1.5 * ease, 1.4 + 0.06 * np.sin(3 * u), 2.75 - 0.35 * ease]) + shake
        target = np.array([-0.1 + 0.15 * ease, 0.82, -0.7]) + shake[::-1]
        before, after = (k - 1 if k else None), (k + 1 if k + 1 < FRAMES else None)
        out.append(View(Camera(K, look_at(eye, target)), k / RATE, 1000 + k, before, after))
    return out


def render_demo(folder: Path, device: str = "cpu", quality: Quality = FINE) -> tuple[Path, Path]:
    """Writes demo.mp4 (90 frames, 640x360, 30 a second, a quiet chord) and demo_truth.npz into the folder.

    The truth: frames int [n]; disparity float16 [n,180,320], 1/metres; normal int8 [n,180,320,3], times 127, our axes; both
    at every second pixel of every second row of those frames, from (0, 0); K float64 [3,3] and pose float64 [n,4,4].
    """
    textures = library(seed=0)
    place_, shots = scene(textures), views()
    renderer = Renderer(textures, device)
    pictures, truth = [], []
    settings = Development(stops=0.35, gamma=2.2, shoulder=0.6)
    gain: float | None = None
    for start in range(0, FRAMES, 10):
        shown = [replace(v, previous=None, following=None) for v in shots[start : start + 10]]
        out = renderer.cast(place_, shown, SIZE, ("radiance", *GEOMETRY), quality)
        out = {k: v if isinstance(v, np.ndarray) else v.cpu().numpy() for k, v in out.items()}
        gain = gain or float(exposure(out["radiance"], share=True)[0])
        pictures.extend(develop(out["radiance"], [settings] * len(shown), gain=gain))
        truth += [
            (start + k, out["depth"][k], out["normal"][k]) for k in range(len(shown)) if (start + k) % TRUTH_EVERY == 0
        ]
    clip, exact = folder / "demo.mp4", folder / "demo_truth.npz"
    write_video(clip, pictures, RATE, crf=25, audio=hum(FRAMES / RATE))
    step = slice(None, None, TRUTH_STEP)
    np.savez_compressed(
        exact,
        frames=np.array([k for k, _, _ in truth]),
        disparity=np.stack([(1 / d)[step, step] for _, d, _ in truth]).astype(np.float16),
        normal=np.stack([np.round(n[step, step] * 127) for _, _, n in truth]).astype(np.int8),
        K=shots[0].camera.K,
        pose=np.stack([shots[k].camera.pose for k, _, _ in truth]),
    )
    return clip, exact
