"""Sequences with measured depth, in the layout `rgb/ depth/ [normal/]`: looked at while training runs, never learned from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lotus2_video.ops import metrics

from .check import SHORT, Figures
from .core import forward_of, scaled

EVERY = 5  # of the frames; those of rendered_living that have normals are every fifth


@torch.no_grad()
def check_sequence(weights: dict[str, Tensor], folder: Path, device: torch.device, scale: float = 1.0) -> Figures:
    """AbsRel by the published alignment, and the mean error of normals in degrees where the folder has them; of every fifth
    frame."""
    forward, depths, angles = forward_of(device), [], []
    for path in sorted((folder / "depth").glob("*.png"))[::EVERY]:
        truth = _read(path).astype(np.float32) / 1000
        picture = _read(next((folder / "rgb").glob(f"{path.stem}.*")))
        rgb = torch.from_numpy(picture[:, :, ::-1].copy()).to(device).permute(2, 0, 1)[None].float() / 255
        size = scaled((rgb.shape[-2], rgb.shape[-1]), SHORT * scale / min(rgb.shape[-2:]))
        small = F.interpolate(rgb, size, mode="bilinear", antialias=True)
        maps = [
            F.interpolate(m, truth.shape, mode="bilinear", align_corners=False)[0].cpu().numpy()
            for m in forward(weights, small)
        ]
        depths.append(metrics.score_frame(maps[0][0].clip(0, 1), truth).absrel)
        if (exact := folder / "normal" / path.name).exists():
            angles.append(_angle(maps[1], _read(exact)))
    found = {f"{folder.name}_absrel": float(np.mean(depths))}
    return found | ({f"{folder.name}_degrees": float(np.mean(angles))} if angles else {})


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"{path} cannot be decoded")
    return picture


def _angle(raw: np.ndarray, stored: np.ndarray) -> float:
    """Of normals [3,h,w] against a picture of them, BGR as read, in OpenCV's axes."""
    truth = stored[:, :, ::-1].astype(np.float32) / 127.5 - 1
    truth *= np.array([1, -1, -1], np.float32)
    length = np.linalg.norm(truth, axis=2, keepdims=True)
    truth = np.where(length > 0.5, truth / np.maximum(length, 1e-6), 0)
    normal = raw.transpose(1, 2, 0)
    return metrics.score_normals(normal / np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-6), truth).mean
