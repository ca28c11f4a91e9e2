"""Trees, bushes, grass: branches of tubes, leaves of small sheets. (mesh, materials), foot at the origin, metres."""

from __future__ import annotations

import numpy as np

from . import shapes
from .clutter import Piece, leaves
from .looks import Looks
from .scene import Mesh, place


def tree(looks: Looks) -> Piece:
    """Trunk, branches and a crown: leaves, needles in cones, or bare."""
    r = looks.rng
    h = float(r.uniform(3, 8))
    kind = r.random()
    if kind < 0.25:
        return _conifer(looks, h), (looks.bark(), looks.leaf())
    trunk = 0.035 * h
    wander = np.cumsum(r.normal(0, 0.03 * h, (5, 2)), 0)
    spine = np.stack([wander[:, 0], np.linspace(0, 0.75 * h, 5), wander[:, 1]], 1) - (wander[0, 0], 0, wander[0, 1])
    parts, tips = [shapes.tube(spine, np.linspace(trunk, 0.3 * trunk, 5), 10)], []
    for _ in range(int(r.integers(7, 14))):
        t = r.uniform(0.4, 1.0)
        root = np.array([np.interp(t * 4, np.arange(5), spine[:, k]) for k in range(3)])
        turn, out, up = r.uniform(0, 2 * np.pi), h * r.uniform(0.12, 0.3), h * r.uniform(0.05, 0.25)
        tip = root + (out * np.cos(turn), up, out * np.sin(turn))
        middle = (root + tip) / 2 + r.normal(0, 0.03 * h, 3)
        parts.append(shapes.tube([root, middle, tip], trunk * np.array([0.4, 0.25, 0.08]), 6))
        tips += [middle, tip]
    if kind < 0.85:
        parts.append(_foliage(r, np.array(tips), 0.09 * h, int(r.integers(500, 1400)), float(r.uniform(0.06, 0.2)), 1))
    return shapes.merged(parts), (looks.bark(), looks.leaf())


def _foliage(r: np.random.Generator, centers: np.ndarray, spread: float, count: int, size: float, slot: int) -> Mesh:
    """Leaves as pairs of triangles, any way up, in clouds about the centres."""
    at = centers[r.integers(len(centers), size=count)] + r.normal(0, spread, (count, 3))
    a = r.normal(size=(count, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, r.normal(size=(count, 3)))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    long, wide = a * size * r.uniform(0.6, 1.3, (count, 1)), b * size * 0.5
    corners = np.stack([at - long, at + wide, at + long, at - wide], 1).reshape(-1, 3).astype(np.float32)
    k = 4 * np.arange(count)[:, None]
    faces = np.concatenate([k + (0, 1, 2), k + (0, 2, 3)]).astype(np.int32)
    return Mesh(corners, faces, None, corners[:, [0, 2]].copy(), np.full(len(faces), slot, np.int32))


def _conifer(looks: Looks, h: float) -> Mesh:
    parts = [shapes.cylinder(0.025 * h, h, 10, 0.002 * h)]
    for t in np.linspace(0.15, 0.92, int(looks.rng.integers(5, 10))):
        radius = 0.28 * h * (1 - t) + 0.02 * h
        skirt = shapes.lathe([(radius, 0), (0.02 * h, 0.22 * h)], 18, 1, smooth=True)
        jitter = skirt.positions * (1 + looks.rng.normal(0, 0.06, (len(skirt.positions), 1)))
        mesh = Mesh(jitter.astype(np.float32), skirt.faces, None, skirt.uvs, skirt.slots)
        parts.append(shapes.at(mesh, 0, t * h, 0))
    return shapes.merged(parts)


def bush(looks: Looks) -> Piece:
    r = looks.rng
    size = float(r.uniform(0.3, 0.9))
    centers = r.normal(0, 0.35 * size, (14, 3)) * (1, 0.5, 1) + (0, 0.7 * size, 0)
    stems = [shapes.tube([(0, 0, 0), c], 0.012, 5) for c in centers]
    return shapes.merged([*stems, _foliage(r, centers, 0.22 * size, 500, 0.05, 1)]), (looks.bark(), looks.leaf())


def tuft(looks: Looks) -> Piece:
    """A clump of long grass."""
    blades = leaves(looks.rng, int(looks.rng.integers(20, 50)), float(looks.rng.uniform(0.15, 0.6)), 0)
    return shapes.merged(blades), (looks.leaf(),)


def rock(looks: Looks) -> Piece:
    """A ball with a rough hide, flat-shaded."""
    r = looks.rng
    mesh = shapes.ball(1, 18)
    d = mesh.positions
    waves = r.normal(0, 2.0, (6, 3))
    swell = 1 + 0.12 * np.sin(d @ waves.T + r.uniform(0, 6, 6)).sum(1, keepdims=True)
    shaped = Mesh((d * swell).astype(np.float32), mesh.faces, None, mesh.uvs, mesh.slots)
    squash = place(0, 0.15, 0, 0, r.uniform((0.5, 0.3, 0.5), (1.2, 0.9, 1.2)) * float(np.exp(r.uniform(-2, 0.7))))
    return shapes.moved(shaped, squash), (looks._textured(("stone", "noise"), (0.3, 2), roughness=0.9),)
