"""One video of a batch: whether anything is to be done, the attempts, and what became of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import BatchConfig, RunConfig
from ..engines import Engine
from ..errors import Lotus2VideoError, OutputError, TruncatedInput, UsageError, told
from ..models import Predictor
from ..run import Job, Listener, Outcome, run_video
from ..store import WorkFolder, work_root
from .find import Video
from .manifest import Done, Manifest, Record, Settings, Status
from .remote import fetched, is_url, version

_FINAL = (UsageError, OutputError, TruncatedInput)  # what a second attempt cannot mend


@dataclass(frozen=True)
class BatchListener:
    """What a batch tells while it goes on; from several threads. counted: once it is known how many videos there are.

    started: an attempt at a video begins; gives who listens to its run. ended: after its line is in the manifest. said: a line
    for the user about the batch as a whole.
    """

    counted: Callable[[int], None] = lambda total: None
    started: Callable[[str], Listener] = lambda name: Listener()
    ended: Callable[[Record], None] = lambda record: None
    said: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Work:
    """What the videos of a batch have in common. stopping: set when the runs in flight shall end early."""

    config: RunConfig
    how: BatchConfig
    engine: Engine | None
    predictor: Predictor
    manifest: Manifest
    settings: Settings
    listener: BatchListener
    stopping: threading.Event = field(default_factory=threading.Event)


class Stopped(BaseException):
    """Raised inside a run of a batch that is being stopped; past whoever catches the errors of a video."""


class Task:
    """One video, from its first attempt to its line in the manifest."""

    def __init__(self, work: Work, video: Video):
        self._work, self._video = work, video
        self._attempts = 0
        self._source = ""
        self._paths: tuple[Path, ...] = ()

    def run(self) -> Record:
        """What became of the video; never an error of its own. Raises Stopped."""
        begin = time.monotonic()
        while True:
            self._attempts += 1
            record, again = self._try()
            if not again or self._attempts > self._work.how.retries:
                return replace(record, seconds=round(time.monotonic() - begin, 3))

    def _try(self) -> tuple[Record, bool]:
        """The outcome of one attempt, and whether another may end better."""
        if self._work.stopping.is_set():
            raise Stopped
        try:
            return self._attempt(), False
        except Lotus2VideoError as error:
            return self._record("failed", error=str(error)), not isinstance(error, _FINAL)
        except Exception as error:  # a fault of ours or of a library ends this video, not the batch
            return self._record("failed", error=f"internal error: {told(error)}"), True

    def _attempt(self) -> Record:
        self._source = _version(self._video.input)
        before = self._work.manifest.done.get(self._video.input)
        if before is not None and self._stands(before):
            if self._is_current(before):
                return self._record("skipped", before.frames)
            if not self._work.config.overwrite:
                raise OutputError(self._difference(before), self._paths[0], "add --overwrite to make it again")
        outcome = self._run()
        return self._record("done", outcome.frames, warnings=outcome.warnings)

    def _stands(self, before: Done) -> bool:
        """Whether all outputs of an earlier run are still there."""
        paths = tuple(self._work.manifest.folder / name for name in before.outputs)
        self._paths = paths
        return bool(paths) and all(path.exists() for path in paths)

    def _is_current(self, before: Done) -> bool:
        return (before.fingerprint, before.source) == (self._work.settings.fingerprint, self._source)

    def _difference(self, before: Done) -> str:
        if before.fingerprint == self._work.settings.fingerprint:
            return "made from another version of its source"
        return f"made with other settings ({self._work.settings.against(before.settings)})"

    def _run(self) -> Outcome:
        work = self._work
        place = str(work.manifest.folder / self._video.folder) + os.sep
        # Names that this batch was about to give are its own, also where a kill kept them out of the manifest.
        config = replace(work.config, overwrite=work.config.overwrite or self._video.input in work.manifest.started)
        with self._local() as path:
            return run_video(Job(path, place, config), work.engine, self._listener(), work.predictor)

    @contextmanager
    def _local(self) -> Iterator[str]:
        name, config = self._video.input, self._work.config
        if not is_url(name):
            yield name
            return
        with fetched(name, WorkFolder(work_root(config), int(config.work_limit * 1e9))) as path:
            yield str(path)

    def _listener(self) -> Listener:
        told = self._work.listener.started(self._video.input)

        def planned(paths: tuple[Path, ...]) -> None:
            self._claim(paths)
            told.planned(paths)

        def advanced(frames: int) -> None:
            if self._work.stopping.is_set():
                raise Stopped
            told.advanced(frames)

        return replace(told, planned=planned, advanced=advanced)

    def _claim(self, paths: tuple[Path, ...]) -> None:
        """Takes down the names that this run will give. Raises OutputError for one that somebody else has given."""
        manifest, name = self._work.manifest, self._video.input
        ours = manifest.started.get(name, set())
        for path, relative in zip(paths, manifest.relative(paths), strict=True):
            if path.exists() and relative not in ours and not self._work.config.overwrite:
                raise OutputError("exists already, not from this batch", path, "add --overwrite to replace it")
        self._paths = paths
        manifest.start(name, paths)

    def _record(
        self, status: Status, frames: int = 0, *, error: str | None = None, warnings: tuple[str, ...] = ()
    ) -> Record:
        settings = self._work.settings
        return Record(
            input=self._video.input,
            output=str(self._paths[0]) if self._paths else None,
            status=status,
            error=error,
            frames=frames,
            outputs=self._work.manifest.relative(self._paths),
            attempts=self._attempts,
            warnings=warnings,
            settings=settings.said,
            fingerprint=settings.fingerprint,
            source=self._source,
        )


def _version(name: str) -> str:
    """What tells a source from an earlier one of that name; empty where nothing does."""
    if is_url(name):
        return version(name)
    try:
        facts = os.stat(name)
    except OSError:  # a pattern of frames, or missing: the run will tell
        return ""
    return f"size={facts.st_size} mtime={facts.st_mtime_ns}"
