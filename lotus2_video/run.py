"""The composition root: picks reader, model, engine and sink, and runs one source through them. It alone knows them all."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2

from .config import RunConfig, configure
from .engines import Engine
from .engines.local import LocalEngine
from .errors import InputError, TruncatedInput, UsageError
from .fold import Fold, Passthrough
from .fold.keyframes import CarriedDetail, KeyframePlan
from .fold.smooth import Smooth
from .frames import Frame, Result, StreamInfo
from .models import ModelOptions, Predictor, count_gpus, find_card, make_predictor
from .models.shared import SharedPredictor
from .ops.cuts import Cuts, ListedCuts, NoCuts, SeenCuts
from .prefetch import prefetch
from .read import Source, open_source
from .stages import Elsewhere, MakeEstimator, chunks, estimate, finish, keep, recall, sharpen_keys, steady
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
        job: what to do. engine: where the workers run; by default, as the configuration says. listener: told of progress.
        predictor: from the `workshop` that several runs share; by default, one is made and closed here.

    Raises UsageError, InputError, WeightsError, OutputError and EngineError; TruncatedInput after everything that could be
    read was written and completed, unless the configuration is `tolerant`.
    """
    begin = time.monotonic()
    listener = listener or Listener()
    check(job.config)
    with ExitStack() as stack:
        source = stack.enter_context(_open(job))
        listener.opened(source.info)
        plan = plan_outputs(source.info, job.config, job.output)
        listener.planned(plan.paths)
        shop = nullcontext((engine, predictor)) if predictor else workshop(job.config, engine, listener.said)
        engine, ready = stack.enter_context(shop)
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
        engine, ready = stack.enter_context(workshop(config))
        walk = stack.enter_context(_walk(source, config, engine, ready, ChunkStore(), lambda line: None))
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
def workshop(
    config: RunConfig,
    engine: Engine | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Engine | None, Predictor]]:
    """What runs with `config` share: the engine, None for one of each run's own in this process, and the predictor.

    engine: one that is there already. say: told which engine, and why.
    Raises UsageError, WeightsError and EngineError.
    """
    with ExitStack() as stack:
        if engine is None and _pick_engine(config, say) == "ray":
            engine = stack.enter_context(_ray_engine(config))
        if engine is None or engine.here:
            predictor = make_predictor(config.model, model_options(config))
        else:
            predictor = Elsewhere(engine, _make_estimator(config))
        stack.callback(predictor.close)
        yield engine, predictor


def _pick_engine(config: RunConfig, say: Callable[[str], None]) -> str:
    """ "local" for one device and "ray" for more, unless the configuration says which. Of a machine's GPUs a light model takes
    one, unless it is told how many."""
    if config.engine != "auto":
        return config.engine
    several, local = [f"--address {config.address}"] if config.address else [], "one device"
    several += [f"{config.workers} workers"] if (config.workers or 1) > 1 else []
    if not several and config.device == "auto" and config.gpus not in ("0", "1"):
        gpus = count_gpus() if config.gpus == "all" else int(config.gpus)
        if gpus > 1 and config.gpus == "all" and find_card(config.model).light:
            local = f"one GPU of {gpus} is enough for the {config.model}; see --gpus"
        elif gpus > 1:
            several = [f"{gpus} GPUs"]
    say(f"engine: {'ray' if several else 'local'} ({', '.join(several) or local})")
    return "ray" if several else "local"


def _ray_engine(config: RunConfig) -> Engine:
    try:
        from .engines.ray import RayEngine
    except ModuleNotFoundError as error:
        hint = "pip install 'lotus2-video[ray]', or take one device with --engine local"
        raise UsageError(f"the Ray engine needs {error.name}", "--engine", hint) from error
    gpus = 0 if config.device == "cpu" else None if config.gpus == "all" else int(config.gpus)
    return RayEngine(config.window, config.workers, gpus, config.address)


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
        if isinstance(predictor, Elsewhere):
            make = predictor.make
        else:
            make = replace(_make_estimator(config), ready=SharedPredictor(predictor))
        if notice := find_card(config.model).notice:
            say(notice)
        frames, waiting = _Frames(source), deque()
        size = predictor.input_size(source.info.height, source.info.width)
        every = _key_frames(config)
        cut = chunks(frames, size, config.chunk, waiting, config.sharpen == "all")
        pieces = stack.enter_context(prefetch(cut, 1, "decode"))
        estimated = estimate(here, recall(pieces, store), make, with_flow=config.smooth or every > 0)
        kept = stack.enter_context(prefetch(keep(estimated, store), 1, "keep"))
        if every:
            kept = sharpen_keys(here, kept, make, KeyframePlan(every, _make_cuts(config)), store)
        maps = steady(kept, _make_fold(config), CarriedDetail() if every else None)
        full = finish(maps, waiting, config.upsample, _upsampling_threads())
        results = stack.enter_context(prefetch(full, config.chunk, "finish"))
        stack.callback(estimated.close)  # the first to be closed, so that nobody waits for a result any more
        yield _Walk(results, frames, f"{config.model} {predictor.fingerprint}")


def _upsampling_threads() -> int:
    """A quarter of the cores: with that many, the fold, which goes from frame to frame, is the slower on any machine."""
    return max(1, cv2.getNumThreads() // 4)


def _make_estimator(config: RunConfig) -> MakeEstimator:
    return MakeEstimator(config.model, model_options(config), find_card(config.model))


def model_options(config: RunConfig) -> ModelOptions:
    sharpen = config.sharpen != "none"
    return ModelOptions(config.maps, config.weights, config.res, config.device, config.precision, sharpen=sharpen)


def _make_fold(config: RunConfig) -> Fold:
    return Smooth(config.fold, _make_cuts(config)) if config.smooth else Passthrough()


def _key_frames(config: RunConfig) -> int:
    """Every how many frames there is a key frame; 0 for none."""
    return int(config.sharpen) if config.sharpen.isdecimal() else 0


def _make_cuts(config: RunConfig) -> Cuts:
    """Raises UsageError."""
    if config.cuts in ("auto", "none"):
        return SeenCuts() if config.cuts == "auto" else NoCuts()
    try:
        words = re.sub(r"#.*", "", Path(config.cuts).read_text()).split()
        return ListedCuts(int(word) for word in words)
    except OSError as error:
        raise UsageError(f"{config.cuts}: {error.strerror or error}", "--cuts", "use auto, none or a file") from error
    except ValueError as error:
        raise UsageError(f"{config.cuts}: not a list of frame numbers ({error})", "--cuts") from error


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
    _make_cuts(config)
    if config.engine == "ray" and config.device.startswith("cuda:"):
        raise UsageError(
            "the Ray engine picks the GPUs itself", f"--device {config.device}", "say how many with --gpus"
        )
