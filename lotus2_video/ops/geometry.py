"""Pinhole cameras: from pixels with depth to points, and back. OpenCV axes: x right, y down, z forward, metres."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_ROUNDS = 3
_LEAST_MISS = 0.02  # pixels: no match is better than this, so residuals below it are all alike
_LEAST_POINTS = 24
_NO_ROTATION = 0.02  # share of the weight that says that nothing turned
_PRIOR = 1e-4  # pull of the translation to none, as a share of what full weight on every pixel would say


def unproject(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """The point behind each pixel.

    depth: float [h,w], metres along the optical axis. intrinsics: float [3,3], pixel centres at integers.
    Returns float [h,w,3] in camera axes.
    """
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    right = (x - intrinsics[0, 2]) * depth / intrinsics[0, 0]
    down = (y - intrinsics[1, 2]) * depth / intrinsics[1, 1]
    return np.stack([right, down, depth], axis=-1)


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """The pixel coordinates (x, y), float [...,2], at which points float [...,3] appear; not finite where z is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x = points[..., 0] * intrinsics[0, 0] / points[..., 2] + intrinsics[0, 2]
        y = points[..., 1] * intrinsics[1, 1] / points[..., 2] + intrinsics[1, 2]
    return np.stack([x, y], axis=-1)


def between(pose_from: np.ndarray, pose_to: np.ndarray) -> np.ndarray:
    """The float [4,4] that takes points from one camera's axes to another's; poses are camera-to-world, float [4,4]."""
    return np.linalg.inv(pose_to) @ pose_from


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points float [...,3] moved by a rigid float [4,4]."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


@dataclass(frozen=True, eq=False)
class CameraMotion:
    """How the camera got from the frame before to this one, as far as flow and disparity tell.

    translation: float64 [3], of points from this camera's axes to the one's before (x right, y down, z forward), in units
    of 1 / disparity. rotation: float64 [3], the same as a rotation vector in radians.
    """

    translation: np.ndarray
    rotation: np.ndarray

    def flow(self, disparity: np.ndarray, focal: float) -> np.ndarray:
        """To where points of a scene at rest were in the picture before, float32 [h,w,2], pixels.

        disparity: float32 [h,w], 0 at infinity, in the unit that the motion was found in. focal: in pixels of this size.
        """
        x, y = rays(disparity.shape, focal)
        right, down, ahead, pitch, yaw, roll = np.concatenate([self.translation, self.rotation]).astype(np.float32)
        shrink = 1 / np.maximum(1 + ahead * disparity, np.float32(0.5))  # what it comes closer by on the way back
        u = (right - ahead * x) * disparity * shrink + (yaw * (1 + x * x) - pitch * x * y - roll * y)
        v = (down - ahead * y) * disparity * shrink + (yaw * x * y - pitch * (1 + y * y) + roll * x)
        return cv2.merge([u, v]) * np.float32(focal)

    def matrix(self) -> np.ndarray:
        """The rotation, float64 [3,3], of column vectors from this camera's axes to the one's before."""
        return cv2.Rodrigues(self.rotation)[0]


def camera_motion(
    disparity: np.ndarray, points: np.ndarray, to_previous: np.ndarray, size: tuple[int, int], focal: float
) -> CameraMotion | None:
    """The rigid motion that best explains how points of known disparity moved; None where there are too few.

    disparity: float [n], 0 at infinity, any unit. points: float [n,2], where they are now, x and y in pixels. to_previous:
    float [n,2], from there to where they were before. size: (height, width) of the picture. focal: in pixels; a guess will do.

    The equations of Longuet-Higgins and Prazdny (1980), linear in the motion once disparity is given, with the point before
    in the place of the point now for the translation and the point half way for the rotation, so that large steps are right
    too. Solved by robust reweighted least squares (Cauchy), so that things which move by themselves do not count.
    """
    if len(disparity) < _LEAST_POINTS:
        return None
    x, y = ((points - np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])) / focal).T
    u, v = (to_previous.astype(np.float64) / focal).T
    near = disparity.astype(np.float64)
    rows, seen = np.concatenate(_motion_equations(near, x, y, u, v)), np.concatenate([u, v])
    prior = np.diag([_PRIOR * float(np.mean(near * near)) + 1e-9] * 3 + [1e-9] * 3) * len(near)
    motion = _solve_motion(rows, seen, prior, _LEAST_MISS / focal)
    return CameraMotion(motion[:3], motion[3:])


def _motion_equations(near: np.ndarray, x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """[n,6] each, for u and for v: what a unit of translation x, y, z and of rotation x, y, z does to the flow."""
    none = np.zeros_like(near)
    half_x, half_y = x + u / 2, y + v / 2
    for_u = [near, none, -near * (x + u), -half_x * half_y, 1 + half_x**2, -half_y]
    for_v = [none, near, -near * (y + v), -1 - half_y**2, half_x * half_y, half_x]
    return [np.stack(for_u, axis=1), np.stack(for_v, axis=1)]


def _solve_motion(rows: np.ndarray, seen: np.ndarray, prior: np.ndarray, least_miss: float) -> np.ndarray:
    """The motion [6]. least_miss: in focal lengths."""
    motion = np.zeros(6)
    weight = np.ones(len(seen) // 2)
    for _ in range(_ROUNDS):
        weighted = rows * np.tile(weight, 2)[:, None]
        motion = np.linalg.solve(weighted.T @ rows + prior, weighted.T @ seen)
        miss = np.hypot(*(rows @ motion - seen).reshape(2, -1))
        usual = max(float(np.median(miss)), least_miss)
        weight = 1 / (1 + (miss / (3 * usual)) ** 2)
    return motion


def advance(disparity: np.ndarray, motion: CameraMotion | None, focal: float) -> np.ndarray:
    """The disparity that points seen before, already at their place in this frame, have now that the camera has moved.

    disparity: float32 [h,w], as it was before, 0 at infinity. focal: in pixels of this size. A point at depth Z now was at
    Z (1 + pitch y - yaw x) + t before, t the step forward: turning, too, changes the depth of what is not straight ahead.
    """
    if motion is None:
        return disparity
    x, y = rays(disparity.shape, focal)
    ahead, pitch, yaw = (np.float32(part) for part in (motion.translation[2], *motion.rotation[:2]))
    turned = 1 + pitch * y - yaw * x
    return disparity * np.clip(turned, np.float32(0.5), 2) / np.clip(1 - ahead * disparity, np.float32(0.5), 2)


def rays(size: tuple[int, ...], focal: float) -> tuple[np.ndarray, np.ndarray]:
    """float32 x [1,w] and y [h,1] of the points that pixels see at depth 1; focal in pixels."""
    height, width = size
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2) / focal
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2) / focal
    return x[None].astype(np.float32), y[:, None].astype(np.float32)


def fit_rotation(source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The rotation float64 [3,3] that brings unit row vectors [n,3] onto others best, by weights [n] of at least 0.

    Kabsch's (Acta Crystallographica A32, 1976), with a pull to none that settles what vectors of one direction leave open.
    """
    both = (source * weight[:, None]).T.astype(np.float64) @ target + _NO_ROTATION * (weight.sum() + 1e-9) * np.eye(3)
    left, _, right = np.linalg.svd(both)
    return left @ np.diag([1, 1, np.sign(np.linalg.det(left @ right))]) @ right


def to_gl(rotation: np.ndarray) -> np.ndarray:
    """A rotation [3,3] between OpenCV axes, as one between GL axes (y up, z toward the camera)."""
    flip = np.diag([1.0, -1.0, -1.0])
    return flip @ rotation @ flip


def unit(vectors: np.ndarray) -> np.ndarray:
    """float [...,3] at unit length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
