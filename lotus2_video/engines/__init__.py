"""Engines: where the workers run. One verb, so that engines are interchangeable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")
Out = TypeVar("Out")
Given = TypeVar("Given", covariant=True)
Worker = Callable[[Item], Out]


class Results(Protocol[Given]):
    """An iterator that can be told, from any thread, that nobody wants the rest."""

    def __iter__(self) -> Iterator[Given]: ...

    def __next__(self) -> Given: ...

    def close(self) -> None:
        """Stops what is in flight; who waits for a result meets the end. Idempotent."""
        ...


class Engine(Protocol):
    """Maps stateless workers over a lazy stream of items, in order, with a bounded number in flight.

    `map(make_worker, items)`: `make_worker()` is called once in each place that works (a thread, a process, an actor) and
    gives a callable; results come in the order of `items`; `items` is read no further ahead than the window; an error of a
    worker or of `items` is raised at the consumer in its place, after the results before it. A worker that has a `close`
    method is closed at the end. Maps may be chained: the items of one may be the results of another. A maker with a true
    attribute `on_device` makes workers that want a GPU, where there is one.

    here: whether workers run in this process, so that makers may hand them what they hold themselves.
    """

    here: bool

    def map(self, make_worker: Callable[[], Worker[Item, Out]], items: Iterable[Item]) -> Results[Out]: ...

    def close(self) -> None:
        """Stops all work in flight and joins its threads or processes. Idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
