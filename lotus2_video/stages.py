"""The walk of a frame as readable generators: chunk, estimate, steady, finish. No files here, no devices, no clocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar, cast, overload

import cv2
import numpy as np

from .config import Kind, Upsample
from .engines import Engine, Results
from .fold import Fold
from .fold.keyframes import CarriedDetail, KeyframePlan
from .frames import Chunk, Estimated, Flow, Frame, Maps, Result
from .models import ModelCard, ModelOptions, Predictor, make_predictor, register
from .ops.flow import dense_flow
from .ops.resample import shrink, upsample
from .prefetch import spread
from .store import ChunkStore

Waiting = deque  # of Frames that were handed to the workers, until their maps come back


def chunks(
    frames: Iterable[Frame], size: tuple[int, int], length: int, waiting: Waiting[Frame], sharpen: bool = False
) -> Iterator[Chunk]:
    """Consecutive frames, `length` at a time, at the (height, width) the model wants; the frames themselves go to `waiting`.

    sharpen: whether the sharpener goes over all of them.
    """
    number, halo, small = 0, None, []
    for frame in frames:
        waiting.append(frame)
        small.append(shrink(frame.rgb, size))
        if len(small) == length:
            yield Chunk(number, np.stack(small), halo, number * length, sharpen)
            number, halo, small = number + 1, small[-1], []
    if small:
        yield Chunk(number, np.stack(small), halo, number * length, sharpen)


@dataclass(frozen=True)
class MakeEstimator:
    """Makes the worker that runs the network on chunks; plain values, so that it can be sent to another process.

    card: of the model, for processes in which nobody has registered it. ready: the predictor itself, for workers in this
    process that should share one.
    """

    on_device: ClassVar[bool] = True
    model: str
    options: ModelOptions
    card: ModelCard | None = None
    ready: Predictor | None = None

    def __call__(self) -> Estimator:
        if self.card is not None:
            register(self.card)
        return Estimator(self.ready or make_predictor(self.model, self.options))


@dataclass(frozen=True)
class SizeQuestion:
    """At which size the network of a worker wants frames of a source of (height, width) pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class SizeAnswer:
    """That size, (height, width), and the fingerprint of the worker's predictor."""

    size: tuple[int, int]
    fingerprint: str


class Estimator:
    """Chunk -> Estimated, without flows. What is estimated already, from the store, passes through, and so does None."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    @overload
    def __call__(self, chunk: Chunk | Estimated) -> Estimated: ...

    @overload
    def __call__(self, chunk: SizeQuestion) -> SizeAnswer: ...

    @overload
    def __call__(self, chunk: Chunk | Estimated | None) -> Estimated | None: ...

    def __call__(self, chunk: Chunk | Estimated | SizeQuestion | None) -> Estimated | SizeAnswer | None:
        if chunk is None or isinstance(chunk, Estimated):
            return chunk
        if isinstance(chunk, SizeQuestion):
            return SizeAnswer(self._predictor.input_size(chunk.height, chunk.width), self._predictor.fingerprint)
        maps = self._predictor.predict(chunk.rgb, sharpen=chunk.sharpen)
        return Estimated(chunk, tuple(maps), (None,) * len(maps))

    def close(self) -> None:
        self._predictor.close()


class Elsewhere:
    """The predictor of an engine's workers, as it is known in a process that has none of its own."""

    def __init__(self, engine: Engine, make: MakeEstimator):
        self.make, self._engine = make, engine
        self.kinds: tuple[Kind, ...] = make.options.kinds
        self._ask = lru_cache(maxsize=256)(self._ask_a_worker)
        self.fingerprint = self._ask(1, 1).fingerprint

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        return self._ask(height, width).size

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        """One chunk by itself; the walk sends its own."""
        with closing(self._engine.map(self.make, [Chunk(0, rgb, sharpen=sharpen)])) as estimated:
            return list(next(estimated).maps)

    def _ask_a_worker(self, height: int, width: int) -> SizeAnswer:
        with closing(self._engine.map(self.make, [SizeQuestion(height, width)])) as answers:
            return next(answers)

    def close(self) -> None:
        """Leaves the workers to their engine."""


def make_flow_worker() -> Callable[[Estimated], Estimated]:
    return add_flows


def add_flows(estimated: Estimated) -> Estimated:
    """The same with the optical flow from each frame to the one before, at the size of the maps; as many at once as OpenCV
    may use threads, which gain less inside one flow."""
    chunk, size = estimated.chunk, estimated.maps[0].size
    pictures = [None if rgb is None else shrink(rgb, size) for rgb in (chunk.halo, *chunk.rgb)]
    threads = min(len(chunk.rgb), max(1, cv2.getNumThreads()))
    return replace(estimated, flows=tuple(spread(_flow_between, pairwise(pictures), threads)))


def _flow_between(pair: tuple[np.ndarray | None, np.ndarray | None]) -> Flow | None:
    old, new = pair
    return None if old is None or new is None else dense_flow(old, new)


def recall(pieces: Iterable[Chunk], store: ChunkStore) -> Iterator[Chunk | Estimated]:
    """Each chunk, or what the store has of it."""
    for chunk in pieces:
        yield recalled(chunk, store)


def recalled(chunk: Chunk, store: ChunkStore) -> Chunk | Estimated:
    maps = store.load(chunk)
    return chunk if maps is None else Estimated(chunk, maps, (None,) * len(maps), stored=True)


def keep(estimated: Iterable[Estimated], store: ChunkStore) -> Iterator[Estimated]:
    """The same, each put into the store before it goes on."""
    for part in estimated:
        store.save(part)
        yield part


def estimate(
    engine: Engine, pieces: Iterable[Chunk | Estimated], make: MakeEstimator, with_flow: bool
) -> Results[Estimated]:
    """Every chunk through the network and, where something will use it, through the flow."""
    estimated = engine.map(make, pieces)
    return engine.map(make_flow_worker, estimated) if with_flow else estimated


def sharpen_keys(
    engine: Engine, estimated: Iterable[Estimated], make: MakeEstimator, plan: KeyframePlan, store: ChunkStore
) -> Iterator[Estimated]:
    """The same with its key frames sharpened, by the same workers. They are chosen in order, from pictures and flow alone."""
    waiting: Waiting[tuple[Estimated, list[bool]]] = deque()
    sharpened = cast("Results[Estimated | None]", engine.map(make, _keys(estimated, plan, store, waiting)))
    for sharp in sharpened:
        part, chosen = waiting.popleft()
        if sharp is not None:
            store.save(sharp)
        found = iter(() if sharp is None else sharp.maps)
        yield replace(part, sharp=tuple(next(found) if key else None for key in chosen))


def _keys(
    estimated: Iterable[Estimated],
    plan: KeyframePlan,
    store: ChunkStore,
    waiting: Waiting[tuple[Estimated, list[bool]]],
) -> Iterator[Chunk | Estimated | None]:
    """Of each chunk the key frames, or what the store has of them; None where there are none."""
    for part in estimated:
        chunk, size = part.chunk, part.maps[0].size
        chosen = [plan.step(shrink(rgb, size), flow) for rgb, flow in zip(chunk.rgb, part.flows, strict=True)]
        waiting.append((part, chosen))
        keys = Chunk(chunk.number, chunk.rgb[chosen], None, chunk.first, sharpen=True) if any(chosen) else None
        yield None if keys is None else recalled(keys, store)


def steady(estimated: Iterable[Estimated], fold: Fold, carried: CarriedDetail | None = None) -> Iterator[Maps]:
    """The maps of all frames, one after another, made steady by the fold, with the detail of the key frames, if there are."""
    waiting: Waiting[_Sharpened] = deque()
    for part in estimated:
        size = part.maps[0].size
        for i, (rgb, maps, flow) in enumerate(zip(part.chunk.rgb, part.maps, part.flows, strict=True)):
            picture = shrink(rgb, size)
            given = fold.step(picture, maps, flow)
            if carried is not None:
                sharp = part.sharp[i]
                waiting.append((picture, flow, None if sharp is None else (maps, sharp, fold.scale)))
            yield from _with_detail(given, carried, waiting)
    yield from _with_detail(fold.flush(), carried, waiting)


_Sharpened = tuple[np.ndarray, Flow | None, tuple[Maps, Maps, float] | None]  # what CarriedDetail.step wants of a frame


def _with_detail(given: list[Maps], carried: CarriedDetail | None, waiting: Waiting[_Sharpened]) -> Iterator[Maps]:
    """Frames that the fold has given, in order, each perhaps some frames late."""
    for maps in given:
        if carried is None:
            yield maps
        else:
            picture, flow, key = waiting.popleft()
            yield carried.step(picture, maps, flow, key)


def finish(maps: Iterable[Maps], waiting: Waiting[Frame], how: Upsample, threads: int = 1) -> Iterator[Result]:
    """Each frame with its maps at its own size; so many at once."""

    def full(pair: tuple[Maps, Frame]) -> Result:
        small, frame = pair
        return Result(frame, upsample(small, frame.rgb, how))

    yield from spread(full, ((each, waiting.popleft()) for each in maps), threads)
