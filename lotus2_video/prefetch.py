"""The thread-and-queue helpers: an iterator that runs ahead in a thread of its own, and a map over several threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
Out = TypeVar("Out")
_END = object()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


class prefetch(Generic[T]):
    """Iterates `items` in a background thread, at most `depth` items ahead of the consumer, in order.

    An error of the producer is raised at the consumer in its place. `close()` (also on leaving the `with` block, and after
    the last item) stops the producer, closes its generator and joins the thread, whatever state it is in.
    """

    def __init__(self, items: Iterable[T], depth: int = 2, name: str = "prefetch"):
        self._queue: queue.Queue = queue.Queue(maxsize=max(1, depth))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._produce, args=(items,), name=name, daemon=True)
        self._thread.start()

    def _produce(self, items: Iterable[T]) -> None:
        last: object = _END
        try:
            for item in items:
                if not self._put(item):
                    break
            if hasattr(items, "close"):
                items.close()  # type: ignore[attr-defined]  # a generator: let its `finally` run in this thread
        except BaseException as error:  # carried over, raised at the consumer
            last = _Failure(error)
        self._put(last)

    def _put(self, item: object) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._stop.is_set():
            raise StopIteration
        item = self._queue.get()
        if item is _END:
            self.close()
            raise StopIteration
        if isinstance(item, _Failure):
            self.close()
            raise item.error
        return item

    def close(self) -> None:
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        with suppress(queue.Full):  # wakes a consumer in another thread that waits for an item
            self._queue.put_nowait(_END)

    def __enter__(self) -> prefetch[T]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def spread(work: Callable[[T], Out], items: Iterable[T], threads: int) -> Iterator[Out]:
    """`work` of each item, in order, on so many threads; `items` is read by the consumer, that many ahead of it."""
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads, "spread") as pool:
        waiting: deque[Future[Out]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
