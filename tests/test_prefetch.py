"""The thread that runs ahead: bounded, in order, errors carried over, always joined."""

import threading
import time

import pytest

from lotus2_video.prefetch import prefetch, spread


def test_order_and_end():
    with prefetch(range(100), depth=3) as items:
        assert list(items) == list(range(100))


def test_runs_ahead_no_further_than_its_depth():
    taken = []

    def source():
        for i in range(1000):
            taken.append(i)
            yield i

    with prefetch(source(), depth=3) as items:
        next(items)
        time.sleep(0.1)
        assert len(taken) <= 6


def test_an_error_arrives_after_the_items_before_it():
    def source():
        yield 1
        raise KeyError("gone")

    items = prefetch(source())
    assert next(items) == 1
    with pytest.raises(KeyError):
        next(items)


def test_leaving_early_closes_the_generator_and_joins_the_thread():
    closed = []

    def source():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    before = threading.active_count()
    with prefetch(source(), depth=1) as items:
        next(items)
    assert closed == [True]
    assert threading.active_count() == before


def test_closing_wakes_a_consumer_that_waits_in_another_thread():
    """A run that failed closed its decoder while the engine's thread waited for the next chunk, and hung for good."""
    going_on = threading.Event()
    before = threading.active_count()

    def slow():
        yield 1
        going_on.wait(5)
        yield 2

    first = prefetch(slow(), depth=1)
    second = prefetch(iter(first), depth=1)
    assert next(second) == 1
    time.sleep(0.05)  # the second thread waits for the first by now
    first._stop.set()
    going_on.set()
    first.close()
    second.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [1, 3])
def test_spread_keeps_the_order_and_reads_little_ahead(threads):
    taken = []

    def source():
        for i in range(100):
            taken.append(i)
            yield i

    def slow_first(i: int) -> int:
        time.sleep(0.01 if i % 3 == 0 else 0)
        return 2 * i

    results = spread(slow_first, source(), threads)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert len(taken) <= 10 + threads
    assert list(results) == list(range(20, 200, 2))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_work_comes_in_its_place_and_joins_the_threads(threads):
    before = threading.active_count()
    results = spread(lambda i: 1 // (5 - i), range(100), threads)
    assert [next(results) for _ in range(5)] == [0, 0, 0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before
