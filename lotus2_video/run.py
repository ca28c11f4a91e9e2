"""The composition root: picks reader, model, engine and sink, and runs one source through them. It alone knows them all."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .config import RunConfig, configure
from .engines import Engine
from .engines.local import LocalEngine
from .errors import InputError, TruncatedInput, UsageError
from .fold import Fold, Passthrough
from .fold.smooth import Smooth
from .frames import Frame, Result, StreamInfo
from .models import ModelOptions, Predictor, find_card, make_predictor
from .prefetch import prefetch
from .read import Source, open_source
from .stages import MakeEstimator, chunks, estimate, finish, keep, recall, steady
from .store import ChunkStore, open_store
from .write import Sink, open_sinks, plan_outputs


@dataclass(frozen=True)
class Job:
    """One source and where its maps go. output: a file, a folder, or None for beside the source."""

    input: str
    output: str | None = None
    config: RunConfig = field(default_factory=RunConfig)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. lost: the source broke off (and `config.tolerant` said to accept that)."""

    paths: tuple[Path, ...]
    frames: int
    seconds: float
    warnings: tuple[str, ...] = ()
    lost: str | None = None

    def __str__(self) -> str:
        rate = self.frames / max(self.seconds, 1e-9)
        names = ", ".join(str(path) for path in self.paths)
        return f"{names}: {self.frames} frames in {self.seconds:.1f} s, {rate:.1f} frames/s"


@dataclass(frozen=True)
class Listener:
    """What a run tells while it goes on. What one of these raises ends the run.

    opened: once the source is open. planned: once it is sure that these may be written. advanced: after every frame, with
    their count. said: a line for the user.
    """

    opened: Callable[[StreamInfo], None] = lambda info: None
    advanced: Callable[[int], None] = lambda frames: None
    said: Callable[[str], None] = lambda line: None
    planned: Callable[[tuple[Path, ...]], None] = lambda paths: None


def run_video(
    job: Job, engine: Engine | None = None, listener: Listener | None = None, predictor: Predictor | None = None
) -> Outcome:
    """Reads a source, estimates its maps, and writes them: all of it under its final names, or nothing.

    What the network made of a run that died is kept (see `store`): the same job goes on from there and writes the same bytes.

    Args:
        job: what to do. engine: where the workers run; by default, in this process. listener: told of progress.
        predictor: one made for `job.config` that several runs share; by default, one is made and closed here.

    Raises UsageError, InputError, WeightsError and OutputError; TruncatedInput after everything that could be read was
    written and completed, unless the configuration is `tolerant`.
    """
    begin = time.monotonic()
    listener = listener or Listener()
    check(job.config)
    with ExitStack() as stack:
        source = stack.enter_context(_open(job))
        listener.opened(source.info)
        plan = plan_outputs(source.info, job.config, job.output)
        listener.planned(plan.paths)
        ready = predictor or stack.enter_context(predictor_for(job.config, source.info.frames))
        store = open_store(job.config, source.info, ready.fingerprint)
        stack.callback(store.close)
        if store.found:
            listener.said(f"going on from an earlier run, which left {store.found} frames")
        walk = stack.enter_context(_walk(source, job.config, engine, ready, store, listener.said))
        sink = open_sinks(plan, source.info, job.config, source.audio, walk.model)
        stack.callback(sink.abort)  # does nothing once committed
        frames = _write(walk.results, sink, listener)
        broken = walk.frames.broken
        if frames == 0:
            raise InputError("no frame could be read", job.input)
        sink.commit()
        store.done()
    warnings = tuple(dict.fromkeys([*source.warnings, *sink.warnings, *store.warnings]))
    if broken is not None and not job.config.tolerant:
        kept = f"kept {frames} frames in {sink.paths[0]}; use --tolerant to accept this"
        raise TruncatedInput(broken.what, job.input, kept) from broken
    return Outcome(sink.paths, frames, time.monotonic() - begin, warnings, broken.what if broken else None)


def estimate_video(path: str, **settings: Any) -> Iterator[Result]:
    """The frames of a source with their maps, one after another, as they are made.

    Args:
        path: as for the command: a video file, a still, a folder or pattern of frames, or "-".
        settings: fields of RunConfig, e.g. model="mini", maps=("depth",), smooth=False.

    Yields Result: `rgb` uint8 [H,W,3], `depth` float32 [H,W] in [0,1] (near = large), `normal` float32 [H,W,3], `seconds`.
    Raises as `run_video` does.
    """
    config = configure(settings)
    job = Job(str(path), None, config)
    check(job.config)
    with ExitStack() as stack:
        source = stack.enter_context(_open(job))
        source.audio.ignore()
        ready = stack.enter_context(predictor_for(config, source.info.frames))
        walk = stack.enter_context(_walk(source, config, None, ready, ChunkStore(), lambda line: None))
        yield from walk.results
    if walk.frames.broken is not None and not config.tolerant:
        raise walk.frames.broken


class _Frames:
    """The frames of a source. One that breaks off ends here as if it were complete; `broken` says that it was not."""

    def __init__(self, source: Source):
        self._source = source
        self.broken: TruncatedInput | None = None

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from self._source
        except TruncatedInput as error:
            self.broken = error


@dataclass(frozen=True)
class _Walk:
    results: Iterator[Result]
    frames: _Frames
    model: str


@contextmanager
def predictor_for(config: RunConfig, frames: int | None = None) -> Iterator[Predictor]:
    """The predictor that runs with `config` want, open inside the block. frames: how many there will be, where known.

    Raises UsageError and WeightsError.
    """
    predictor = make_predictor(config.model, model_options(config, frames))
    try:
        yield predictor
    finally:
        predictor.close()


@contextmanager
def _walk(
    source: Source,
    config: RunConfig,
    engine: Engine | None,
    predictor: Predictor,
    store: ChunkStore,
    say: Callable[[str], None],
) -> Iterator[_Walk]:
    """All stages, connected and running ahead of each other: decode | network | flow | store | fold and upsampling."""
    with ExitStack() as stack:
        here = engine or stack.enter_context(LocalEngine(config.window))
        shared = predictor if engine is None else None
        make = MakeEstimator(config.model, model_options(config, source.info.frames), config.sharpen == "all", shared)
        if notice := find_card(config.model).notice:
            say(notice)
        frames, waiting = _Frames(source), deque()
        size = predictor.input_size(source.info.height, source.info.width)
        pieces = stack.enter_context(prefetch(chunks(frames, size, config.chunk, waiting), 1, "decode"))
        estimated = estimate(here, recall(pieces, store), make, with_flow=config.smooth)
        kept = stack.enter_context(prefetch(keep(estimated, store), 1, "keep"))
        maps = steady(kept, _make_fold(config))
        results = stack.enter_context(prefetch(finish(maps, waiting, config.upsample), config.chunk, "finish"))
        yield _Walk(results, frames, f"{config.model} {predictor.fingerprint}")


def model_options(config: RunConfig, frames: int | None) -> ModelOptions:
    sharpen = config.sharpen != "none"
    return ModelOptions(
        config.maps, config.weights, config.res, config.device, config.precision, frames, sharpen=sharpen
    )


def _make_fold(config: RunConfig) -> Fold:
    return Smooth(config.fold) if config.smooth else Passthrough()


def _open(job: Job) -> Source:
    config = job.config
    return open_source(job.input, fps=config.fps, start=config.start, end=config.end)


def _write(results: Iterator[Result], sink: Sink, listener: Listener) -> int:
    count = 0
    for count, result in enumerate(results, 1):
        sink.write(result)
        listener.advanced(count)
    return count


def check(config: RunConfig) -> None:
    """What can be told to be wrong before anything is opened. Raises UsageError."""
    card = find_card(config.model)
    if config.sharpen != "none" and not card.sharpener:
        raise UsageError(f"{card.name} has no detail sharpener", "--sharpen", "use --sharpen none")
    if config.sharpen not in ("none", "all"):
        raise UsageError("key-frame sharpening is not available yet", "--sharpen", "use --sharpen none or all")
    if config.engine == "ray":
        raise UsageError("the Ray engine is not available yet", "--engine", "use --engine local")
