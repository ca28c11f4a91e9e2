"""The contract of engines, through every engine there is."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache

import pytest

from lotus2_video.engines import Engine
from lotus2_video.engines.local import LocalEngine


def ray_engine() -> Engine:
    pytest.importorskip("ray")
    from lotus2_video.engines.ray import RayEngine

    return RayEngine(window=2, workers=2)


ENGINES: dict[str, Callable[[], Engine]] = {"local": lambda: LocalEngine(window=2), "ray": ray_engine}


class Doubler:
    def __call__(self, item: int) -> int:
        return 2 * item


class Uneven:
    """Takes longest for the first items, so that order is not kept by luck."""

    def __call__(self, item: int) -> int:
        time.sleep(0.02 if item % 4 == 0 else 0)
        return item


class Stumbler:
    def __call__(self, item: int) -> int:
        if item == 3:
            raise ValueError("three is too much")
        return item


@pytest.fixture(scope="module")
def once():
    """Engines opened once, so that Ray is not started for every test."""
    with ExitStack() as stack:
        yield lru_cache(lambda name: stack.enter_context(ENGINES[name]()))


@pytest.fixture(params=ENGINES)
def engine(request, once):
    once(request.param)
    with ENGINES[request.param]() as engine:
        yield engine


def counted(n: int, log: list[int]) -> Iterator[int]:
    for i in range(n):
        log.append(i)
        yield i


def test_results_come_in_the_order_of_the_items(engine):
    assert list(engine.map(Uneven, range(20))) == list(range(20))


def test_maps_can_be_chained(engine):
    assert list(engine.map(Doubler, engine.map(Doubler, range(10)))) == [4 * i for i in range(10)]


def test_no_items_give_no_results(engine):
    assert list(engine.map(Doubler, [])) == []


def test_items_are_read_no_further_ahead_than_the_window(engine):
    log: list[int] = []
    results = engine.map(Doubler, counted(1000, log))
    next(results)
    time.sleep(0.2)
    assert len(log) <= 8  # one taken, and a small window; certainly not a film


def test_an_error_of_a_worker_comes_in_its_place(engine):
    results = engine.map(Stumbler, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three is too much"):
        next(results)


def test_an_error_of_the_items_comes_in_its_place(engine):
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the film broke")

    results = engine.map(Doubler, broken())
    assert next(results) == 2
    with pytest.raises(OSError, match="the film broke"):
        next(results)


def test_an_error_of_making_a_worker_reaches_the_consumer(engine):
    def make() -> Doubler:
        raise RuntimeError("no weights")

    with pytest.raises(RuntimeError, match="no weights"):
        list(engine.map(make, range(3)))


def test_closing_in_the_middle_stops_the_reading_and_joins_the_threads():
    before = threading.active_count()
    log: list[int] = []
    with LocalEngine(window=2) as engine:
        next(engine.map(Doubler, counted(10_000, log)))
    read = len(log)
    time.sleep(0.05)
    assert len(log) == read < 100
    assert threading.active_count() == before


def test_a_worker_is_closed_at_the_end():
    closed = []

    class Closing(Doubler):
        def close(self) -> None:
            closed.append(True)

    with LocalEngine() as engine:
        assert list(engine.map(Closing, range(3))) == [0, 2, 4]
    assert closed == [True]
