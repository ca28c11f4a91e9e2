"""One picture, its depth as an array and as a 16-bit PNG: a still is a video of one frame.

python examples/depth_of_a_still.py photo.jpg depth.png
"""

import sys

from lotus2_video import Job, RunConfig, estimate, run_video

(frame,) = estimate(sys.argv[1])
print(f"{frame.depth.shape[1]}x{frame.depth.shape[0]}, disparity {frame.depth.min():.3f} to {frame.depth.max():.3f}")
print(run_video(Job(sys.argv[1], sys.argv[2], RunConfig(format="png"))))
