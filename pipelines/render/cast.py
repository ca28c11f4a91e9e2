"""Runs the ray caster on the CPU (numpy out) or on a GPU (torch tensors out, nothing copied back)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from . import layout
from .cuda import GpuCaster
from .native import cpu_library
from .pack import View, pack
from .scene import Scene
from .textures import TextureLibrary

Array = Any  # numpy.ndarray on the CPU, torch.Tensor on a GPU
GEOMETRY = ("depth", "normal", "object")
FLOW = ("flow_forward", "flow_backward", "occluded_forward", "occluded_backward")


class Caster(Protocol):
    """Where rays are cast: holds arrays, gives their addresses, runs a job."""

    def upload(self, array: np.ndarray) -> Array: ...
    def empty(self, shape: tuple[int, ...], dtype: str) -> Array: ...
    def address(self, array: Array) -> int: ...
    def run(self, job: layout.Job) -> None: ...


class CpuCaster:
    """Plain threads. threads: how many; default the processors this process may use, or OMP_NUM_THREADS."""

    def __init__(self, threads: int | None = None):
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or allowed

    def upload(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array)

    def empty(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.empty(shape, dtype)

    def address(self, array: np.ndarray) -> int:
        return array.ctypes.data

    def run(self, job: layout.Job) -> None:
        cpu_library().render(ctypes.byref(job), self.threads)


@dataclass(frozen=True)
class Quality:
    """samples: colour samples a pixel. ambient: hemispheric rays a sample (0: none, flat ambient light)."""

    samples: int = 1
    ambient: int = 1


STANDARD = Quality()


class Renderer:
    """One device with one texture library on it, ready for any number of scenes.

    Args:
        textures: the library whose indices the materials use.
        device: "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, textures: TextureLibrary, device: str = "cpu", threads: int | None = None):
        self.device = device
        self.caster: Caster = CpuCaster(threads) if device == "cpu" else GpuCaster(device)
        table, texels = textures.pack()
        self._textures = {"textures": self.caster.upload(table), "texels": self.caster.upload(texels)}

    def cast(
        self, scene: Scene, views: list[View], size: tuple[int, int], want: Iterable[str], quality: Quality = STANDARD
    ) -> dict[str, Array]:
        """Renders all views of one scene in one go.

        Args:
            size: (height, width). want: names of layout.OUTPUTS.

        Returns:
            name -> array [N, height, width, ...]: radiance float32 linear RGB; depth float32 z-depth in metres at the pixel
            centre, inf where nothing is hit; normal float32, unit, +X right +Y up +Z toward the camera, 0 where nothing is
            hit; flow_* float32 (dx, dy) pixels to the following / previous view; occluded_* uint8, 1 where that point is
            hidden or out of the picture there; object int32, index in scene.instances, -1 where nothing is hit.
        """
        return self.cast_tables(pack(scene, views), size, want, quality)

    def cast_tables(
        self, packed: dict[str, np.ndarray], size: tuple[int, int], want: Iterable[str], quality: Quality = STANDARD
    ) -> dict[str, Array]:
        """The same for a scene and views that pack() has already turned into tables, perhaps in another process."""
        count = len(packed["frames"])
        tables = {k: self.caster.upload(_bytes(a)) for k, a in packed.items()} | self._textures
        outputs = {k: self.caster.empty((count, *size, *layout.OUTPUTS[k][0]), layout.OUTPUTS[k][1]) for k in want}
        job = layout.Job(frame_count=count, height=size[0], width=size[1])
        job.samples, job.ambient_samples = quality.samples, quality.ambient
        for name, array in (tables | outputs).items():
            setattr(job, name, self.caster.address(array))
        self.caster.run(job)
        return outputs


def _bytes(table: np.ndarray) -> np.ndarray:
    """Records as plain bytes: a GPU library knows no structured dtypes."""
    return np.ascontiguousarray(table).reshape(-1).view(np.uint8)
