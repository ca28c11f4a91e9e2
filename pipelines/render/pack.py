"""Turns scenes and cameras into the flat tables that raycast.c reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import layout
from .native import build_tree
from .scene import Camera, Light, Lighting, Material, Mesh, Scene, Sphere


@dataclass(frozen=True, eq=False)
class View:
    """One picture to take: a camera, the time in seconds, a seed for the noise of sampling, and the index of the view
    before and after it within the same list (None: none), for flow."""

    camera: Camera
    seconds: float = 0.0
    seed: int = 0
    previous: int | None = None
    following: int | None = None


def pack(scene: Scene, views: list[View]) -> dict[str, np.ndarray]:
    """All tables of layout.TABLES but `textures` and `texels`, which belong to the texture library."""
    nodes, triangles, attributes, instances = _meshes(scene)
    states, transforms, items, tops, of_view = _states(scene, views, offset=sum(map(len, nodes)))
    return {
        "nodes": np.concatenate([*nodes, *tops]),
        "triangles": np.concatenate(triangles) if triangles else np.zeros((1, 12), np.float32),
        "attributes": np.concatenate(attributes) if attributes else np.zeros((1, 15), np.float32),
        "instances": instances,
        "transforms": transforms,
        "items": items,
        "states": states,
        "frames": np.stack([_frame(v, s) for v, s in zip(views, of_view, strict=True)]),
        "lightings": _lighting(scene.lighting),
        "materials": _materials(scene),
    }


def _meshes(scene: Scene) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], np.ndarray]:
    nodes, triangles, attributes = [], [], []
    rows = np.zeros(max(len(scene.instances), 1), layout.INSTANCE)
    roots: dict[int, int] = {}
    used_nodes = used_triangles = used_materials = 0
    for row, instance in zip(rows, scene.instances, strict=False):
        shape = instance.shape
        if isinstance(shape, Mesh) and id(shape) not in roots:
            tree, tris, attrs = shape.tree
            nodes.append(_shifted(tree, used_nodes, used_triangles))
            triangles.append(tris)
            attributes.append(attrs)
            roots[id(shape)] = used_nodes
            used_nodes, used_triangles = used_nodes + len(tree), used_triangles + len(tris)
        row["kind"] = isinstance(shape, Sphere)
        row["root"] = roots.get(id(shape), 0)
        row["material"], row["object"] = used_materials, instance.object
        row["exact_normals"] = shape.exact_normals
        row["scale"] = abs(np.linalg.det(instance.transform[:3, :3])) ** (1 / 3)
        used_materials += len(instance.materials)
    return nodes, triangles, attributes, rows


def _shifted(tree: np.ndarray, nodes: int, items: int) -> np.ndarray:
    out = tree.copy()
    out["first"] += np.where(out["count"] > 0, items, nodes).astype(np.int32)
    return out


def _states(
    scene: Scene, views: list[View], offset: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray], list[int]]:
    """One state for each different time at which something may have moved; a still scene has a single one."""
    moving = any(i.motion for i in scene.instances)
    times = [v.seconds if moving else 0.0 for v in views]
    distinct = sorted(set(times))
    states = np.zeros(len(distinct), layout.STATE)
    transforms, items, tops = [], [], []
    bounds = np.stack([i.shape.bounds for i in scene.instances]) if scene.instances else np.zeros((0, 2, 3))
    for k, seconds in enumerate(distinct):
        states[k]["root"] = offset if scene.instances else -1
        states[k]["transforms"] = k * 24 * len(scene.instances)
        placed = np.array([i.at(seconds) for i in scene.instances]).reshape(-1, 4, 4)
        back = np.linalg.inv(placed)
        transforms.append(np.concatenate([placed[:, :3].reshape(-1, 12), back[:, :3].reshape(-1, 12)], 1))
        if scene.instances:
            tree, order = build_tree(_boxes(bounds, placed), leaf=2)
            tops.append(_shifted(tree, offset, k * len(order)))
            items.append(order)
            offset += len(tree)
    table = np.concatenate(transforms).astype(np.float32)
    order = np.concatenate(items) if items else np.zeros(1, np.int32)
    tops = tops or [np.zeros(1, layout.NODE)]
    return states, table, order, tops, [distinct.index(t) for t in times]


def _boxes(bounds: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Boxes in the world of boxes [n,2,3] placed by [n,4,4], a hair larger than exact: float32 [n,6]."""
    corner = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), -1).reshape(8, 3)
    points = np.take_along_axis(bounds.transpose(0, 2, 1), np.tile(corner.T, (len(bounds), 1, 1)), 2)  # [n,3,8]
    world = placed[:, :3, :3] @ points + placed[:, :3, 3:]
    low, high = world.min(2), world.max(2)
    slack = 1e-5 + 1e-5 * np.abs(world).max(2)
    return np.concatenate([low - slack, high + slack], 1).astype(np.float32)


def _frame(view: View, state: int) -> np.ndarray:
    row = np.zeros((), layout.FRAME)
    K = view.camera.K
    row["fx"], row["fy"], row["cx"], row["cy"] = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    row["pose"] = view.camera.pose[:3].reshape(-1)
    row["state"], row["seed"] = state, view.seed & 0x7FFFFFFF
    row["previous"] = -1 if view.previous is None else view.previous
    row["next"] = -1 if view.following is None else view.following
    return row


def _materials(scene: Scene) -> np.ndarray:
    worn = [m for i in scene.instances for m in i.materials] or [Material()]
    out = np.zeros(len(worn), layout.MATERIAL)
    for name in layout.MATERIAL.names or ():
        out[name] = [getattr(m, name) for m in worn]
    return out


def _light(light: Light) -> np.ndarray:
    row = np.zeros((), layout.LIGHT)
    where = np.asarray(light.where, float)
    row["kind"] = light.kind == "lamp"
    row["where"] = where if light.kind == "lamp" else where / np.linalg.norm(where)
    row["radius"], row["color"] = light.radius, light.color
    return row


def _lighting(lighting: Lighting) -> np.ndarray:
    out = np.zeros(1, layout.LIGHTING)
    row = out[0]
    lights = lighting.lights[: layout.MAX_LIGHTS]
    row["lights"] = len(lights)
    for k, light in enumerate(lights):
        row["light"][k] = _light(light)
    for prefix, names, colors in (
        ("", ("zenith", "horizon", "ground"), lighting.sky),
        ("ambient_", ("up", "side", "down"), lighting.ambient),
    ):
        for name, color in zip(names, colors, strict=True):
            row[prefix + name] = color
    for name in ("sky_texture", "ambient_reach", "bounce", "fog_color", "fog_density"):
        row[name] = getattr(lighting, name)
    return out
