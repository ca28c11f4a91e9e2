"""What the network made, kept in a work folder until its video is done: a run that died goes on from there.

A run has a folder of its own, named after everything that changes the network's output (`run_key`), and in it a file a chunk:

    sha256 of the rest | sha256 of the frames that the network saw | header, one line of JSON | packed maps

So a torn or flipped file is found out, and a stored chunk is used only for the very pixels it was made from. Sharpened frames
have files of their own: all frames of a chunk, or its key frames, which the rerun chooses again as they were. Optical flow,
smoothing and encoding are cheap and pure: they are done again, and may be done with other settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import __version__
from .config import RunConfig
from .durable import lock, locked_alone, write_whole
from .frames import Chunk, Estimated, Maps, StreamInfo

FORMAT = 1  # of the files; changes with the layout above
SPARE = 1 << 30  # bytes of the disk that are left for others
_SHARP = "-sharp"  # in the names of files of sharpened frames
_ENDS = 1 << 16  # bytes at the head and the tail of a source that tell it from others
_MATTERS = ("model", "maps", "res", "start", "end", "fps", "chunk")


# --------------------------------------------------------------------------------------------------------------- which run


def work_root(config: RunConfig) -> Path:
    """Where unfinished work is kept: `config.work_dir`, or the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(config.work_dir) if config.work_dir else Path(cache) / "lotus2-video" / "work"


def run_key(config: RunConfig, info: StreamInfo, fingerprint: str) -> str:
    """Names everything that changes the network's output: source, model, and the settings in front of the network.

    A file is known by its size, head and tail, not by its name or time, so that one moved, copied or fetched again is the same
    source; what was edited in between is found chunk by chunk.
    """
    settings = asdict(config)
    parts = [FORMAT, __version__, fingerprint, _identity(info), *(settings[name] for name in _MATTERS)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _identity(info: StreamInfo) -> str:
    if info.kind == "sequence":
        return os.path.abspath(info.path)
    with open(info.path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        return f"{size} {hashlib.sha256(head + file.read(_ENDS)).hexdigest()}"


def open_store(config: RunConfig, info: StreamInfo, fingerprint: str) -> ChunkStore:
    """The store of a run; one that keeps nothing where that was said, or for a stream that nobody can read twice."""
    again = info.kind == "sequence" or os.path.isfile(info.path)
    if not config.resume or not again:
        return ChunkStore()
    work = WorkFolder(work_root(config), int(config.work_limit * 1e9))
    return ChunkStore(work, run_key(config, info, fingerprint), config.keep_work)


# ------------------------------------------------------------------------------------------------------------- its folder


class WorkFolder:
    """The folder of unfinished work: a folder a key, in use or abandoned, and a bound on all of them together.

    Several processes may use it, and even the same key, at once.
    """

    def __init__(self, root: Path, limit: int):
        self.root, self.limit = root, limit

    def claim(self, key: str) -> Claim:
        """The folder of `key`, made if need be, and safe from being cleared away until it is released. Raises OSError."""
        path = self.root / key
        while True:
            path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # cleared away by another process just now: once more
                held = lock(path, shared=True, wait=True)
                if held is not None:
                    return Claim(path, held)

    def room(self, least: int) -> int:
        """Bytes that may be added before asking again: a 16th of the limit, or `least`, or what there is. Raises OSError.

        Abandoned folders are deleted, the oldest first, until there is that much.
        """
        want = max(least, self.limit // 16)
        others = sorted((entry for entry in self.root.iterdir() if entry.is_dir()), key=_last_used)
        sizes = {entry: _bytes_in(entry) for entry in others}
        for oldest in others:
            if self._free(sizes) >= want:
                break
            with locked_alone(oldest) as abandoned:
                if abandoned:
                    shutil.rmtree(oldest, ignore_errors=True)
                    sizes[oldest] = _bytes_in(oldest)
        return min(want, self._free(sizes))

    def _free(self, sizes: dict[Path, int]) -> int:
        return min(self.limit - sum(sizes.values()), shutil.disk_usage(self.root).free - SPARE)


class Claim:
    """A folder in use. path: where it is."""

    def __init__(self, path: Path, held: int):
        self.path, self._held = path, held

    def release(self) -> None:
        """Leaves it for a later run. Idempotent."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)

    def remove(self) -> None:
        """Deletes it, unless another process uses it too. Idempotent."""
        if self._held < 0:
            return
        self.release()
        with locked_alone(self.path) as unused:
            if unused:
                shutil.rmtree(self.path, ignore_errors=True)


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # cleared away by another process just now
        return 0


def _bytes_in(folder: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):  # the same
        for entry in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):
                total += entry.stat().st_size
    return total


# -------------------------------------------------------------------------------------------------------------- its chunks


class ChunkStore:
    """The finished chunks of one run; without a `work` folder, none. `load` and `save` may run in two threads.

    Trouble with the folder never stops a run, which then goes on without storing. found: frames that were there when it was
    opened. warnings: at most one line for each kind of trouble.
    """

    def __init__(self, work: WorkFolder | None = None, key: str = "", keep: bool = False):
        self.found = 0
        self.warnings: list[str] = []
        self._work, self._keep, self._room = work, keep, 0
        self._claim: Claim | None = None
        if work is not None:
            with self._storing(work):
                self._claim = work.claim(key)
                self.found = _frames(self._claim.path, "") or _frames(self._claim.path, _SHARP)

    def load(self, chunk: Chunk) -> tuple[Maps, ...] | None:
        """The maps of `chunk`, or None where they are not there, damaged, or those of other pixels."""
        if self._claim is None:
            return None
        file = self._file(self._claim, chunk)
        try:
            data = file.read_bytes()
        except OSError:  # not there, or on a broken disk: to compute it again is the answer to both
            return None
        if data[:32] != hashlib.sha256(data[32:]).digest():
            self._warn_of_damage(file)
            return None
        return unpack(data[64:]) if data[32:64] == _digest(chunk) else None

    def save(self, part: Estimated) -> None:
        """Keeps the maps of a chunk, unless they came from here."""
        if self._work is None or self._claim is None or part.stored:
            return
        rest = _digest(part.chunk) + pack(part.maps)
        data = hashlib.sha256(rest).digest() + rest
        with self._storing(self._work):
            self._make_room(self._work, len(data))
            write_whole(self._file(self._claim, part.chunk), data)

    def done(self) -> None:
        """The video is complete: deletes what was stored of it, unless told to keep it. Idempotent."""
        if self._claim is not None and not self._keep:
            self._claim.remove()

    def close(self) -> None:
        """Lets go of the folder and leaves it for the next run. Idempotent."""
        if self._claim is not None:
            self._claim.release()

    def _file(self, claim: Claim, chunk: Chunk) -> Path:
        return claim.path / f"{chunk.number:08d}{_SHARP if chunk.sharpen else ''}.{len(chunk.rgb)}"

    def _make_room(self, work: WorkFolder, size: int) -> None:
        if self._room < size:
            self._room = work.room(size)
        if self._room < size:
            raise OSError(f"it may take {work.limit / 1e9:g} GB, and leaves {SPARE / 1e9:.1f} GB of the disk free")
        self._room -= size

    @contextlib.contextmanager
    def _storing(self, work: WorkFolder) -> Iterator[None]:
        """Where the folder fails, nothing more is stored; what is there can still be read."""
        try:
            yield
        except OSError as error:
            self._work = None
            self.warnings.append(f"{work.root}: unfinished work is not kept from here on ({error.strerror or error})")

    def _warn_of_damage(self, file: Path) -> None:
        if not any("damaged" in line for line in self.warnings):
            self.warnings.append(f"{file}: damaged, and computed again")


def _frames(folder: Path, kind: str) -> int:
    """How many frames there are in the files of that kind."""
    return sum(int(path.suffix[1:]) for path in folder.glob("[0-9]" * 8 + kind + ".[0-9]*"))


def _digest(chunk: Chunk) -> bytes:
    """Of what the network sees of a chunk."""
    digest = hashlib.sha256(str(chunk.rgb.shape).encode())
    digest.update(np.ascontiguousarray(chunk.rgb).data)
    return digest.digest()


# ----------------------------------------------------------------------------------------------------------- packing maps


def pack(maps: tuple[Maps, ...]) -> bytes:
    """Maps of one size and of the same kinds, without loss: a header line, then the planes of all frames, deflated.

    Each value's bits minus those of its left neighbour, the sign moved to the lowest bit, equal bytes of all values together:
    what is left of smooth maps deflates to about half, in run-length mode twice as fast as in the usual one.
    """
    blobs, sizes = [], {}
    for kind in ("depth", "normal"):
        planes = [getattr(each, kind) for each in maps]
        if planes[0] is not None:
            stack = np.stack(planes)
            blobs.append(_deflate(stack))
            sizes[kind] = (stack.shape, len(blobs[-1]))
    return json.dumps(sizes).encode() + b"\n" + b"".join(blobs)


def unpack(data: bytes) -> tuple[Maps, ...]:
    """The maps that `pack` was given, bit for bit."""
    header, _, rest = data.partition(b"\n")
    found: dict[str, np.ndarray] = {}
    for kind, (shape, size) in json.loads(header).items():
        found[kind], rest = _inflate(rest[:size], shape), rest[size:]
    count = len(next(iter(found.values())))
    return tuple(Maps(**{kind: planes[i] for kind, planes in found.items()}) for i in range(count))


def _deflate(planes: np.ndarray) -> bytes:
    """float32 [N,h,w] or [N,h,w,3] -> bytes."""
    bits = planes.view(np.uint32)
    steps = bits.copy()
    steps[:, :, 1:] -= bits[:, :, :-1]
    signed = steps.view(np.int32)
    shuffled = ((signed << 1) ^ (signed >> 31)).reshape(-1).view(np.uint8).reshape(-1, 4).T
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_RLE)
    return packer.compress(shuffled.tobytes()) + packer.flush()


def _inflate(data: bytes, shape: list[int]) -> np.ndarray:
    shuffled = np.frombuffer(zlib.decompress(data, -15), np.uint8).reshape(4, -1)
    folded = np.ascontiguousarray(shuffled.T).view(np.uint32).reshape(shape)
    steps = (folded >> 1) ^ (~(folded & 1) + np.uint32(1))
    return np.cumsum(steps, axis=2, dtype=np.uint32).view(np.float32)
