"""How right the estimate of the demo clip is: its scene is our own, so its exact depth is known.

python examples/how_right.py
"""

from pathlib import Path

import cv2
import numpy as np

import lotus2_video
from lotus2_video.ops import metrics

HERE = Path(__file__).parent
LIMITS = (0.1, 20.0)  # metres: the room and the near garden; beyond is sky

truth = np.load(HERE / "demo_truth.npz")  # frames [N], disparity [N,h,w] in 1/metres
exact = dict(zip(truth["frames"].tolist(), truth["disparity"].astype(np.float32), strict=True))
found, depths = [], []
for frame in lotus2_video.estimate(str(HERE / "demo.mp4")):
    if frame.frame.index in exact:
        disparity = exact[frame.frame.index]
        found.append(cv2.resize(frame.depth, disparity.shape[::-1], interpolation=cv2.INTER_AREA))
        depths.append(np.where(disparity > 0, 1 / np.maximum(disparity, 1e-6), 0))
each = metrics.score_frames(np.stack(found), np.stack(depths), LIMITS)
clip = metrics.score_clip(np.stack(found), np.stack(depths), LIMITS)
print(f"{len(found)} frames with exact depth, {LIMITS[0]:g} to {LIMITS[1]:g} m")
print(f"mean error of depth {100 * each.absrel:.1f} %, scale and shift fitted a frame")
print(f"mean error of depth {100 * clip.absrel:.1f} %, one scale and shift for the whole clip")
