"""How a run shows that it goes on: a bar on a terminal, plain lines in a log. Both write to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .frames import StreamInfo
from .run import Listener

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


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
