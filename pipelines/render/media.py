"""Rendered frames to files: mp4, the folders of the evaluation layout, contact sheets."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def write_video(
    path: Path, pictures: Iterable[np.ndarray], rate: int, crf: int = 20, audio: np.ndarray | None = None
) -> None:
    """H.264 (yuv420p, faststart) of uint8 [h,w,3] pictures with even sides; audio: float32 [samples] at 48 kHz, mono."""
    import av  # a machine that only trains may not have it

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as out:
        video = out.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "slow", "threads": "1"})
        video.pix_fmt, video.time_base = "yuv420p", Fraction(1, rate)
        sound = out.add_stream("aac", rate=48000, layout="mono", bit_rate=48000) if audio is not None else None
        for index, picture in enumerate(pictures):
            if index == 0:
                video.height, video.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts = index
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None and audio is not None:
            for start in range(0, len(audio), 1024):
                block = av.AudioFrame.from_ndarray(audio[None, start : start + 1024].astype(np.float32), "fltp", "mono")
                block.sample_rate, block.pts = 48000, start
                out.mux(sound.encode(block))
            out.mux(sound.encode(None))


def hum(seconds: float) -> np.ndarray:
    """A quiet chord that swells and fades: float32 [samples] at 48 kHz."""
    t = np.arange(int(seconds * 48000)) / 48000
    chord = sum(np.sin(2 * np.pi * f * t) / k for k, f in enumerate((110.0, 164.81, 220.0, 277.18), 1))
    return (0.03 * chord * np.sin(np.pi * t / seconds) ** 2).astype(np.float32)


def host(array: Any) -> np.ndarray:
    """A numpy array of an array on any device."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def write_frames(folder: Path, rendered: Any, first: int = 0) -> None:
    """Writes frames in the layout of the evaluation data, numbered from `first`.

    rgb/NNNNNN.png; depth/NNNNNN.png, 16 bits, z-depth in millimetres, 0 where infinite or beyond 65 m; normal/NNNNNN.png,
    n = rgb / 127.5 - 1 in OpenCV axes (ours are (x, -y, -z) of it).
    """
    for name in ("rgb", "depth", "normal"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rgb, disparity, normal = host(rendered.rgb), host(rendered.disparity), host(rendered.normal)
    for k in range(len(rgb)):
        with np.errstate(divide="ignore"):
            millimetres = np.round(1000 / disparity[k])
        depth = np.where(millimetres < 65536, millimetres, 0).astype(np.uint16)
        axes = np.round((normal[k] * (1, -1, -1) + 1) * 127.5).astype(np.uint8)
        for name, picture in (("rgb", rgb[k][:, :, ::-1]), ("depth", depth), ("normal", axes[:, :, ::-1])):
            cv2.imwrite(str(folder / name / f"{first + k:06d}.png"), picture)


def write_sequence(folder: Path, rendered: Any, rate: int = 24) -> None:
    """Writes a Rendered clip as a posed RGB-D sequence: write_frames() and

    K.txt, 3x3, pixel centres at integers; poses.txt, one 4x4 row-major a line, camera to world, OpenCV axes;
    disparity.npz, flow.npz: the exact floats; clip.mp4.
    """
    write_frames(folder, rendered)
    np.savetxt(folder / "K.txt", rendered.K[0], fmt="%.6f")
    np.savetxt(folder / "poses.txt", rendered.pose.reshape(len(rendered), 16), fmt="%.8f")
    np.savez_compressed(folder / "disparity.npz", disparity=host(rendered.disparity))
    if rendered.flow_forward is not None:
        names = ("flow_forward", "flow_backward", "occluded_forward", "occluded_backward")
        flows: dict[str, Any] = {n: host(getattr(rendered, n)) for n in names}
        np.savez_compressed(folder / "flow.npz", **flows)
    write_video(folder / "clip.mp4", host(rendered.rgb), rate)


def panel(rendered: Any, index: int) -> np.ndarray:
    """One frame as picture | normals | disparity | flow, where there is flow: uint8 [h, k*w, 3]."""
    disparity = host(rendered.disparity[index])
    top = max(float(np.quantile(disparity, 0.98)), 1e-9)
    shade = (255 * np.sqrt(np.clip(disparity / top, 0, 1))).astype(np.uint8)
    normal = ((host(rendered.normal[index]) + 1) * 127.5).astype(np.uint8)
    parts = [host(rendered.rgb[index]), normal, cv2.applyColorMap(shade, cv2.COLORMAP_INFERNO)[:, :, ::-1]]
    if rendered.flow_forward is not None:
        parts.append(flow_color(host(rendered.flow_forward[index]), host(rendered.occluded_forward[index])))
    return np.concatenate(parts, 1)


def flow_color(flow: np.ndarray, occluded: np.ndarray) -> np.ndarray:
    """Direction as hue, length as saturation, hidden dark: uint8 [h,w,3]."""
    length, angle = np.hypot(flow[..., 0], flow[..., 1]), np.arctan2(flow[..., 1], flow[..., 0])
    hsv = np.empty((*flow.shape[:2], 3), np.uint8)
    hsv[..., 0] = (angle / np.pi + 1) * 89.5
    hsv[..., 1] = np.clip(length / max(float(np.quantile(length, 0.95)), 1e-6), 0, 1) * 255
    hsv[..., 2] = np.where(occluded, 90, 255)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def write_sheet(path: Path, panels: list[np.ndarray], columns: int = 2) -> None:
    """Panels of one size in a grid, as PNG."""
    blank = np.zeros_like(panels[0])
    rows = [panels[k : k + columns] for k in range(0, len(panels), columns)]
    rows[-1] += [blank] * (columns - len(rows[-1]))
    sheet = np.concatenate([np.concatenate(row, 1) for row in rows])
    cv2.imwrite(str(path), sheet[:, :, ::-1])
