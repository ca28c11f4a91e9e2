"""The frames of a video with their depth, one at a time: nothing is held in memory, nothing is written.

python examples/depth_of_a_video.py examples/demo.mp4
"""

import sys

import lotus2_video

for frame in lotus2_video.estimate(sys.argv[1]):
    # frame.rgb: uint8 [H,W,3]; frame.depth: float32 [H,W], disparity in [0,1], near = large; frame.seconds: a Fraction
    y, x = divmod(int(frame.depth.argmax()), frame.depth.shape[1])
    print(f"{float(frame.seconds):7.3f} s  nearest at x={x}, y={y}  mean disparity {frame.depth.mean():.3f}")
