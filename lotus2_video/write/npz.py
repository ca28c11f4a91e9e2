"""NumPy's npz: `depth` float32 [T,H,W], `normal` float32 [T,H,W,3], `pts` int64 [T], `time_base` int64 [2] (num, den).

A zip holds one array after the other, but the frames bring both at once and their number is known only at the end. So each
map streams into an unnamed temporary file in the target's folder (gone by itself if the process dies), and `finish` copies
them behind their headers, one after the other. Memory stays at a frame; the disk needs at most twice the size of the file.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from ..config import Kind
from ..frames import Result, StreamInfo
from ..ops import colour
from .look import depth_of, normal_of
from .staged import writing_to

_COPY = 16 << 20  # bytes at a time


class NpzWriter:
    """Writes one npz file at `path`, a temporary name; `final` is what messages call it."""

    warnings: tuple[str, ...] = ()

    def __init__(self, path: Path, final: Path, kinds: tuple[Kind, ...], info: StreamInfo, normal_space: str):
        self._path, self._final, self._info, self._space = path, final, info, normal_space
        self._pts: list[int] = []
        self._spools: dict[str, IO[bytes]] = {}
        with writing_to(final):
            for kind in kinds:
                self._spools[kind] = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  # closed by `close`

    def write(self, result: Result) -> None:
        with writing_to(self._final):
            for kind, spool in self._spools.items():
                spool.write(np.ascontiguousarray(self._map(kind, result), "<f4").data)
        self._pts.append(_rebase(result.frame.pts, result.frame.time_base, self._info.time_base))

    def _map(self, kind: str, result: Result) -> np.ndarray:
        return depth_of(result) if kind == "depth" else colour.to_normal_space(normal_of(result), self._space)

    def finish(self) -> None:
        base = self._info.time_base
        with writing_to(self._final), zipfile.ZipFile(self._path, "w") as archive:
            for kind, spool in self._spools.items():
                tail = () if kind == "depth" else (3,)
                spool.seek(0)
                with _member(archive, kind) as member:
                    _write_header(member, (len(self._pts), self._info.height, self._info.width, *tail))
                    shutil.copyfileobj(spool, member, _COPY)
                spool.close()  # its space is free again before the next one is copied
            for name, values in (("pts", self._pts), ("time_base", [base.numerator, base.denominator])):
                with _member(archive, name) as member:
                    np.lib.format.write_array(member, np.array(values, np.int64), allow_pickle=False)

    def close(self) -> None:
        for spool in self._spools.values():
            with contextlib.suppress(OSError):  # on a full disk it cannot write out what nobody wants any more
                spool.close()


def _rebase(pts: int, time_base: Fraction, to: Fraction) -> int:
    return pts if time_base == to else round(pts * time_base / to)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A stored file of the archive, with zip's oldest date, so that the same maps give the same bytes."""
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _write_header(member: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": shape})
