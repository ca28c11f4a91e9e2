"""Engines: where the workers run. One verb, so that engines are interchangeable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")
Worker = Callable[[Item], Out]


class Engine(Protocol):
    """Maps stateless workers over a lazy stream of items, in order, with a bounded number in flight.

    `map(make_worker, items)`: `make_worker()` is called once in each place that works (a thread, a process, an actor) and
    gives a callable; results come in the order of `items`; `items` is read no further ahead than the window; an error of a
    worker or of `items` is raised at the consumer in its place, after the results before it. A worker that has a `close`
    method is closed at the end. Maps may be chained: the items of one may be the results of another.
    """

    def map(self, make_worker: Callable[[], Worker[Item, Out]], items: Iterable[Item]) -> Iterator[Out]: ...

    def close(self) -> None:
        """Stops all work in flight and joins its threads or processes. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
