"""Many videos: each exactly once in effect, each with its own outcome, none able to stop the others."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import BatchConfig, RunConfig
from ..engines import Engine
from ..errors import BatchFailed, OutputError, UsageError
from ..models.shared import SharedPredictor
from ..run import check, workshop
from .find import Video, find_videos
from .manifest import Manifest, Record, Settings, alone
from .remote import is_url
from .task import BatchListener, Task, Work

__all__ = ["BatchListener", "BatchOutcome", "Record", "Video", "find_videos", "run_batch"]


@dataclass(frozen=True)
class BatchOutcome:
    """How a batch ended, in numbers; the manifest has the names. frames: of the videos done now."""

    manifest: Path
    total: int = 0
    done: int = 0
    skipped: int = 0
    failed: int = 0
    frames: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        rest = self.total - self.done - self.skipped - self.failed
        counts = f"{self.done} done, {self.skipped} skipped, {self.failed} failed" + (f", {rest} left" if rest else "")
        return f"{self.manifest}: {counts} of {self.total} videos; {self.frames} frames in {self.seconds:.1f} s"

    def check(self) -> None:
        """Raises BatchFailed unless every video is done."""
        if self.failed:
            hint = "the manifest says why; run it again to try these again"
            raise BatchFailed(f"{self.failed} of {self.total} videos failed", self.manifest, hint)

    def after(self, record: Record) -> BatchOutcome:
        counted = {record.status: getattr(self, record.status) + 1}
        return replace(self, frames=self.frames + (record.frames if record.status == "done" else 0), **counted)


def run_batch(
    inputs: Sequence[str],
    output: str | Path,
    config: RunConfig | None = None,
    *,
    how: BatchConfig | None = None,
    engine: Engine | None = None,
    listener: BatchListener | None = None,
) -> BatchOutcome:
    """Estimates the maps of many videos into the folder `output`; `output/manifest.jsonl` says what became of each.

    What is done already, with these settings and from this version of the source, is skipped. What was made with others is
    "failed", with the difference named, unless `config.overwrite` says to make it again. So the same call after a crash, or
    with a longer list, does only what is missing.

    Args:
        inputs: files, folders, globs, lists (.txt, .csv, .jsonl, .parquet) and URLs, see `find_videos`.
        config: of every run. how: jobs, retries, shard and so on. engine: shared by all runs; by default the one that `config`
            names: in this process, with one predictor for all, or Ray. listener: told of progress.

    Raises UsageError for what makes no sense, WeightsError, EngineError, OutputError where `output` is not writable or
    in use; never for a single video: see `BatchOutcome.check`.
    """
    begin = time.monotonic()
    config, how, listener = config or RunConfig(), how or BatchConfig(), listener or BatchListener()
    check(config)
    folder = _folder(output)
    part, of = how.part
    videos = find_videos(inputs, folder, how.column)[part - 1 :: of][: how.limit]
    with alone(folder, how.part), workshop(config, engine, say=listener.said) as (engine, predictor):
        manifest = Manifest(folder)
        listener.counted(len(videos))
        settings = Settings.of(config, predictor.fingerprint)
        shared = predictor if engine is not None and not engine.here else SharedPredictor(predictor)
        work = Work(config, how, engine, shared, manifest, settings, listener)
        outcome = BatchOutcome(manifest.path, len(videos))
        with closing(_in_parallel(work, videos)) as records:
            for record in records:
                manifest.add(record)
                listener.ended(record)
                outcome = outcome.after(record)
    return replace(outcome, seconds=time.monotonic() - begin)


def _folder(output: str | Path) -> Path:
    if is_url(str(output)):
        raise UsageError(
            "a batch is written into a folder of this machine", f"-o {output}", "mount it, or copy it after"
        )
    folder = Path(output).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"is no folder to write into ({error.strerror})", output, "choose another with -o") from error
    return folder


def _in_parallel(work: Work, videos: list[Video]) -> Generator[Record]:
    """What became of each video, as it ends; `jobs` at a time. Leaving it early stops the runs in flight."""
    running: set[Future[Record]] = set()
    waiting = iter(videos)
    with ThreadPoolExecutor(work.how.jobs, "video") as pool:
        try:
            while True:
                for video in waiting:
                    running.add(pool.submit(Task(work, video).run))
                    if len(running) == work.how.jobs:
                        break
                if not running:
                    return
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ended:
                    record = future.result()
                    if record.status == "failed" and work.how.fail_fast:
                        waiting = iter(())
                    yield record
        finally:
            work.stopping.set()
