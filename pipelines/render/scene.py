"""What a scene is: meshes placed with materials, lights, and how things move. Plain records, picklable, no device.

World axes: metres, right-handed, +Y up. Cameras: OpenCV axes (x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .native import build_tree


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, with their search tree made on demand.

    positions: float32 [V,3]. faces: int32 [F,3], counter-clockwise seen from outside. normals: float32 [V,3] unit, or None
    for flat shading. uvs: float32 [V,2], v down the picture; procedural meshes have them in metres. slots: int32 [F], which
    of the instance's materials a face wears. exact_normals: the mesh stands for a curved surface whose true normals are
    `normals`; otherwise the faces are the truth.
    """

    positions: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    uvs: np.ndarray | None = None
    slots: np.ndarray | None = None
    exact_normals: bool = False

    @cached_property
    def bounds(self) -> np.ndarray:
        """float32 [2,3]: low and high corner."""
        return np.stack([self.positions.min(0), self.positions.max(0)])

    @cached_property
    def tree(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(nodes, triangles float32 [F,12], attributes float32 [F,15]) in the order of the leaves; see raycast.c."""
        corners = self.positions[self.faces]
        boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
        nodes, order = build_tree(boxes, leaf=4)
        return nodes, self._triangles(corners)[order], self._attributes(corners)[order]

    def _triangles(self, corners: np.ndarray) -> np.ndarray:
        out = np.zeros((len(self.faces), 12), np.float32)
        out[:, 0:3], out[:, 4:7], out[:, 8:11] = (
            corners[:, 0],
            corners[:, 1] - corners[:, 0],
            corners[:, 2] - corners[:, 0],
        )
        out[:, 3] = 0 if self.slots is None else self.slots
        out[:, 7] = self._density(out[:, 4:7], out[:, 8:11])
        return out

    def _density(self, e1: np.ndarray, e2: np.ndarray) -> np.ndarray:
        """uv units a metre, by areas, for the choice of mip level."""
        if self.uvs is None:
            return np.ones(len(self.faces), np.float32)
        t = self.uvs[self.faces]
        a, b = t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]
        flat = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
        return np.sqrt(flat / np.maximum(np.linalg.norm(np.cross(e1, e2), axis=1), 1e-12))

    def _attributes(self, corners: np.ndarray) -> np.ndarray:
        out = np.zeros((len(self.faces), 15), np.float32)
        if self.normals is None:
            flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            out[:, :9] = np.tile(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20), 3)
        else:
            out[:, :9] = self.normals[self.faces].reshape(-1, 9)
        if self.uvs is not None:
            out[:, 9:] = self.uvs[self.faces].reshape(-1, 6)
        return out


@dataclass(frozen=True)
class Sphere:
    """The exact unit sphere about the origin; place and stretch it by the instance's transform."""

    exact_normals: bool = True

    @property
    def bounds(self) -> np.ndarray:
        return np.array([[-1, -1, -1], [1, 1, 1]], np.float32)


@dataclass(frozen=True)
class Material:
    """How a surface looks. color: linear RGB in [0,1], times the texture where there is one.

    texture: index in the texture library, or -1. scale: how often it repeats along one unit of u and of v.
    specular: strength of highlights. roughness: 0 mirror-sharp .. 1 dull. mirror: share reflected at normal incidence.
    metal: 1 leaves only reflections, tinted. emission: linear radiance of its own.
    """

    color: tuple[float, float, float] = (0.7, 0.7, 0.7)
    texture: int = -1
    scale: tuple[float, float] = (1.0, 1.0)
    specular: float = 0.1
    roughness: float = 0.6
    mirror: float = 0.0
    metal: float = 0.0
    emission: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Motion:
    """Rigid motion of an instance about its own place, as a function of time in seconds.

    Turns by `spin` radians a second about `axis` through `pivot` (in the instance's own space), then travels with
    `velocity`, and sways by `sway * sin(2 pi frequency t + phase)`; both metres in the world.
    """

    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axis: tuple[float, float, float] = (0.0, 1.0, 0.0)
    spin: float = 0.0
    pivot: tuple[float, float, float] = (0.0, 0.0, 0.0)
    sway: tuple[float, float, float] = (0.0, 0.0, 0.0)
    frequency: float = 0.5
    phase: float = 0.0

    def at(self, transform: np.ndarray, seconds: float) -> np.ndarray:
        """The transform float64 [4,4] at that time; at time 0 and phase 0 it is `transform` itself."""
        wave = np.sin(2 * np.pi * self.frequency * seconds + self.phase)
        shift = np.asarray(self.velocity) * seconds + np.asarray(self.sway) * wave
        turn = rotation(self.axis, self.spin * seconds)
        turn = translation(self.pivot) @ turn @ translation(tuple(-p for p in self.pivot))
        return translation(shift) @ transform @ turn


@dataclass(frozen=True, eq=False)
class Instance:
    shape: Mesh | Sphere
    transform: np.ndarray
    materials: tuple[Material, ...]
    motion: Motion | None = None
    object: int = 0

    def at(self, seconds: float) -> np.ndarray:
        """Object to world, float64 [4,4]."""
        return self.transform if self.motion is None else self.motion.at(self.transform, seconds)


@dataclass(frozen=True)
class Light:
    """kind "sun": `where` is the direction to it, `radius` the tangent of its angular radius, `color` its irradiance.
    kind "lamp": a ball at `where` of `radius` metres; it gives `color / distance^2`."""

    kind: str
    where: tuple[float, float, float]
    color: tuple[float, float, float]
    radius: float = 0.05


@dataclass(frozen=True)
class Lighting:
    """All light of a scene, linear RGB. `sky` colours are what a ray that meets nothing sees (zenith, horizon, ground), or
    the panorama `sky_texture` times `zenith`. `ambient` (up, side, down) lights surfaces from all around unless something
    is nearer than `ambient_reach` metres; then `bounce` of it arrives."""

    lights: tuple[Light, ...] = ()
    sky: tuple[tuple[float, float, float], ...] = ((0.25, 0.45, 0.9), (0.7, 0.8, 0.95), (0.3, 0.28, 0.25))
    sky_texture: int = -1
    ambient: tuple[tuple[float, float, float], ...] = ((0.4, 0.4, 0.4), (0.3, 0.3, 0.3), (0.2, 0.2, 0.2))
    ambient_reach: float = 1.5
    bounce: float = 0.35
    fog_color: tuple[float, float, float] = (0.7, 0.75, 0.8)
    fog_density: float = 0.0


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole: K float64 [3,3] in pixels (centres at integers), pose float64 [4,4] camera to world, OpenCV axes."""

    K: np.ndarray
    pose: np.ndarray


@dataclass(eq=False)
class Scene:
    """Everything but the camera. interest: points worth looking at, world metres. eyes: boxes [2,3] (low, high corner) in
    which a camera may stand. fov: degrees across the longer side that suit. drive: the direction of travel in clips, where
    the camera should move like a vehicle, metres a second."""

    lighting: Lighting = field(default_factory=Lighting)
    instances: list[Instance] = field(default_factory=list)
    interest: list[np.ndarray] = field(default_factory=list)
    eyes: list[np.ndarray] = field(default_factory=list)
    fov: tuple[float, float] = (40.0, 90.0)
    drive: tuple[float, float, float] | None = None

    def add(
        self,
        shape: Mesh | Sphere,
        materials: Material | tuple[Material, ...],
        transform: np.ndarray | None = None,
        motion: Motion | None = None,
    ) -> Instance:
        """Places a shape; it becomes an object of its own in the instance map."""
        worn = materials if isinstance(materials, tuple) else (materials,)
        place = np.eye(4) if transform is None else np.asarray(transform, np.float64)
        instance = Instance(shape, place, worn, motion, object=len(self.instances))
        self.instances.append(instance)
        return instance

    def move(self, instance: Instance, motion: Motion) -> None:
        """Gives an instance that is already placed a motion."""
        self.instances[instance.object] = replace(instance, motion=motion)


def translation(shift: object) -> np.ndarray:
    """float64 [4,4]."""
    out = np.eye(4)
    out[:3, 3] = np.asarray(shift)
    return out


def scaling(factors: object) -> np.ndarray:
    """float64 [4,4]; one factor or three."""
    return np.diag([*np.broadcast_to(np.asarray(factors, float), 3), 1.0])


def rotation(axis: object, angle: float) -> np.ndarray:
    """float64 [4,4], right-handed, radians (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / max(float(np.linalg.norm(np.asarray(axis, float))), 1e-12)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out = np.eye(4)
    out[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return out


def place(x: float, y: float, z: float, turn: float = 0.0, scale: object = 1.0) -> np.ndarray:
    """float64 [4,4]: scales, turns about +Y by `turn` radians, then moves."""
    return translation((x, y, z)) @ rotation((0, 1, 0), turn) @ scaling(scale)


def look_at(eye: np.ndarray, target: np.ndarray, roll: float = 0.0) -> np.ndarray:
    """Camera-to-world float64 [4,4] in OpenCV axes, upright but for `roll` radians about the line of sight."""
    forward = np.asarray(target, float) - np.asarray(eye, float)
    forward /= max(float(np.linalg.norm(forward)), 1e-12)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right = np.array([1.0, 0, 0]) if np.linalg.norm(right) < 1e-6 else right / np.linalg.norm(right)
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    out[:3, 3] = eye
    return out @ rotation((0, 0, 1), roll)


def intrinsics(size: tuple[int, int], fov_degrees: float) -> np.ndarray:
    """K float64 [3,3] of a centred pinhole with square pixels; `fov_degrees` spans the longer side of size (height, width)."""
    h, w = size
    f = max(h, w) / 2 / np.tan(np.radians(fov_degrees) / 2)
    return np.array([[f, 0, (w - 1) / 2], [0, f, (h - 1) / 2], [0, 0, 1]])
