"""Files that outlive a kill: written whole or not at all, lines added whole, and locks that end with their owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Puts `data` under `path`, on the disk for good, by a temporary file and one rename. Raises OSError."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(part, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def append_whole(path: Path, text: str, *, sync: bool = True) -> None:
    """Adds whole lines to a file that several processes add to; a line that a crash tore stays a line of its own.

    sync: on the disk for good when it returns. Raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: one write is still one line there
            fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        _write_all(handle, ("\n" if torn else "").encode() + text.encode())
        if sync:
            os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def lock(path: Path, *, shared: bool = False, wait: bool = False) -> int | None:
    """Locks a file or folder that is there, until the handle returned is closed or the process ends, however it ends.

    Returns None where somebody else holds it (unless told to `wait`), or where it was removed meanwhile. Raises OSError on a
    file system without locks, FileNotFoundError where nothing is there.
    """
    handle = os.open(path, os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, handle)
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
            if not os.path.samestat(os.fstat(handle), os.stat(path)):
                return None
        except (BlockingIOError, FileNotFoundError):
            return None
        stack.pop_all()
        return handle


@contextlib.contextmanager
def locked_alone(path: Path) -> Iterator[bool]:
    """Whether `path` is ours alone inside the block; False also where that cannot be known."""
    try:
        handle = lock(path)
    except OSError:
        handle = None
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)
