"""All or nothing: a file or folder that takes its final name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..durable import lock, locked_alone
from ..errors import OutputError

FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turns the errors of the operating system (also as libav passes them on) into OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise output_error(error.errno, error.strerror or str(error), path) from error


def output_error(code: int | None, text: str, path: Path) -> OutputError:
    if code in FULL:
        return OutputError("disk full", path, "nothing was left under this name; free some space and run again")
    if code in _DENIED:
        return OutputError(f"cannot be written ({text})", path, "choose another place with -o")
    return OutputError(f"cannot be written ({text})", path)


class Staged:
    """One output under construction, in the folder where it will stay: `.NAME.partial-xxxxxxxx`.

    A file is put in place by one rename. A folder that replaces another one needs two: the old one steps aside as
    `.NAME.old-xxxxxxxx`, then the new one takes the name, then the old one is deleted. What a `kill -9` can leave behind are
    those hidden names, complete or not, never half an output under the final name; the next output of that name clears them
    away, but not those of a process that lives: it holds a lock on its own.
    """

    def __init__(self, final: Path, *, folder: bool = False, overwrite: bool = False):
        self.final, self._folder, self._overwrite = final, folder, overwrite
        self._published = False
        self._made: list[Path] = []
        self._lock: int | None = None
        self._rename()
        try:
            with writing_to(final):
                self._made = _make_folders(final.parent)
                self._lock = self._create()
                self._sweep("partial")
        except BaseException:  # a signal, too, may come in between
            self.discard()
            raise

    def _create(self) -> int | None:
        """Makes the temporary file or folder, locked; unlocked on a file system without locks, where nobody sweeps."""
        while True:
            self._rename()
            if self._folder:
                self.path.mkdir()
            else:
                self.path.touch(exist_ok=False)
            try:
                held = lock(self.path)
            except FileNotFoundError:  # swept by another process in this very moment
                continue
            except OSError:
                return None
            if held is not None:
                return held

    def _rename(self) -> None:
        self._tag = secrets.token_hex(4)
        self.path = self._beside("partial")

    def _beside(self, state: str) -> Path:
        return self.final.with_name(f".{self.final.name}.{state}-{self._tag}")

    def _sweep(self, state: str) -> None:
        """Deletes what killed runs left beside the output, where it can; litter is no reason to fail."""
        left = re.compile(re.escape(f".{self.final.name}.{state}-") + "[0-9a-f]{8}")
        with contextlib.suppress(OSError):
            for entry in [entry for entry in self.final.parent.iterdir() if left.fullmatch(entry.name)]:
                with locked_alone(entry) as abandoned:
                    if abandoned:
                        _delete(entry)

    def publish(self) -> None:
        """Gives what lies at `path` its final name, on the disk for good. Raises OutputError where the name is taken by now."""
        with writing_to(self.final):
            if self.final.exists() and not self._overwrite:
                raise OutputError("appeared while this run was working", self.final, "add --overwrite to replace it")
            _sync(self.path)
            if self._folder and self.final.exists():
                self._swap_folders()
            else:
                os.replace(self.path, self.final)
            self._published = True
            self._unlock()
            self._sweep("old")  # not before: until now it was the only complete one
            _sync_entry(self.final.parent)

    def _swap_folders(self) -> None:
        old = self._beside("old")
        os.rename(self.final, old)
        try:
            os.rename(self.path, self.final)
        except BaseException:
            os.rename(old, self.final)
            raise
        shutil.rmtree(old)

    def discard(self) -> None:
        """Deletes what was written, unless it was published, and the folders that were made for it. Idempotent."""
        if self._published:
            return
        with writing_to(self.final):
            _delete(self.path)
        self._unlock()
        for made in self._made:
            with contextlib.suppress(OSError):  # somebody else has put something there: it stays
                made.rmdir()

    def _unlock(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            os.close(held)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _make_folders(folder: Path) -> list[Path]:
    """Makes `folder` and what is missing above it; returns what was made, innermost first."""
    missing = [f for f in (folder, *folder.parents) if not f.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _sync(path: Path) -> None:
    for entry in sorted(path.iterdir()) if path.is_dir() else [path]:
        _sync_entry(entry)
    if path.is_dir():
        _sync_entry(path)


def _sync_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
