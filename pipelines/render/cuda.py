"""The GPU side of the ray caster: compile raycast.c with nvcc, or with NVRTC through CuPy where that fails, and launch it.

Torch holds the memory; both ways hand the kernel one pointer to a Job in device memory.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from . import layout
from .native import HERE, CompilerError, build

THREADS = 128  # a block; as in raycast.c
Launch = Callable[[int, int, int], None]  # address of the job, blocks, stream


class GpuCaster:
    """Casts on one NVIDIA GPU. Raises CompilerError where there is no CUDA device or nothing to compile with."""

    def __init__(self, device: str = "cuda"):
        import torch

        if not torch.cuda.is_available():
            raise CompilerError("no CUDA device is visible to torch; use device='cpu'")
        self.torch = torch
        self.device = torch.device(device)
        with torch.cuda.device(self.device):
            self.launch = self._compile()

    def upload(self, array: np.ndarray) -> Any:
        # A copy of its own: torch wants writable memory, and the transfer may outlive the caller's array.
        return self.torch.from_numpy(np.array(array)).to(self.device)

    def empty(self, shape: tuple[int, ...], dtype: str) -> Any:
        return self.torch.empty(shape, dtype=getattr(self.torch, dtype), device=self.device)

    def address(self, array: Any) -> int:
        return array.data_ptr()

    def run(self, job: layout.Job) -> None:
        """Queues the job on torch's current stream; its results are ordered after it like any torch operation's."""
        tiles = job.frame_count * ((job.height + 7) // 8) * ((job.width + 7) // 8)
        with self.torch.cuda.device(self.device):
            resident = self.upload(np.frombuffer(bytes(job), np.uint8))
            stream = self.torch.cuda.current_stream()
            self.launch(resident.data_ptr(), (tiles * 64 + THREADS - 1) // THREADS, stream.cuda_stream)

    def _compile(self) -> Launch:
        major, minor = self.torch.cuda.get_device_capability()
        if not shutil.which("nvcc"):
            return _with_cupy(self.torch)
        try:
            return _with_nvcc(f"sm_{major}{minor}")
        except CompilerError:
            return _with_cupy(self.torch)


def _with_nvcc(architecture: str) -> Launch:
    flags = ["-O3", f"-arch={architecture}", "--fmad=true", "-shared", "-Xcompiler", "-fPIC", "-x", "cu"]
    library = ctypes.CDLL(str(build(["nvcc", *flags], [HERE / "raycast.c"])))

    def launch(job: int, blocks: int, stream: int) -> None:
        error = library.render_launch(ctypes.c_void_p(job), ctypes.c_uint(blocks), ctypes.c_void_p(stream))
        if error:
            raise RuntimeError(f"the ray caster did not start: CUDA error {error}")

    return launch


def _with_cupy(torch: Any) -> Launch:
    try:
        import cupy  # pyright: ignore[reportMissingImports]
    except ImportError as exc:
        raise CompilerError("rendering on a GPU needs nvcc or CuPy to compile its kernel; neither works here") from exc
    source = (HERE / "raycast.c").read_text()
    kernel = cupy.RawModule(code=source, options=("--std=c++14",)).get_function("render_kernel")

    def launch(job: int, blocks: int, stream: int) -> None:
        with cupy.cuda.Device(torch.cuda.current_device()), cupy.cuda.ExternalStream(stream):
            kernel((blocks,), (THREADS,), (np.uint64(job),))

    return launch
