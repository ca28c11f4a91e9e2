"""The in-process engine: each map runs in one thread of its own, ahead of its consumer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Self

from ..prefetch import prefetch
from . import Item, Out, Worker


class LocalEngine:
    """Workers in this process. Chained maps overlap, since each has its own thread; a network uses the cores by itself.

    window: results that may wait for the consumer of each map.
    """

    here = True

    def __init__(self, window: int = 2):
        self._window = window
        self._running: list[prefetch] = []

    def map(self, make_worker: Callable[[], Worker[Item, Out]], items: Iterable[Item]) -> prefetch[Out]:
        running = prefetch(_work(make_worker, items), self._window, name="engine")
        self._running.append(running)
        return running

    def close(self) -> None:
        while self._running:
            self._running.pop().close()  # the last map first: it is the consumer of the one before

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _work(make_worker: Callable[[], Worker[Item, Out]], items: Iterable[Item]) -> Iterator[Out]:
    """The stream of results; closing it closes the worker and what it reads from."""
    worker = make_worker()
    try:
        for item in items:
            yield worker(item)
    finally:
        for used in (worker, items):
            getattr(used, "close", lambda: None)()
