"""Meshes from a few numbers. Metres, +Y up, faces counter-clockwise from outside, uvs in metres along the surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .scene import Mesh

Triple = ArrayLike


def box(size: Triple, center: Triple = (0, 0, 0), slot: int = 0) -> Mesh:
    """An axis-aligned box with flat faces."""
    half = np.asarray(size, np.float32) / 2
    positions, uvs, faces = [], [], []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (-1, 1):
            corner = np.zeros((4, 3), np.float32)
            corner[:, axis] = side * half[axis]
            corner[:, u] = half[u] * np.array([-1, 1, 1, -1]) * side
            corner[:, v] = half[v] * np.array([-1, -1, 1, 1])
            uv = corner[:, [u, v] if axis == 2 else [v, u]]
            faces += [[4 * len(positions) + k for k in t] for t in ((0, 1, 2), (0, 2, 3))]
            positions.append(corner)
            uvs.append(uv * np.array([1, -1], np.float32))
    points = np.concatenate(positions) + np.asarray(center, np.float32)
    return Mesh(points, np.array(faces, np.int32), None, np.concatenate(uvs), np.full(12, slot, np.int32))


def quad(origin: Triple, u: Triple, v: Triple, slot: int = 0) -> Mesh:
    """A parallelogram from `origin` along u and v; its face looks along u x v."""
    o, a, b = (np.asarray(k, np.float32) for k in (origin, u, v))
    points = np.stack([o, o + a, o + a + b, o + b])
    la, lb = np.linalg.norm(a), np.linalg.norm(b)
    uvs = np.array([[0, lb], [la, lb], [la, 0], [0, 0]], np.float32)
    return Mesh(points, np.array([[0, 1, 2], [0, 2, 3]], np.int32), None, uvs, np.full(2, slot, np.int32))


def lathe(profile: Sequence[tuple[float, float]], segments: int = 32, slot: int = 0, smooth: bool = True) -> Mesh:
    """Turns a profile of (radius, height), listed from bottom to top along the outside, about +Y. Sharp where the profile
    bends by more than 40 degrees."""
    points = np.asarray(profile, np.float32)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    around = np.stack([np.cos(angle), -np.sin(angle)], 1).astype(np.float32)
    steps = np.diff(points, axis=0)
    lengths = np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    outward = np.stack([steps[:, 1], -steps[:, 0]], 1) / lengths  # of each piece of the profile, in (radius, height)
    at = np.concatenate([[0], np.cumsum(lengths)])
    positions, normals, uvs, faces = [], [], [], []
    for k, n in enumerate(outward):
        ends = [_joint(n, outward, k - 1), _joint(n, outward, k + 1)]
        base = sum(map(len, positions))
        for end in (0, 1):
            radius, height = points[k + end]
            ring = np.stack([around[:, 0] * radius, np.full(segments + 1, height), around[:, 1] * radius], 1)
            tilt = ends[end]
            normal = np.stack([around[:, 0] * tilt[0], np.full(segments + 1, tilt[1]), around[:, 1] * tilt[0]], 1)
            girth = max(points[:, 0].max(), 1e-3)
            uv = np.stack([angle * girth, np.full(segments + 1, -at[k + end])], 1)
            positions.append(ring)
            normals.append(normal)
            uvs.append(uv)
        low, high = base + np.arange(segments), base + segments + 1 + np.arange(segments)
        if points[k, 0] > 0:
            faces.append(np.stack([low, low + 1, high], 1))
        if points[k + 1, 0] > 0:
            faces.append(np.stack([low + 1, high + 1, high], 1))
    triangles = np.concatenate(faces).astype(np.int32)
    where, up = np.concatenate(positions).astype(np.float32), np.concatenate(normals).astype(np.float32)
    slots = np.full(len(triangles), slot, np.int32)
    return Mesh(where, triangles, up if smooth else None, np.concatenate(uvs).astype(np.float32), slots, smooth)


def _joint(n: np.ndarray, outward: np.ndarray, other: int) -> np.ndarray:
    """The normal where two pieces of a profile meet: their mean, unless the edge is sharp."""
    if not 0 <= other < len(outward) or n @ outward[other] < np.cos(np.radians(40)):
        return n
    mean = n + outward[other]
    return mean / np.linalg.norm(mean)


def cylinder(radius: float, height: float, segments: int = 32, top: float | None = None, slot: int = 0) -> Mesh:
    """Stands on y = 0, closed; `top` is the upper radius (0: a cone)."""
    upper = radius if top is None else top
    profile = [(0.0, 0.0), (radius, 0.0), (upper, height)] + ([(0.0, height)] if upper > 0 else [])
    return lathe(profile, segments, slot)


def ball(radius: float, segments: int = 32, slot: int = 0) -> Mesh:
    """A tessellated sphere about the origin; scene.Sphere is the exact one."""
    t = np.linspace(-np.pi / 2, np.pi / 2, max(segments // 2, 4) + 1)
    profile = [(float(radius * np.cos(a)), float(radius * np.sin(a))) for a in t]
    profile[0], profile[-1] = (0.0, -radius), (0.0, radius)
    return lathe(profile, segments, slot)


def torus(radius: float, tube_radius: float, segments: int = 40, sides: int = 14, slot: int = 0) -> Mesh:
    """A ring about +Y, centred on the origin."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    path = np.stack([radius * np.cos(angle), np.zeros_like(angle), radius * np.sin(angle)], 1)
    return tube(path, tube_radius, sides, slot, closed=True)


def tube(path: Triple, radius: float | np.ndarray, sides: int = 8, slot: int = 0, closed: bool = False) -> Mesh:
    """A round tube along points [n,3]; radius one number or [n]. Cables, rails, branches, rims."""
    points = np.asarray(path, np.float64)
    n = len(points)
    ahead = np.gradient(points, axis=0)
    if closed:
        ahead[0] = ahead[-1] = points[1] - points[-2]
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12)
    side = _carried(ahead)
    other = np.cross(ahead, side)
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * other[:, None]
    radii = np.broadcast_to(np.asarray(radius, float), n)
    positions = points[:, None] + ring * radii[:, None, None]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    girth = np.broadcast_to(angle[None] * radii.max(), (n, sides + 1))
    uvs = np.stack([girth, np.broadcast_to(length[:, None], (n, sides + 1))], -1)
    faces = _strip(n, sides + 1)
    flat = (a.reshape(-1, a.shape[-1]).astype(np.float32) for a in (positions, ring, uvs))
    where, normals, where_uv = flat
    return Mesh(where, faces, normals, where_uv, np.full(len(faces), slot, np.int32), True)


def _carried(ahead: np.ndarray) -> np.ndarray:
    """A side direction for each point of a path, carried along without twist (parallel transport)."""
    first = np.cross(ahead[0], (0.0, 1.0, 0.0) if abs(ahead[0][1]) < 0.9 else (1.0, 0.0, 0.0))
    side = [first / np.linalg.norm(first)]
    for d in ahead[1:]:
        s = side[-1] - d * (side[-1] @ d)
        side.append(s / max(float(np.linalg.norm(s)), 1e-12))
    return np.array(side)


def _strip(rows: int, columns: int) -> np.ndarray:
    """Faces int32 of a grid of points [rows,columns], counter-clockwise seen from row x column's cross product."""
    at = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = at[:-1, :-1].ravel(), at[1:, :-1].ravel(), at[1:, 1:].ravel(), at[:-1, 1:].ravel()
    return np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])


def heightfield(heights: np.ndarray, size: tuple[float, float], slot: int = 0, truth: bool = True) -> Mesh:
    """A ground [rows (z), columns (x)] of heights in metres over `size` (x, z) metres about the origin, smoothly shaded."""
    rows, columns = heights.shape
    x, z = np.linspace(-size[0] / 2, size[0] / 2, columns), np.linspace(-size[1] / 2, size[1] / 2, rows)
    gx, gz = np.meshgrid(x, z)
    dz, dx = np.gradient(heights, z, x)
    normals = np.stack([-dx, np.ones_like(dx), -dz], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    positions = np.stack([gx, heights, gz], -1).reshape(-1, 3).astype(np.float32)
    uvs = np.stack([gx, gz], -1).reshape(-1, 2).astype(np.float32)
    faces = _strip(rows, columns)[:, ::-1].copy()
    normals = normals.reshape(-1, 3).astype(np.float32)
    return Mesh(positions, faces, normals, uvs, np.full(len(faces), slot, np.int32), truth)


def sheet(path: Triple, across: Triple, slot: int = 0) -> Mesh:
    """A ribbon: the line [n,3] swept by the vector `across`. Curtains, leaves, cloth hanging."""
    points, shift = np.asarray(path, np.float64), np.asarray(across, np.float64)
    grid = np.stack([points, points + shift], 1)
    ahead = np.gradient(points, axis=0)
    normals = np.cross(ahead, shift)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    width = np.array([0.0, float(np.linalg.norm(shift))])
    uvs = np.stack([np.repeat(length[:, None], 2, 1), np.tile(width, (len(points), 1))], -1)
    faces = _strip(len(points), 2)
    return Mesh(
        grid.reshape(-1, 3).astype(np.float32),
        faces,
        np.repeat(normals, 2, 0).astype(np.float32),
        uvs.reshape(-1, 2).astype(np.float32),
        np.full(len(faces), slot, np.int32),
        True,
    )


def moved(mesh: Mesh, transform: np.ndarray, slot: int | None = None) -> Mesh:
    """The mesh under a 4x4 transform, optionally with all its faces in one slot."""
    t = np.asarray(transform, np.float64)
    points = (mesh.positions @ t[:3, :3].T + t[:3, 3]).astype(np.float32)
    normals = None
    if mesh.normals is not None:
        n = mesh.normals @ np.linalg.inv(t[:3, :3])
        normals = (n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    slots = mesh.slots if slot is None else np.full(len(mesh.faces), slot, np.int32)
    return Mesh(points, mesh.faces, normals, mesh.uvs, slots, mesh.exact_normals)


def at(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    """The mesh moved."""
    t = np.eye(4)
    t[:3, 3] = x, y, z
    return moved(mesh, t)


def merged(meshes: Sequence[Mesh], exact: bool = True) -> Mesh:
    """One mesh of several; flat ones keep their faces' normals among smooth ones. exact: see Mesh.exact_normals."""
    smooth = any(m.normals is not None for m in meshes)
    parts = [_facetted(m) if smooth and m.normals is None else m for m in meshes]
    starts = np.cumsum([0] + [len(m.positions) for m in parts])
    return Mesh(
        np.concatenate([m.positions for m in parts]),
        np.concatenate([m.faces + s for m, s in zip(parts, starts, strict=False)]).astype(np.int32),
        np.concatenate([m.normals for m in parts if m.normals is not None]) if smooth else None,
        np.concatenate([m.uvs if m.uvs is not None else np.zeros((len(m.positions), 2), np.float32) for m in parts]),
        np.concatenate([m.slots if m.slots is not None else np.zeros(len(m.faces), np.int32) for m in parts]),
        smooth and exact,
    )


def _facetted(mesh: Mesh) -> Mesh:
    """The same flat mesh with every corner its own vertex, normals written out."""
    corners = mesh.positions[mesh.faces]
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    n = np.repeat(n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-20), 3, 0).astype(np.float32)
    uvs = None if mesh.uvs is None else mesh.uvs[mesh.faces].reshape(-1, 2)
    faces = np.arange(3 * len(mesh.faces), dtype=np.int32).reshape(-1, 3)
    return Mesh(corners.reshape(-1, 3), faces, n, uvs, mesh.slots, True)
