"""The memory of a batch: `manifest.jsonl`, what became of each video, one JSON object a line, only ever added to.

Beside it `.started.jsonl` says which names a run was about to give, so that after a kill between the last rename and the line
in the manifest nobody takes our own output for somebody else's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from .. import __version__
from ..config import RunConfig
from ..durable import append_whole, lock
from ..errors import OutputError

Status = Literal["done", "skipped", "failed"]
NAME = "manifest.jsonl"
# What the model's own fingerprint covers, and what never changes a byte of the output.
_SETTLED = ("model", "weights", "device", "precision")
_ELSEWHERE = ("engine", "gpus", "workers", "address", "window", "chunk")
_NO_MATTER = (*_ELSEWHERE, "tolerant", "overwrite", "resume", "work_dir", "work_limit", "keep_work")


@dataclass(frozen=True)
class Settings:
    """What changes the bytes of an output. said: the model, and what differs from the defaults, for people.

    fingerprint: of all of it.
    """

    said: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, config: RunConfig, model: str) -> Settings:
        """model: the fingerprint of the predictor."""
        names = [f.name for f in fields(config) if f.name not in (*_SETTLED, *_NO_MATTER)]
        whole, usual = asdict(config), asdict(RunConfig())
        matters = {"model": f"{config.model} {model}", **{name: whole[name] for name in names}}
        said = {k: v for k, v in json.loads(json.dumps(matters)).items() if k == "model" or whole[k] != usual[k]}
        return cls(said, hashlib.sha256(json.dumps(matters, sort_keys=True).encode()).hexdigest()[:16])

    def against(self, before: dict[str, Any]) -> str:
        """What an output was made with and what is wanted now."""
        changed = [name for name in {**before, **self.said} if before.get(name) != self.said.get(name)]
        parts = [f"{name} {_shown(before.get(name))}, now {_shown(self.said.get(name))}" for name in changed]
        return "; ".join(parts) or "another version of the defaults"


def _shown(value: Any) -> str:
    return "default" if value is None else value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Record:
    """One line of the manifest: what became of one video in one run of the batch.

    input: an absolute path or a URL. output: the first file or folder, absolute; outputs: all of them, relative to the
    manifest's folder; of a failed video those that it would have had, as far as that is known. settings, fingerprint: what was
    asked for. source: what tells the input from other versions of it. attempts: 2 where one retry was needed. seconds: all of
    them together, fetching included.
    """

    input: str
    output: str | None
    status: Status
    error: str | None = None
    frames: int = 0
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    attempts: int = 0
    warnings: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    fingerprint: str = ""
    source: str = ""
    version: str = __version__


@dataclass(frozen=True)
class Done:
    """What the manifest knows of a video that was completed once."""

    outputs: tuple[str, ...]
    frames: int
    settings: dict[str, Any]
    fingerprint: str
    source: str


class Manifest:
    """The manifest in a batch's folder. Several processes may add to it at once, each for a shard of its own.

    done: by input, the last time it was completed. started: by input, the names that runs were about to give, relative to the
    folder.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / NAME
        self._intents = folder / ".started.jsonl"
        self.done: dict[str, Done] = {}
        self.started: dict[str, set[str]] = {}
        for line in _objects(self.path):
            if line.get("status") == "done":
                self.done[str(line.get("input"))] = _done(line)
        for line in _objects(self._intents):
            self.started.setdefault(str(line.get("input")), set()).update(line.get("outputs", ()))

    def ours(self) -> set[Path]:
        """Absolute paths of everything this batch made or was about to make."""
        names = [
            *(name for each in self.started.values() for name in each),
            *(name for each in self.done.values() for name in each.outputs),
        ]
        return {(self.folder / name).absolute() for name in names}

    def add(self, record: Record) -> None:
        """Writes one line; on the disk for good unless it can be told again. Raises OutputError."""
        line = json.dumps(asdict(record), ensure_ascii=False)
        with _writing(self.path):
            append_whole(self.path, line + "\n", sync=record.status != "skipped")

    def start(self, name: str, paths: tuple[Path, ...]) -> None:
        """Takes down the names that a run of this input is about to give. Raises OutputError."""
        names = self.relative(paths)
        if self.started.setdefault(name, set()).issuperset(names):
            return
        self.started[name].update(names)
        with _writing(self._intents):
            append_whole(self._intents, json.dumps({"input": name, "outputs": names}, ensure_ascii=False) + "\n")

    def relative(self, paths: tuple[Path, ...]) -> tuple[str, ...]:
        return tuple(os.path.relpath(path, self.folder) for path in paths)


@contextlib.contextmanager
def alone(folder: Path, part: tuple[int, int]) -> Iterator[None]:
    """Keeps a second process from the same shard of a batch. Raises OutputError where one is at work."""
    path = folder / (".batch.lock" if part == (1, 1) else f".shard-{part[0]}-of-{part[1]}.lock")
    with _writing(path):
        path.touch()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks: nobody is kept out
            held = lock(path)
            if held is None:
                raise OutputError("another batch is at work here", folder, "wait for it, or use --shard")
            stack.callback(os.close, held)
        yield


def _done(line: dict[str, Any]) -> Done:
    return Done(
        tuple(line.get("outputs", ())),
        line.get("frames", 0),
        line.get("settings") or {},
        line.get("fingerprint", ""),
        line.get("source", ""),
    )


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; one that a crash tore is none."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            with contextlib.suppress(json.JSONDecodeError):
                value = json.loads(line)
                if isinstance(value, dict):
                    yield value


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot be written ({error.strerror or error})", path, "choose another place with -o"
        ) from error
