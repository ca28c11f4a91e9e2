"""The fake predictor: a deterministic function of the pixels, with no weights, for tests and for trying the walk."""

from __future__ import annotations

import cv2
import numpy as np

from ..frames import Maps
from . import ModelOptions


class FakePredictor:
    """Depth is the blurred brightness, normals its slope. `sharpen` leaves the blur out."""

    kinds = ("depth", "normal")
    fingerprint = "fake-1"

    def __init__(self, options: ModelOptions | None = None):
        self.options = options or ModelOptions(kinds=("depth", "normal"))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        short = min(self.options.res or 96, height, width)
        scale = short / min(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        return [self._one(frame, sharpen) for frame in rgb]

    def _one(self, frame: np.ndarray, sharpen: bool) -> Maps:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        depth = grey if sharpen else cv2.blur(grey, (5, 5), borderType=cv2.BORDER_REPLICATE)
        wanted = self.options.kinds
        return Maps(depth if "depth" in wanted else None, _slope(depth) if "normal" in wanted else None)

    def close(self) -> None:
        pass


def _slope(depth: np.ndarray) -> np.ndarray:
    """Unit normals, float32 [h,w,3], of the height field `depth`."""
    dx = cv2.Scharr(depth, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Scharr(depth, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    normal = np.dstack([-dx, dy, np.ones_like(depth)])
    return normal / np.linalg.norm(normal, axis=2, keepdims=True)
