"""Sequences to measure on, in the layout `NAME/rgb depth [normal] [K.txt] [poses.txt]`.

rgb/NNNNNN.jpg or .png; depth/NNNNNN.png, 16-bit millimetres along the optical axis, 0 = none; normal/NNNNNN.png,
n = rgb/127.5 - 1 in OpenCV axes, for some or all frames; K.txt 3x3, for the rgb; poses.txt one 4x4 row-major a line,
camera to world, OpenCV axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lotus2_video.ops import metrics

OUTDOOR: metrics.Limits = (1e-3, 80.0)  # metres, for what is mostly farther away than rooms are
_MUCH = 0.25  # share of a picture


@dataclass(frozen=True)
class Sequence:
    name: str
    rgb: tuple[Path, ...]
    intrinsics: np.ndarray | None
    poses: np.ndarray | None

    def picture(self, i: int) -> np.ndarray:
        """uint8 [H,W,3], RGB."""
        return _read(self.rgb[i])[:, :, ::-1].copy()

    def depth(self, i: int) -> np.ndarray:
        """float32 [h,w], metres, 0 = none."""
        return _read(self._beside(i, "depth")).astype(np.float32) / 1000

    def normal(self, i: int) -> np.ndarray | None:
        """float32 [h,w,3], unit, our axes (+X right, +Y up, +Z toward the camera), 0 where a pixel has none; None where the
        frame has none."""
        path = self._beside(i, "normal")
        if not path.exists():
            return None
        n = _read(path)[:, :, ::-1].astype(np.float32) / 127.5 - 1
        length = np.linalg.norm(n, axis=2, keepdims=True)
        return np.where(length > 0.5, n / np.maximum(length, 0.5), 0) * np.float32([1, -1, -1])

    def _beside(self, i: int, kind: str) -> Path:
        return self.rgb[i].parents[1] / kind / (self.rgb[i].stem + ".png")


def limits_of(depth: np.ndarray) -> metrics.Limits:
    """The range, in metres, in which maps of such depths (0 = none) are compared: outdoors where much is beyond a room's.

    What is beyond is held to the end of the range for the alignment error, and moves with the camera there: in a street of
    which four tenths were beyond 10 m, the exact depth itself had two thirds of the error of an estimate.
    """
    known = depth[depth > 0]
    return OUTDOOR if known.size and np.mean(known > metrics.INDOOR[1]) > _MUCH else metrics.INDOOR


def load(folder: str | Path, every: int = 1) -> Sequence:
    """The sequence in `folder`, or every `every`-th frame of it."""
    folder = Path(folder)
    rgb = sorted(path for path in (folder / "rgb").iterdir() if path.suffix in (".jpg", ".png"))
    if not rgb:
        raise FileNotFoundError(f"{folder}/rgb holds no pictures")
    poses = _matrix(folder / "poses.txt")
    poses = None if poses is None else poses.reshape(-1, 4, 4)[::every]
    return Sequence(folder.name, tuple(rgb[::every]), _matrix(folder / "K.txt"), poses)


def _matrix(path: Path) -> np.ndarray | None:
    return np.loadtxt(path) if path.exists() else None


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(f"{path} is missing or not a picture")
    return picture
