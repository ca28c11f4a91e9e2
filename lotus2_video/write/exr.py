"""OpenEXR by its official bindings: one file a frame, all maps in it, the same channels in every frame.

`disparity.Y` float32 (affine-invariant disparity, near = large, so never called Z), `N.X N.Y N.Z` half, and R, G, B half as
a preview, because a file without them shows as black. All of it is data: no chromaticities, no colour management.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import OpenEXR

from ..config import Kind
from ..errors import OutputError
from ..frames import Result, StreamInfo
from ..ops import colour
from .look import Look, depth_of, normal_of
from .plan import FrameNames
from .staged import FULL, output_error, writing_to

PREFIX = "lotus2video:"


class ExrWriter:
    """Writes all maps of each frame. tags: attributes for each file, without their prefix."""

    warnings: tuple[str, ...] = ()

    def __init__(
        self,
        names: FrameNames,
        final: Path,
        kinds: tuple[Kind, ...],
        info: StreamInfo,
        tags: dict[str, str],
        normal_space: str,
    ):
        self._names, self._final = names, final
        self._kinds, self._space = kinds, normal_space
        looks = [Look(kind, normal_space=normal_space) for kind in kinds]
        fixed = tags | {"kind": ",".join(kinds), "convention": "; ".join(look.meaning for look in looks)}
        fixed |= {"normal_space": normal_space} if "normal" in kinds else {}
        self._header = {
            "compression": OpenEXR.ZIP_COMPRESSION,
            "type": OpenEXR.scanlineimage,
            "pixelAspectRatio": 1.0,
            **{PREFIX + key: value for key, value in fixed.items()},
        }
        if info.rate:
            self._header["framesPerSecond"] = Fraction(info.rate)

    def write(self, result: Result) -> None:
        path = self._names.file(result.frame)
        base = result.frame.time_base
        header = self._header | {
            PREFIX + "frame": self._names.number(result.frame),
            PREFIX + "pts": str(result.frame.pts),  # text: an EXR integer has 32 bits, a pts may have more
            PREFIX + "time_base": f"{base.numerator}/{base.denominator}",
        }
        with writing_to(self._final):
            try:
                OpenEXR.File(header, self._channels(result)).write(str(path))
            except RuntimeError as error:
                raise self._write_error(error) from error

    def _channels(self, result: Result) -> dict[str, np.ndarray]:
        channels: dict[str, np.ndarray] = {}
        preview: np.ndarray | None = None
        if "depth" in self._kinds:
            depth = np.ascontiguousarray(depth_of(result))
            channels["disparity.Y"] = depth
            preview = np.repeat(depth[:, :, None], 3, axis=2)
        if "normal" in self._kinds:
            normal = colour.to_normal_space(normal_of(result), self._space).astype(np.float16)
            channels |= {f"N.{axis}": np.ascontiguousarray(normal[:, :, i]) for i, axis in enumerate("XYZ")}
            if preview is None:
                preview = colour.encode_normal(normal_of(result), self._space)
        assert preview is not None
        half = preview.astype(np.float16)
        return channels | {name: np.ascontiguousarray(half[:, :, i]) for i, name in enumerate("RGB")}

    def _write_error(self, error: RuntimeError) -> OutputError:
        """OpenEXR tells every failure as text, with the operating system's words in it."""
        code = next((code for code in FULL if os.strerror(code) in str(error)), None)
        return output_error(code, str(error), self._final)

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass
