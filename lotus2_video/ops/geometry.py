"""Pinhole cameras: from pixels with depth to points, and back. OpenCV axes: x right, y down, z forward, metres."""

from __future__ import annotations

import numpy as np


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
