"""What a result looks like in the formats that are pictures, whatever file they end up in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import Kind, RunConfig
from ..frames import Result
from ..ops import colour

_DEPTH = "affine-invariant disparity, near = large, 0 to 1 over the whole video"
_AXES = {
    "gl": "+X right, +Y up, +Z toward the camera",
    "cv": "+X right, +Y down, +Z into the scene",
    "directx": "+X right, +Y down, +Z toward the camera",
    "lotus": "+X left, +Y up, +Z toward the camera",
}


@dataclass(frozen=True)
class Look:
    """How one map becomes a picture."""

    kind: Kind
    colormap: str = "gray"
    side_by_side: bool = False
    normal_space: str = "gl"

    @classmethod
    def of(cls, kind: Kind, config: RunConfig) -> Look:
        return cls(kind, config.colormap if kind == "depth" else "gray", config.side_by_side, config.normal_space)

    @property
    def gray(self) -> bool:
        """Whether the picture has one channel."""
        return self.kind == "depth" and self.colormap == "gray" and not self.side_by_side

    def width(self, source: int) -> int:
        return 2 * source if self.side_by_side else source

    @property
    def meaning(self) -> str:
        """What the numbers of the map mean, for the metadata of a file."""
        return _DEPTH if self.kind == "depth" else f"unit normals in camera space, {_AXES[self.normal_space]}"

    @property
    def picture_meaning(self) -> str:
        """The same for a picture, which holds normals as colour."""
        return self.meaning if self.kind == "depth" else f"{self.meaning}, as (n+1)/2"

    def eight(self, result: Result) -> np.ndarray:
        """A dithered uint8 RGB picture [H,W,3]."""
        if self.kind == "depth":
            picture = colour.apply_colormap(depth_of(result), self.colormap)
        else:
            picture = colour.dither(colour.encode_normal(normal_of(result), self.normal_space))
        return colour.side_by_side(result.frame.rgb, picture) if self.side_by_side else picture

    def sixteen(self, result: Result) -> np.ndarray:
        """A uint16 picture: [H,W] where `gray`, else RGB [H,W,3]."""
        if self.gray:
            return colour.to_uint16(depth_of(result))
        if self.kind == "depth":
            picture = colour.apply_colormap16(depth_of(result), self.colormap)
        else:
            picture = colour.to_uint16(colour.encode_normal(normal_of(result), self.normal_space))
        return colour.side_by_side(result.frame.rgb, picture) if self.side_by_side else picture


def depth_of(result: Result) -> np.ndarray:
    """float32 [H,W]. Raises ValueError for a result without it: the model was to make every map that was asked for."""
    return _present(result.maps.depth, "depth", result)


def normal_of(result: Result) -> np.ndarray:
    """float32 [H,W,3]. Raises ValueError for a result without it."""
    return _present(result.maps.normal, "normal", result)


def _present(image: np.ndarray | None, kind: str, result: Result) -> np.ndarray:
    if image is None:
        raise ValueError(f"frame {result.frame.index} has no {kind} map")
    return image
