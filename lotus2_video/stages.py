"""The walk of a frame as readable generators: chunk, estimate, steady, finish. No files here, no devices, no clocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from .config import Upsample
from .engines import Engine
from .fold import Fold
from .frames import Chunk, Estimated, Frame, Maps, Result
from .models import ModelOptions, Predictor, make_predictor
from .ops.flow import dense_flow
from .ops.resample import shrink, upsample
from .store import ChunkStore

Waiting = deque  # of Frames that were handed to the workers, until their maps come back


def chunks(frames: Iterable[Frame], size: tuple[int, int], length: int, waiting: Waiting[Frame]) -> Iterator[Chunk]:
    """Consecutive frames, `length` at a time, at the (height, width) the model wants; the frames themselves go to `waiting`."""
    number, halo, small = 0, None, []
    for frame in frames:
        waiting.append(frame)
        small.append(shrink(frame.rgb, size))
        if len(small) == length:
            yield Chunk(number, np.stack(small), halo)
            number, halo, small = number + 1, small[-1], []
    if small:
        yield Chunk(number, np.stack(small), halo)


@dataclass(frozen=True)
class MakeEstimator:
    """Makes the worker that runs the network on chunks; plain values, so that it can be sent to another process.

    ready: the predictor itself, for workers in this process that should share one.
    """

    model: str
    options: ModelOptions
    sharpen: bool = False
    ready: Predictor | None = None

    def __call__(self) -> Estimator:
        return Estimator(self.ready or make_predictor(self.model, self.options), self.sharpen)


class Estimator:
    """Chunk -> Estimated, without flows. What is estimated already, from the store, passes through in its place."""

    def __init__(self, predictor: Predictor, sharpen: bool):
        self._predictor, self._sharpen = predictor, sharpen

    def __call__(self, chunk: Chunk | Estimated) -> Estimated:
        if isinstance(chunk, Estimated):
            return chunk
        maps = self._predictor.predict(chunk.rgb, sharpen=self._sharpen)
        return Estimated(chunk, tuple(maps), (None,) * len(maps))

    def close(self) -> None:
        self._predictor.close()


def make_flow_worker() -> Callable[[Estimated], Estimated]:
    return add_flows


def add_flows(estimated: Estimated) -> Estimated:
    """The same with the optical flow from each frame to the one before, at the size of the maps."""
    chunk, size = estimated.chunk, estimated.maps[0].size
    pictures = [None if rgb is None else shrink(rgb, size) for rgb in (chunk.halo, *chunk.rgb)]
    flows = [None if old is None or new is None else dense_flow(old, new) for old, new in pairwise(pictures)]
    return replace(estimated, flows=tuple(flows))


def recall(pieces: Iterable[Chunk], store: ChunkStore) -> Iterator[Chunk | Estimated]:
    """Each chunk, or what the store has of it."""
    for chunk in pieces:
        maps = store.load(chunk)
        yield chunk if maps is None else Estimated(chunk, maps, (None,) * len(maps), stored=True)


def keep(estimated: Iterable[Estimated], store: ChunkStore) -> Iterator[Estimated]:
    """The same, each put into the store before it goes on."""
    for part in estimated:
        store.save(part)
        yield part


def estimate(
    engine: Engine, pieces: Iterable[Chunk | Estimated], make: MakeEstimator, with_flow: bool
) -> Iterator[Estimated]:
    """Every chunk through the network and, where something will use it, through the flow."""
    estimated = engine.map(make, pieces)
    return engine.map(make_flow_worker, estimated) if with_flow else estimated


def steady(estimated: Iterable[Estimated], fold: Fold) -> Iterator[Maps]:
    """The maps of all frames, one after another, made steady by the fold."""
    for part in estimated:
        size = part.maps[0].size
        for rgb, maps, flow in zip(part.chunk.rgb, part.maps, part.flows, strict=True):
            yield from fold.step(shrink(rgb, size), maps, flow)
    yield from fold.flush()


def finish(maps: Iterable[Maps], waiting: Waiting[Frame], how: Upsample) -> Iterator[Result]:
    """Each frame with its maps at its own size."""
    for each in maps:
        frame = waiting.popleft()
        yield Result(frame, upsample(each, frame.rgb, how))
