"""The records that walk through the house. Each checks its own shape and carries its own time.

Conventions: depth is affine-invariant disparity in [0,1], near = large, sky 0; normals are unit vectors in camera space,
+X right, +Y up, +Z toward the camera; time is rational, `pts * time_base` seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

SourceKind = Literal["video", "still", "sequence", "live"]


def _require(ok: bool, what: str) -> None:
    if not ok:
        raise ValueError(what)


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of the source, upright, at the size a viewer shows.

    index: position among the frames read, from 0; for a sequence of stills the number in the file's own name.
    pts, time_base: shown at `pts * time_base` seconds.
    rgb: uint8 [H,W,3], display-referred RGB, full range.
    """

    index: int
    pts: int
    time_base: Fraction
    rgb: np.ndarray

    def __post_init__(self) -> None:
        _require(self.rgb.dtype == np.uint8, f"Frame.rgb must be uint8, got {self.rgb.dtype}")
        _require(self.rgb.ndim == 3 and self.rgb.shape[2] == 3, f"Frame.rgb must be [H,W,3], got {self.rgb.shape}")

    @property
    def seconds(self) -> Fraction:
        return self.pts * self.time_base

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]


@dataclass(frozen=True, eq=False)
class Maps:
    """The geometry of one frame; each map is optional.

    depth: float32 [h,w], disparity in [0,1], near = large. normal: float32 [h,w,3], unit length, camera space (GL axes).
    """

    depth: np.ndarray | None = None
    normal: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.depth is not None:
            _require(
                self.depth.dtype == np.float32 and self.depth.ndim == 2, _got("Maps.depth", "float32 [h,w]", self.depth)
            )
        if self.normal is not None:
            shape_ok = self.normal.ndim == 3 and self.normal.shape[2] == 3
            _require(self.normal.dtype == np.float32 and shape_ok, _got("Maps.normal", "float32 [h,w,3]", self.normal))
        sizes = {m.shape[:2] for m in (self.depth, self.normal) if m is not None}
        _require(len(sizes) == 1, f"Maps needs one or two maps of one size, got sizes {sorted(sizes)}")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        first = self.depth if self.depth is not None else self.normal
        assert first is not None
        return first.shape[0], first.shape[1]


@dataclass(frozen=True, eq=False)
class Flow:
    """Where each pixel of a frame was in the frame before.

    to_previous: float32 [h,w,2], (dx, dy) in pixels of this grid: what is seen at (x, y) was at (x+dx, y+dy) before.
    valid: bool [h,w], False where that point was hidden, out of the picture, or the match is not to be trusted.
    """

    to_previous: np.ndarray
    valid: np.ndarray

    def __post_init__(self) -> None:
        ok = self.to_previous.dtype == np.float32 and self.to_previous.ndim == 3 and self.to_previous.shape[2] == 2
        _require(ok, _got("Flow.to_previous", "float32 [h,w,2]", self.to_previous))
        _require(self.valid.dtype == np.bool_, f"Flow.valid must be bool, got {self.valid.dtype}")
        _require(self.valid.shape == self.to_previous.shape[:2], "Flow.valid and to_previous differ in size")


@dataclass(frozen=True, eq=False)
class Chunk:
    """Consecutive frames, the unit of work, of retry and of storage.

    number: 0-based. rgb: uint8 [N,h,w,3] at the size the model asked for. halo: uint8 [h,w,3], the last frame of the chunk
    before (None for the first chunk), so that optical flow needs no shared state. first: the count of frames before it.
    sharpen: whether the detail sharpener of the model goes over them too.
    """

    number: int
    rgb: np.ndarray
    halo: np.ndarray | None = None
    first: int = 0
    sharpen: bool = False

    def __post_init__(self) -> None:
        ok = self.rgb.dtype == np.uint8 and self.rgb.ndim == 4 and self.rgb.shape[3] == 3 and len(self.rgb) > 0
        _require(ok, _got("Chunk.rgb", "uint8 [N,h,w,3]", self.rgb))
        _require(
            self.halo is None or self.halo.shape == self.rgb.shape[1:], "Chunk.halo must have the size of its frames"
        )

    def __str__(self) -> str:
        return f"frames {self.first} to {self.first + len(self.rgb) - 1}"


@dataclass(frozen=True, eq=False)
class Estimated:
    """What the workers made of one chunk: for each of its frames the maps and the flow to the frame before.

    flows[i] is None for the first frame of a video, and everywhere when no flow was asked for. stored: the maps were not
    computed now, they come from the work folder. sharp: once more with the detail sharpener, for key frames; None for the
    others, and empty where nobody asked for key frames.
    """

    chunk: Chunk
    maps: tuple[Maps, ...]
    flows: tuple[Flow | None, ...]
    stored: bool = False
    sharp: tuple[Maps | None, ...] = ()

    def __post_init__(self) -> None:
        _require(len(self.maps) == len(self.flows) == len(self.chunk.rgb), "Estimated: one map and one flow a frame")
        _require(len(self.sharp) in (0, len(self.maps)), "Estimated: sharp has an entry a frame, or none at all")


@dataclass(frozen=True)
class Audio:
    """One audio stream of the source, as found."""

    codec: str
    sample_rate: int
    channels: int


@dataclass(frozen=True)
class StreamInfo:
    """What a source is, as a viewer would see it. Unknown values are None.

    width, height: upright, square pixels. frames: as the container claims; the count that decodes may differ. rate: average
    frames a second. constant_rate: whether all steps are equal. start, duration: seconds. rotation: degrees clockwise that
    were applied to show it upright. matrix, transfer, color_range: names as ffmpeg gives them. hdr: transfer is PQ or HLG.
    """

    path: str
    kind: SourceKind
    width: int
    height: int
    time_base: Fraction
    frames: int | None = None
    rate: Fraction | None = None
    constant_rate: bool | None = None
    start: Fraction | None = None
    duration: Fraction | None = None
    codec: str | None = None
    pixel_format: str | None = None
    rotation: int = 0
    pixel_aspect: Fraction = Fraction(1)
    matrix: str | None = None
    transfer: str | None = None
    color_range: str | None = None
    hdr: bool = False
    interlaced: bool = False
    audio: tuple[Audio, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class Result:
    """What a sink writes: a source frame and its maps at that frame's size."""

    frame: Frame
    maps: Maps

    def __post_init__(self) -> None:
        _require(self.frame.size == self.maps.size, f"Result: frame {self.frame.size}, maps {self.maps.size}")

    @property
    def rgb(self) -> np.ndarray:
        """uint8 [H,W,3], the source's picture."""
        return self.frame.rgb

    @property
    def depth(self) -> np.ndarray | None:
        """float32 [H,W], disparity in [0,1], near = large; None where it was not asked for."""
        return self.maps.depth

    @property
    def normal(self) -> np.ndarray | None:
        """float32 [H,W,3], unit, +X right, +Y up, +Z toward the camera; None where it was not asked for."""
        return self.maps.normal

    @property
    def seconds(self) -> Fraction:
        """When the frame is shown."""
        return self.frame.seconds


def _got(name: str, want: str, array: np.ndarray) -> str:
    return f"{name} must be {want}, got {array.dtype} {array.shape}"
