"""How a run or a batch shows that it goes on: live on a terminal, plain lines in a log. All write to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .batch import BatchListener, Record
from .frames import StreamInfo
from .run import Listener

if TYPE_CHECKING:
    from rich.progress import TaskID

EVERY = 10.0  # seconds between two lines of a log


@contextmanager
def bar() -> Iterator[Listener]:
    """A bar with frames, rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("opening", total=None, rate="")
        begin = time.monotonic()

        def opened(info: StreamInfo) -> None:
            progress.update(task, description=f"{info.width}x{info.height}", total=info.frames)

        def advanced(frames: int) -> None:
            progress.update(task, completed=frames, rate=f"{frames / (time.monotonic() - begin):.1f} frames/s")

        yield Listener(opened, advanced, lambda line: console.print(line, highlight=False, markup=False))


def lines() -> Listener:
    """A line at the start, then one every few seconds: frames of how many, rate, time left."""
    state: dict[str, float | None] = {"begin": 0.0, "last": 0.0, "total": None}

    def opened(info: StreamInfo) -> None:
        state.update(begin=time.monotonic(), last=time.monotonic(), total=info.frames)
        _say(f"{info.path}: {info.width}x{info.height}, {info.frames or 'unknown number of'} frames")

    def advanced(frames: int) -> None:
        now, begin, total = time.monotonic(), state["begin"] or 0.0, state["total"]
        if now - (state["last"] or 0.0) < EVERY:
            return
        state["last"] = now
        rate = frames / (now - begin)
        left = f", {max(0.0, total - frames) / rate:.0f} s left" if total else ""
        _say(f"{frames}{f'/{total:.0f}' if total else ''} frames, {rate:.1f} frames/s{left}")

    return Listener(opened, advanced, _say)


@contextmanager
def table() -> Iterator[BatchListener]:
    """A row for all videos and one for each in flight, with their frames; failures stay readable above."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[unit]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        every = progress.add_task("all", total=None, unit="videos")
        rows: dict[str, TaskID] = {}

        def started(name: str) -> Listener:
            row = rows[name] = rows.get(name) or progress.add_task(_short(name), total=None, unit="frames")
            return Listener(
                opened=lambda info: progress.update(row, total=info.frames),
                advanced=lambda frames: progress.update(row, completed=frames),
            )

        def ended(record: Record) -> None:
            if record.input in rows:
                progress.remove_task(rows.pop(record.input))
            progress.advance(every)
            if record.status == "failed":
                console.print(_line(record), highlight=False, markup=False, soft_wrap=True)

        def said(line: str) -> None:
            console.print(line, highlight=False, markup=False)

        yield BatchListener(lambda total: progress.update(every, total=total), started, ended, said)


def batch_lines() -> BatchListener:
    """A line for each video that was done or failed; for those skipped only at the end of the batch."""

    def ended(record: Record) -> None:
        if record.status != "skipped":
            _say(_line(record))

    return BatchListener(lambda total: _say(f"{total} videos"), ended=ended, said=_say)


def _line(record: Record) -> str:
    if record.status == "failed":
        return f"failed: {record.input}: {(record.error or '').removeprefix(f'{record.input}: ')}"
    return f"{record.status}: {record.input}: {record.frames} frames in {record.seconds:.1f} s"


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else f"...{name[3 - most :]}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
