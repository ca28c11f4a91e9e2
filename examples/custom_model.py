"""A model of your own, in the same walk as ours: any pure function from frames to maps.

python examples/custom_model.py examples/demo.mp4 out.mp4
"""

import sys

import cv2
import numpy as np

from lotus2_video import Job, Maps, ModelCard, ModelOptions, RunConfig, register, run_video


class Upright:
    """Whatever is lower in the picture is nearer, and darker things are farther."""

    kinds = ("depth",)
    fingerprint = "upright-1"

    def input_size(self, height, width):
        return height // 4, width // 4

    def predict(self, rgb, *, sharpen=False):
        down = np.linspace(0, 1, rgb.shape[1], dtype=np.float32)[:, None]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255 for frame in rgb]
        return [Maps(depth=0.8 * down + 0.2 * each) for each in grey]

    def close(self):
        pass


def make(rest: str, options: ModelOptions) -> Upright:
    return Upright()


register(ModelCard("upright", "a toy", ("depth",), "CC0", sharpener=False, where=lambda: "no weights", make=make))
print(run_video(Job(sys.argv[1], sys.argv[2], RunConfig(model="upright"))))
