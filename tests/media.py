"""Small films and pictures that the tests make for themselves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def picture(i: int, height: int = 72, width: int = 128) -> np.ndarray:
    """uint8 [H,W,3]: a soft background with a bright disc that moves with i."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rgb = np.dstack([x / width, y / height, 0.5 + 0 * x]) * 160
    disc = (x - 20 - 3 * i) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
    rgb[disc] = (250, 240, 60)
    return rgb.astype(np.uint8)


def film(
    path: Path, frames: int = 20, size: tuple[int, int] = (72, 128), pts: list[int] | None = None, time_base: int = 600
) -> Path:
    """A lossless-looking H.264 film; `pts` in ticks of 1/time_base seconds (default: 24 a second)."""
    ticks = pts or [i * time_base // 24 for i in range(frames)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, time_base)
        for i, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def stills(folder: Path, numbers: list[int], size: tuple[int, int] = (72, 128)) -> Path:
    """A folder of PNGs, `shot.NNNN.png`."""
    folder.mkdir()
    for i, number in enumerate(numbers):
        cv2.imwrite(str(folder / f"shot.{number:04d}.png"), picture(i, *size)[:, :, ::-1])
    return folder


def seconds_of(path: Path) -> list[Fraction]:
    """When each frame of a video is shown."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return sorted(f.pts * f.time_base for f in container.decode(stream) if f.pts is not None and f.time_base)
