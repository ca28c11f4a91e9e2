"""Builds the C sources with the machine's own compiler, once, into a cache; finds them again by their content."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from .layout import NODE, Job

HERE = Path(__file__).parent
CPU_FLAGS = ["-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
CPU_FLAGS += ["-fopenmp", "-shared", "-fPIC"]


class CompilerError(RuntimeError):
    """No compiler on this machine, or it refused our source."""


def cache_folder() -> Path:
    """Where built libraries are kept: $XDG_CACHE_HOME/lotus2-video, by default ~/.cache/lotus2-video."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lotus2-video"


def build(command: list[str], sources: list[Path]) -> Path:
    """Runs `command SOURCES -o LIBRARY` unless the same has been built before. Returns the library.

    Raises CompilerError with the compiler's own words.
    """
    words = " ".join(command) + _processor() + "".join(s.read_text() for s in sources)
    target = cache_folder() / f"render-{hashlib.sha256(words.encode()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / "made.so"
        done = subprocess.run([*command, *map(str, sources), "-o", str(made), "-lm"], capture_output=True, text=True)
        if done.returncode:
            raise CompilerError(f"{command[0]} failed: {done.stderr.strip()[:2000]}")
        made.replace(target)  # whole or not at all, also when several processes build at once
    return target


def _processor() -> str:
    """What -march=native depends on, so that a shared cache never serves another machine's code."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@cache
def cpu_library() -> ctypes.CDLL:
    """The ray caster and the tree builder for this processor. Raises CompilerError where there is no C compiler."""
    compiler = next((c for c in ("gcc", "cc", "clang") if shutil.which(c)), None)
    if compiler is None:
        raise CompilerError("no C compiler found (gcc, cc, clang); rendering needs one, e.g. `apt install gcc`")
    library = ctypes.CDLL(str(build([compiler, *CPU_FLAGS], [HERE / "raycast.c", HERE / "bvh.c"])))
    if library.job_size() != ctypes.sizeof(Job):
        raise CompilerError("layout.py and raycast.c disagree on Job")
    return library


def build_tree(boxes: np.ndarray, leaf: int) -> tuple[np.ndarray, np.ndarray]:
    """A bounding volume tree over boxes.

    Args:
        boxes: float32 [n,6], low then high corner, n > 0. leaf: most boxes a leaf may hold.

    Returns:
        nodes: NODE [m], root first. order: int32 [n]; leaves name ranges of it.
    """
    boxes = np.ascontiguousarray(boxes, np.float32)
    nodes, order = np.zeros(2 * len(boxes), NODE), np.zeros(len(boxes), np.int32)
    pointers = (boxes.ctypes.data, nodes.ctypes.data, order.ctypes.data)
    args = [ctypes.c_void_p(p) for p in pointers]
    used = cpu_library().build_tree(args[0], len(boxes), leaf, args[1], args[2])
    return nodes[:used], order
