"""The Ray engine: pools of actors on this machine or on a cluster. The only file that knows Ray.

An item walks through the pools of chained maps by reference, so that what one worker made goes straight to the next; only the
end of the chain comes back. One thread carries one item: where a worker or its node dies, or what it made is lost, it starts
again with the item, elsewhere. Workers are pure, so that this changes nothing in the results.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Generic, Self, cast

import cv2
import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker
from ray.cloudpickle import cloudpickle
from ray.exceptions import AuthenticationError, RayError, RayTaskError

from ..errors import EngineError, Lotus2VideoError, UsageError
from ..prefetch import prefetch
from . import Item, Out, Worker

CORES_A_WORKER = 4  # where there is no GPU and nobody says how many workers
DEPTH = 2  # items that an actor has at once: it works on one and the next is there already
DEATHS = 4  # after so many, the item is taken to be what ends its workers
FAILURES = 2  # workers on which an item has to raise an error before it is believed
COMING = 120.0  # seconds in which an actor has to come back on this machine; on a cluster it has PATIENCE
PATIENCE = 900.0  # seconds without any worker at all, before giving up; a cluster may have to start machines
PORT = 6379  # of a cluster, where none is given
_SYSTEM = {
    "worker_register_timeout_seconds": 600,  # Ray kills one that starts slower, again and again on a busy machine
    "max_direct_call_object_size": 1_048_576,  # bytes; with the call goes what takes twice the work by the object store
}
_TICK = 0.2  # seconds between two looks at whether to stop


class RayEngine:
    """Workers in actors: one each GPU (or a share of one), or each few cores of machines without GPUs.

    Makers with a true `on_device` go to the actors that own the GPUs, others to actors on plain cores. All maps with equal
    makers share one pool, so that weights are loaded once in each actor, also when many videos run at once.

    window: items in flight for each actor of the first pool of a chain, and one more for each later pool. workers: actors that
    own GPUs, or where there are none run networks on cores; by default one each GPU or every four cores. gpus: how many to use;
    None: all there are. address: None starts Ray on this machine, bound to localhost, and stops it with `close`; "auto" or
    HOST:PORT joins a cluster.

    Raises UsageError where Ray cannot be had so. While mapping: an error of a worker, once it came from two of them;
    EngineError for an item that its workers do not survive, and where all workers are gone.
    """

    here = False

    def __init__(
        self, window: int = 2, workers: int | None = None, gpus: int | None = None, address: str | None = None
    ):
        self._closing = _join(address, gpus)
        resources = ray.cluster_resources()
        cpus = max(1, int(resources.get("CPU", 1)))
        self.gpus = int(resources.get("GPU", 0)) if gpus is None else gpus
        self.workers = workers or self.gpus or max(1, cpus // CORES_A_WORKER)
        self._helpers = max(1, cpus // CORES_A_WORKER)
        self._threads = 1 if self.gpus else max(1, (_cores() if address is None else cpus) // self.workers)
        # On a cluster, an actor's claim on cores spreads the load; on this machine the threads above do. All claims together
        # are half of what there is, so that there is room for all of them still when half of the cluster is gone.
        self._share = 0.0 if address is None else _hundredths(min(1.0, cpus / (self.workers + self._helpers)) / 2)
        self._coming = COMING if address is None else PATIENCE
        self._window = window
        self._lock = threading.Lock()
        self._pools: dict[Callable, _Pool] = {}
        self._streams: list[_Stream] = []

    def map(self, make_worker: Callable[[], Worker[Item, Out]], items: Iterable[Item]) -> _Stream[Out]:
        chained = isinstance(items, _Stream) and items.join(self)
        before, source = (items.makers, items.source) if chained else ((), items)  # type: ignore[union-attr]
        stream = _Stream(self, (*before, make_worker), source)
        with self._lock:
            self._streams = [each for each in self._streams if not each.closed and each is not items] + [stream]
        return cast("_Stream[Out]", stream)

    def pool(self, make: Callable) -> _Pool:
        """The actors of equal makers, started when first asked for."""
        with self._lock:
            if make not in self._pools:
                self._make_room()
                self._pools[make] = self._start(make)
            return self._pools[make]

    @property
    def ready(self) -> bool:
        """Whether all actors of all pools have made their workers."""
        with self._lock:
            return all(pool.ready == pool.size for pool in self._pools.values())

    def window(self, make: Callable, *later: Callable) -> int:
        """Items of one chain in flight, of which some wait for those before them; enough for what is in a later pool not to
        keep the first from its work."""
        return (self._window + len(later)) * self.pool(make).size + 2

    def _make_room(self) -> None:
        """Ends the networks that no stream uses: one that has had its turn gives its GPUs to the next."""
        used = {make for stream in self._streams if not stream.closed for make in stream.makers}
        for make in self._pools.keys() - used:
            if getattr(make, "on_device", False):
                self._pools.pop(make).close()

    def _start(self, make: Callable) -> _Pool:
        if not getattr(make, "on_device", False):
            threads = CORES_A_WORKER // 2 if self.gpus else 1  # networks that are on GPUs leave them the cores
            return _Pool(make, self._helpers, threads, self._coming, num_cpus=self._share)
        if not self.gpus:
            return _Pool(make, self.workers, self._threads, self._coming, num_cpus=self._share)
        share = _hundredths(1 / math.ceil(self.workers / self.gpus))
        return _Pool(make, self.workers, 1, self._coming, num_cpus=self._share, num_gpus=share)

    def close(self) -> None:
        with self._lock:
            streams, self._streams = self._streams, []
            pools, self._pools = self._pools, {}
        for stream in streams:
            stream.close()
        for pool in pools.values():
            pool.close()
        closing, self._closing = self._closing, lambda: None
        closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


# ------------------------------------------------------------------------------------------------------------- one mapping


class _Stream(Generic[Out]):
    """The results of a chain of maps. Nothing runs before the first is asked for, so that another map may join the chain."""

    def __init__(self, engine: RayEngine, makers: tuple[Callable, ...], source: Iterable[Any]):
        self.makers, self.source, self.closed = makers, source, False
        self._engine, self._stop = engine, threading.Event()
        self._ahead: prefetch[Future[Out]] | None = None

    def join(self, engine: RayEngine) -> bool:
        """Whether a map of `engine` may take this chain over."""
        return engine is self._engine and self._ahead is None

    def __iter__(self) -> Iterator[Out]:
        return self

    def __next__(self) -> Out:
        if self._ahead is None and not self.closed:
            window = self._engine.window(*self.makers)
            self._ahead = prefetch(self._sent(window), window - 2, "ray")  # one more is being sent, one is awaited
        try:
            return next(self._ahead or iter(())).result()
        except CancelledError:
            raise StopIteration from None
        except BaseException:
            self.close()
            raise

    def _sent(self, window: int) -> Iterator[Future[Out]]:
        """Each item on its way; in flight are as many as wait to be asked for."""
        pools = [self._engine.pool(make) for make in self.makers]
        try:
            with ThreadPoolExecutor(window, "ray") as threads:
                for item in self.source:
                    yield threads.submit(_carry, item, pools, self._stop)
        finally:
            getattr(self.source, "close", lambda: None)()

    def close(self) -> None:
        """Stops what is in flight; from any thread. Idempotent."""
        self.closed = True
        self._stop.set()
        if self._ahead is not None:
            self._ahead.close()


def _carry(item: Any, pools: list[_Pool], stop: threading.Event) -> Any:
    """The item through all pools, and again while workers die under it."""
    deaths: list[Exception] = []
    failures: list[Exception] = []
    while len(deaths) < DEATHS and len(failures) < FAILURES:
        try:
            return _through(item, pools, stop, alone=bool(deaths))
        except _Died as lost:
            deaths.append(lost.why)
        except _Failed as failed:
            failures.append(failed.why)
            if isinstance(failed.why, Lotus2VideoError):
                break
    if failures:
        failures[-1].add_note(str(item))
        raise failures[-1]
    reason = str(deaths[-1]).splitlines()[0]
    hint = "not enough memory for them? give fewer --workers or a smaller --res"
    raise EngineError(f"ended {DEATHS} workers, the last with {type(deaths[-1]).__name__}: {reason}", str(item), hint)


def _through(item: Any, pools: list[_Pool], stop: threading.Event, alone: bool) -> Any:
    value = item
    for pool in pools:
        value = pool.work(value, stop, DEPTH if alone else 1)
    try:
        return ray.get(value)
    except RayError as error:  # made, and lost with its node on the way
        raise _Died(error) from error


# ------------------------------------------------------------------------------------------------------------------ actors


class _Place:
    """What an actor is: the worker that a maker gives, made once, in a thread of its own.

    Ray's threads take items in and put results away meanwhile, so that a GPU does not wait for that.

    pickled: the maker. path: of the driver, where the modules of people's own models may be. threads: that libraries may use.
    """

    def __init__(self, pickled: bytes, path: list[str], threads: int):
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if not ray.get_gpu_ids():
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        cv2.setNumThreads(threads)
        sys.path += [folder for folder in path if folder not in sys.path]
        self._pickled, self._worker = pickled, None
        self._thread = ThreadPoolExecutor(1, "worker")

    def ready(self) -> None:
        self._thread.submit(self._make).result()

    def leave(self) -> None:
        """Ends the process; Ray starts another in its place."""
        os._exit(1)

    def work(self, item: Any) -> tuple[None, Any]:
        """Whether it went well, which is small, apart from the result, which can stay where it is."""
        return None, self._thread.submit(self._work, item).result()

    def _make(self) -> Callable[[Any], Any]:
        if self._worker is None:
            self._worker = cloudpickle.loads(self._pickled)()
        return self._worker

    def _work(self, item: Any) -> Any:
        return self._make()(item)


class _Died(Exception):
    """The worker, its node, or what it was to work on is gone."""

    def __init__(self, why: Exception):
        self.why = why


class _Failed(Exception):
    """The worker raised `why`."""

    def __init__(self, why: Exception):
        self.why = why


class _Pool:
    """Actors with equal workers. An item goes to the one that has least to do; one that dies is out until it is back.

    coming: seconds that it has for that.
    """

    def __init__(self, make: Callable, size: int, threads: int, coming: float, **resources: float):
        self.size, self._patience = size, coming
        # SPREAD: the death of one node shall not take them all. Ray restarts an actor, on another node where it has to.
        options = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": DEPTH, **resources}
        options["scheduling_strategy"] = "SPREAD"
        place: Any = ray.remote(_Place)
        self._changed = threading.Condition()
        self._load: dict[Any, int] = {}  # of each actor that is ready
        self._alone = 0  # items that wait for an actor that has nothing else to do
        self._closed = threading.Event()
        self._lost: Exception | None = None  # why there is no actor left
        pickled = cloudpickle.dumps(make)
        self._actors = [place.options(**options).remote(pickled, sys.path, threads) for _ in range(size)]
        self._coming = {actor.ready.remote(): (actor, time.monotonic()) for actor in self._actors}  # and since when
        self._watch = threading.Thread(target=self._take_in, name="ray pool", daemon=True)
        self._watch.start()

    @property
    def ready(self) -> int:
        """Actors that are at work or could be."""
        return len(self._load)

    def work(self, value: Any, stop: threading.Event, share: int = 1) -> Any:
        """A reference to what a worker makes of a value, or of a reference to one, once it is made.

        share: of the DEPTH items that an actor has at once. All of it for an item that has seen a worker die: if that was its
        own doing, no other item shall be blamed with it.
        """
        with self._borrowed(stop, share) as actor:
            done, result = actor.work.options(num_returns=2).remote(value)
            while not ray.wait([done], timeout=_TICK)[0]:
                self._check(stop)
            try:
                ray.get(done)
            except RayTaskError as error:
                why = error.cause
                if isinstance(why, RayError):  # it could not get hold of the value
                    raise _Died(why) from error
                if not isinstance(why, Lotus2VideoError):
                    self._restart(actor)  # after an error of a GPU, nothing in that process is to be trusted
                raise _Failed(why) from error
            except RayError as error:
                self._await(actor)
                raise _Died(error) from error
            return result

    @contextmanager
    def _borrowed(self, stop: threading.Event, share: int) -> Iterator[Any]:
        actor = self._pick(stop, share)
        try:
            yield actor
        finally:
            with self._changed:
                if actor in self._load:
                    self._load[actor] = max(0, self._load[actor] - share)  # 0: it died meanwhile, and came back
                self._changed.notify_all()

    def _pick(self, stop: threading.Event, share: int) -> Any:
        with self._changed, self._queued(share):
            waited = 0.0
            while True:
                self._check(stop)
                actor = min(self._load, key=self._load.__getitem__, default=None)
                turn = share == DEPTH or not self._alone
                if actor is not None and turn and self._load[actor] + share <= DEPTH:
                    self._load[actor] += share
                    return actor
                if not self._changed.wait(_TICK):
                    waited = 0.0 if self._load else waited + _TICK
                if waited > PATIENCE:
                    raise EngineError(f"no worker for {PATIENCE / 60:.0f} minutes", None, "has the cluster room?")

    @contextmanager
    def _queued(self, share: int) -> Iterator[None]:
        """While an item waits that has to be alone, the others let it go first."""
        self._alone += share == DEPTH
        try:
            yield
        finally:
            self._alone -= share == DEPTH

    def _check(self, stop: threading.Event) -> None:
        if stop.is_set() or self._closed.is_set():
            raise CancelledError
        if self._lost is not None:
            raise EngineError("no worker is left", None, str(self._lost).splitlines()[0]) from self._lost

    def _restart(self, actor: Any) -> None:
        actor.leave.remote()
        self._await(actor)

    def _await(self, actor: Any) -> None:
        """Gives it no items until it is ready again."""
        with self._changed:
            if self._load.pop(actor, None) is not None:
                self._coming[actor.ready.remote()] = (actor, time.monotonic())

    def _take_in(self) -> None:
        """Gives items to the actors that have become ready, as long as the pool is open."""
        while not self._closed.is_set():
            with self._changed:
                coming = list(self._coming)
            if not coming:
                self._closed.wait(_TICK)
                continue
            for ref in ray.wait(coming, timeout=_TICK)[0]:
                with self._changed:
                    actor, since = self._coming.pop(ref)
                self._settle(ref, actor, since)

    def _settle(self, ref: Any, actor: Any, since: float) -> None:
        try:
            ray.get(ref)
        except RayTaskError:
            pass  # it cannot make its worker, and will say so to the first item
        except RayError as error:
            self._again(actor, since, error)
            return
        with self._changed:
            self._load[actor] = 0
            self._changed.notify_all()

    def _again(self, actor: Any, since: float, error: Exception) -> None:
        """Asks an actor that is not back, or died while it started, once more a little later; or gives it up."""
        self._closed.wait(_TICK)
        with self._changed:
            if time.monotonic() - since < self._patience:
                self._coming[actor.ready.remote()] = (actor, since)
            elif not self._load and not self._coming:
                self._lost = error
                self._changed.notify_all()

    def close(self) -> None:
        """Ends the actors. Idempotent."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()
        self._watch.join()
        for actor in self._actors:
            with suppress(RayError):
                ray.kill(actor)
        self._actors.clear()


# ------------------------------------------------------------------------------------------------------------ Ray as a whole


def _join(address: str | None, gpus: int | None) -> Callable[[], None]:
    """Starts Ray, or joins a cluster, unless this process did before. Returns what undoes it."""
    if ray.is_initialized():
        return lambda: None
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # each error is raised where its item is asked for
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    # Ray prints what its machines report to standard output, pages of it when one dies. We say what matters as errors.
    ray_worker.print_to_stdstream = lambda *_, **__: None
    with _own_sigterm(), _told(address):
        if address is None:
            return _start_here(gpus, quiet)
        ray.init(_reachable(address), **quiet)
        return ray.shutdown


def _reachable(address: str) -> str:
    """The address with its port, once something there answers: Ray itself would wait for ever. Raises OSError, ValueError."""
    if address == "auto":
        return address
    host, _, port = address.partition(":")
    socket.create_connection((host, int(port or PORT)), timeout=10).close()
    return f"{host}:{port or PORT}"


def _start_here(gpus: int | None, quiet: dict[str, Any]) -> Callable[[], None]:
    """Ray of this process alone: bound to localhost, no dashboard, and nothing is reported to Ray's makers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # binds to localhost; Ray has no public option for it
    try:
        ray.init("local", num_gpus=gpus, include_dashboard=False, _system_config=_SYSTEM, **quiet)
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
    guard = _guard() if os.name == "posix" else None

    def stop() -> None:
        if guard is not None:
            guard.kill()
            guard.communicate()
        ray.shutdown()

    return stop


def _guard() -> subprocess.Popen[bytes]:
    """Ends what Ray leaves running when this process is killed: helpers of its own that wait for each other for ever."""
    import psutil  # Ray brings it

    helpers = [str(p.pid) for p in psutil.Process().children(recursive=True)]
    ends = 'read _; sleep 3; for p; do ps -p $p -o command= | grep -q "^ray::" && kill -9 $p; done'
    command = ["sh", "-c", ends, "sh", *helpers]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null, start_new_session=True)


@contextmanager
def _told(address: str | None) -> Iterator[None]:
    """What goes wrong with joining, as one line."""
    try:
        yield
    except AuthenticationError as error:
        hint = "copy ~/.ray/auth_token from its head to this machine, or set RAY_AUTH_TOKEN"
        raise UsageError("the cluster wants another token", f"--address {address}", hint) from error
    except (OSError, RuntimeError, ValueError) as error:
        where, hint = "--engine ray", None
        if address is not None:
            where = f"--address {address}"
            hint = "does it run? if it has a token: RAY_AUTH_MODE=token here too, and its ~/.ray/auth_token"
        raise UsageError(f"no Ray there ({str(error).splitlines()[0]})", where, hint) from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the handler of SIGTERM, which Ray replaces."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hundredths(share: float) -> float:
    """Rounded down, so that shares of one thing never add up to more than it."""
    return max(0.01, math.floor(100 * share) / 100)
