"""Writing: every format is a sink that keeps its promise of all or nothing under a final name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .. import __version__
from ..config import Format, RunConfig
from ..errors import OutputError
from ..frames import Result, StreamInfo
from .look import Look
from .plan import SUFFIXES, VIDEO, FrameNames, Output, OutputPlan, plan_outputs
from .staged import Staged

if TYPE_CHECKING:
    from .audio import AudioFeed, Tap

__all__ = ["Output", "OutputPlan", "Sink", "open_sinks", "plan_outputs"]


class Sink(Protocol):
    """Writes the outputs of one run. Nothing appears under a final name before `commit`; `abort` leaves nothing behind.

    paths: the final names. warnings: lines for the user about what the format could not keep.
    """

    paths: tuple[Path, ...]

    @property
    def warnings(self) -> list[str]: ...

    def write(self, result: Result) -> None:
        """Takes the next frame. Raises OutputError (disk full, not writable, ...)."""
        ...

    def commit(self) -> None:
        """Completes the files and gives them their final names. Does nothing the second time."""
        ...

    def abort(self) -> None:
        """Deletes what was written. Idempotent; also safe after `commit`, when it does nothing."""
        ...


class Writer(Protocol):
    """Writes one output under a temporary name; it neither makes nor moves nor deletes it. warnings: as in Sink."""

    warnings: tuple[str, ...]

    def write(self, result: Result) -> None: ...

    def finish(self) -> None:
        """Completes the output."""
        ...

    def close(self) -> None:
        """Lets go of the output, complete or not. Idempotent."""
        ...


def open_sinks(
    plan: OutputPlan, info: StreamInfo, config: RunConfig, audio: Tap | None = None, model_name: str = ""
) -> Sink:
    """One sink for all outputs of a plan, opened under temporary names.

    audio: the source's AudioTap; video files carry it, the others tell it to ignore the audio. model_name: for the metadata.
    Raises OutputError where an output cannot be written.
    """
    return Outputs(plan, info, config, audio, model_name)


class Outputs:
    """Sink that hands each result to one writer an output, and names all of them or none."""

    def __init__(self, plan: OutputPlan, info: StreamInfo, config: RunConfig, audio: Tap | None, model_name: str):
        self.paths = plan.paths
        self._feed = _open_feed(plan, audio)
        self._staged: list[Staged] = []
        self._writers: list[Writer] = []
        self._frames = 0
        self._done = False
        try:
            for output in plan.outputs:
                self._staged.append(Staged(output.path, folder=output.by_frame, overwrite=plan.overwrite))
                job = _Job(plan, output, self._staged[-1].path, info, config, model_name)
                self._writers.append(_OPEN[plan.format](job, self._feed))
        except BaseException:
            self.abort()
            raise

    @property
    def warnings(self) -> list[str]:
        audio = self._feed.warnings if self._feed else []
        return list(dict.fromkeys([*audio, *(line for writer in self._writers for line in writer.warnings)]))

    def write(self, result: Result) -> None:
        if self._done:
            raise ValueError("this sink was committed or aborted")
        for writer in self._writers:
            writer.write(result)
        self._carry(lambda feed: feed.pump())  # after the picture, whose time may decide how the file starts
        self._frames += 1

    def _carry(self, what: Callable[[AudioFeed], None]) -> None:
        if self._feed is None:
            return
        from .video import encoding_to

        with encoding_to(self.paths[0]):
            what(self._feed)

    def commit(self) -> None:
        if self._done:
            return
        if not self._frames:
            raise OutputError("not written: there was no frame", self.paths[0])
        self._carry(lambda feed: feed.finish())
        for writer in self._writers:
            writer.finish()
        for staged in self._staged:
            staged.publish()
        self._done = True

    def abort(self) -> None:
        self._done = True
        try:
            for staged in self._staged:
                staged.discard()  # first: to close a file that is gone costs nothing, to complete a long one does
        finally:
            for writer in self._writers:
                writer.close()


@dataclass(frozen=True)
class _Job:
    """What a writer is made from. path: the temporary name."""

    plan: OutputPlan
    output: Output
    path: Path
    info: StreamInfo
    config: RunConfig
    model_name: str

    @property
    def look(self) -> Look:
        return Look.of(self.output.kinds[0], self.config)

    @property
    def names(self) -> FrameNames:
        return FrameNames(self.path, self.output, SUFFIXES[self.plan.format], self.info)

    @property
    def tags(self) -> dict[str, str]:
        version = f"lotus2-video {__version__}"
        return {"source": Path(self.info.path).name, "model": self.model_name, "version": version}


def _open_feed(plan: OutputPlan, tap: Tap | None) -> AudioFeed | None:
    if tap is None:
        return None
    if plan.format not in VIDEO:
        tap.ignore()
        return None
    from .audio import AudioFeed

    return AudioFeed(tap, SUFFIXES[plan.format])


def _open_video(job: _Job, feed: AudioFeed | None) -> Writer:
    from .video import RECIPES, VideoWriter

    recipe = RECIPES[job.plan.format]
    return VideoWriter(job.path, job.output.path, recipe, job.look, job.info, job.tags, feed)


def _open_exr(job: _Job, feed: AudioFeed | None) -> Writer:
    from .exr import ExrWriter

    return ExrWriter(job.names, job.output.path, job.output.kinds, job.info, job.tags, job.config.normal_space)


def _open_png(job: _Job, feed: AudioFeed | None) -> Writer:
    from .png import PngWriter

    return PngWriter(job.names, job.output.path, job.look, job.tags)


def _open_npz(job: _Job, feed: AudioFeed | None) -> Writer:
    from .npz import NpzWriter

    return NpzWriter(job.path, job.output.path, job.output.kinds, job.info, job.config.normal_space)


_OPEN: dict[Format, Callable[[_Job, AudioFeed | None], Writer]] = {
    "mp4": _open_video, "ffv1": _open_video, "prores": _open_video,
    "exr": _open_exr, "png": _open_png, "npz": _open_npz,
}  # fmt: skip
