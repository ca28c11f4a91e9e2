"""The rows of `scaling.py` that want GPUs. Lotus-2 is of full size with random weights, core only, in fp8: as fast as the real.

busy: one 720p H.264 film to mp4, one GPU. `busy` is the time in `predict` over the wall time, `fps` the whole walk, `alone_fps`
the model on frames in memory, `of_alone` their ratio: the stricter figure, since what slows `predict` down lowers it too.
`ray_` the same film with its network in an actor; `several_` eight short films at once in one process.
gpus: two GPUs over one, for a film of --gpu-frames and for a batch of --gpu-clips clips, eight of them at once for two GPUs and
four for one; `shards` is the mini's batch in four processes a GPU, each with `--shard` and a network of its own.
Each figure is printed once it is known.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from throughput import film

from lotus2_video import (
    BatchConfig,
    Job,
    Maps,
    ModelCard,
    ModelOptions,
    Predictor,
    RunConfig,
    make_predictor,
    register,
    run_batch,
    run_video,
)
from lotus2_video.engines.ray import RayEngine
from lotus2_video.models import count_gpus

Found = dict[str, Any]
FRAMES = {"mini": 1000, "lotus-2-random": 240}  # of the row busy
TINY = {"mini": 32, "lotus-2-random": 16}
CLIP = {"mini": 60, "lotus-2-random": 16}  # frames of each of the clips of the row gpus
SEVERAL = 8
SHARDS = 4  # processes a card
_everybody: Any = None  # where the shards wait for each other


def random_lotus2(rest: str, options: ModelOptions) -> Predictor:
    """`lotus-2-random`, or `lotus-2-random:tiny`, which is of toy size and on the CPU."""
    import lotus2_gpu
    import torch

    tiny = rest == "tiny"
    device = torch.device("cpu" if tiny else "cuda")
    bench = lotus2_gpu.Bench(tiny, device, 4, 1, scratch=None)
    return lotus2_gpu._ours(bench, "bf16" if tiny else "fp8")


register(ModelCard("lotus-2-random", "", ("depth",), "-", False, lambda: "", random_lotus2))


def _models(options: argparse.Namespace) -> dict[str, str]:
    """What to measure, by name: the word after --model."""
    tiny = {"lotus-2-random": "lotus-2-random:tiny"} if options.tiny else {}
    return {name: tiny.get(name, name) for name in options.models.split(",")}


def small_film(path: Path, frames: int, size: tuple[int, int]) -> Path:
    """The tests' film. size: (height, width)."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from media import film as of_the_tests

    return of_the_tests(path, frames=frames, size=size)


def _film(path: Path, frames: int, tiny: bool) -> Path:
    return small_film(path, frames, (96, 160)) if tiny else film(path, None, frames)


# -------------------------------------------------------------------------------------------------------------------- busy


class _Timed:
    """A predictor that adds up the seconds in `predict`. Who made the predictor closes it."""

    def __init__(self, predictor: Predictor):
        self.kinds, self.fingerprint, self.input_size = predictor.kinds, predictor.fingerprint, predictor.input_size
        self._predictor, self.seconds = predictor, 0.0

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        begin = time.perf_counter()
        maps = self._predictor.predict(rgb, sharpen=sharpen)
        self.seconds += time.perf_counter() - begin
        return maps

    def close(self) -> None:
        pass


def busy(options: argparse.Namespace, work: Path) -> Found:
    if not (count_gpus() or options.tiny):
        return {"skipped": "needs a GPU"}
    found: Found = {}
    device = "cpu" if options.tiny else "auto"
    for name, model in _models(options).items():
        frames = TINY[name] if options.tiny else options.busy_frames or FRAMES[name]
        short = _copies(work / name, SEVERAL, frames // SEVERAL, options.tiny)
        clip = _film(work / "clip.mp4", frames, options.tiny)
        for what, value in _in_process(model, clip, short, device, work):
            _tell(found, f"{name}_{what}", value)
        _tell(found, f"{name}_of_alone", found[f"{name}_fps"] / found[f"{name}_alone_fps"])
        if "gpus" not in options.rows.split(","):  # which measures the same
            _tell(found, f"{name}_ray_fps", _by_ray(model, clip, short[0], device, work))
    return found


def _tell(found: Found, name: str, value: float) -> None:
    found[name] = value
    print(f"{name} {value:.3f}", file=sys.stderr, flush=True)


def _in_process(model: str, clip: Path, short: list[str], device: str, work: Path) -> Iterator[tuple[str, float]]:
    predictor = make_predictor(model, ModelOptions(device=device))
    timed = _Timed(predictor)
    register(ModelCard("timed", "", ("depth",), "-", False, lambda: "", lambda rest, options: timed))
    config = _config("timed", device=device, engine="local")
    yield "alone_fps", _alone_fps(timed, clip)
    run_video(Job(short[0], str(work / "out.mp4"), config))  # warms what is not the network
    timed.seconds = 0.0
    outcome = run_video(Job(str(clip), str(work / "out.mp4"), config))
    yield "busy", timed.seconds / outcome.seconds
    yield "fps", outcome.frames / outcome.seconds
    timed.seconds = 0.0
    many = run_batch(short, work / f"several_{model}", config, how=BatchConfig(jobs=SEVERAL))
    yield "several_busy", timed.seconds / many.seconds
    yield "several_fps", many.frames / many.seconds
    predictor.close()


def _alone_fps(predictor: Predictor, clip: Path) -> float:
    """Of chunks of frames in memory, at the size that the model wants of the clip."""
    import av

    with av.open(str(clip)) as container:
        size = predictor.input_size(container.streams.video[0].height, container.streams.video[0].width)
    rgb = np.random.default_rng(0).integers(0, 256, (RunConfig().chunk, *size, 3), dtype=np.uint8)
    taken = []
    for take in itertools.count():
        begin = time.perf_counter()
        predictor.predict(rgb)
        if take >= 3:  # the first compile
            taken.append(time.perf_counter() - begin)
        if len(taken) >= 5 and sum(taken) > 2:
            return len(rgb) / statistics.median(taken)
    raise AssertionError("unreachable")


def _by_ray(model: str, clip: Path, short: str, device: str, work: Path) -> float:
    """Frames a second with the network in an actor."""
    config = _config(model, device=device)
    with RayEngine(workers=1, gpus=0 if device == "cpu" else 1) as engine:
        run_video(Job(short, str(work / "out.mp4"), config), engine)  # starts the actor, and compiles
        outcome = run_video(Job(str(clip), str(work / "out.mp4"), config), engine)
    return outcome.frames / outcome.seconds


# -------------------------------------------------------------------------------------------------------------------- gpus


def gpus(options: argparse.Namespace, work: Path) -> Found:
    if count_gpus() < 2 and not options.tiny:
        return {"skipped": f"needs two GPUs, there are {count_gpus()}"}
    count, clips = (32, 4) if options.tiny else (options.gpu_frames, options.gpu_clips)
    clip = _film(work / "long.mp4", count, options.tiny)
    found: Found = {}
    for name, model in _models(options).items():
        short = _copies(
            work / name, clips, TINY[name] if options.tiny else options.clip_frames or CLIP[name], options.tiny
        )
        ways = [_pooled, _sharded] if name == "mini" else [_pooled]
        for way, cards in itertools.product(ways, (1, 2)):
            for what, rate in way(clip, short, model, cards, options.tiny, work):
                _tell(found, f"{name}_{what}_{cards}_fps", rate)
                if cards == 2:
                    _tell(found, f"{name}_{what}_ratio", rate / found[f"{name}_{what}_1_fps"])
    return found


def _copies(folder: Path, count: int, frames: int, tiny: bool) -> list[str]:
    """So many names of one film."""
    folder.mkdir()
    first = _film(folder / "clip00.mp4", frames, tiny)
    for number in range(1, count):
        os.link(first, folder / f"clip{number:02d}.mp4")
    return sorted(str(path) for path in folder.iterdir())


def _config(model: str, **settings: Any) -> RunConfig:
    return RunConfig(model=model, overwrite=True, resume=False, **settings)


def _pooled(
    clip: Path, short: list[str], model: str, cards: int, tiny: bool, work: Path
) -> Iterator[tuple[str, float]]:
    """Frames a second of one video and of a batch on a pool of actors, past the start of the workers."""
    config = _config(model, device="cpu" if tiny else "auto")
    with RayEngine(gpus=0 if tiny else cards, workers=cards) as engine:
        warm = [Job(short[0], str(work / "warm.mp4"), config)] * 2
        for job in warm:  # starts the actors; compiles in each
            run_video(job, engine)
            wait_for_all(engine)
        video = run_video(Job(str(clip), str(work / "out.mp4"), config), engine)
        yield "video", video.frames / video.seconds
        folder = work / f"pooled{cards}_{model}"
        many = run_batch(short, folder, config, how=BatchConfig(jobs=4 * cards), engine=engine)
        yield "batch", many.frames / many.seconds


def wait_for_all(engine: RayEngine) -> None:
    while not engine.ready:
        time.sleep(0.1)


def _sharded(
    clip: Path, short: list[str], model: str, cards: int, tiny: bool, work: Path
) -> Iterator[tuple[str, float]]:
    """Frames a second of the batch in SHARDS processes a card, each with a network of its own: for networks that are small."""
    count = (1 if tiny else SHARDS) * cards
    # Left to themselves the libraries of each process take all cores: a third fewer frames, on 32 of them.
    os.environ |= {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    context = multiprocessing.get_context("spawn")
    everybody, folder = context.Barrier(count), str(work / f"sharded{cards}_{model}")
    with ProcessPoolExecutor(count, context, _meet_at, (everybody,)) as processes:
        devices = ["cpu" if tiny else f"cuda:{number % cards}" for number in range(count)]
        shards = [f"{number + 1}/{count}" for number in range(count)]
        ended = list(processes.map(_shard, devices, shards, *(itertools.repeat(x) for x in (short, folder, model))))
    begins, ends, frames = zip(*ended, strict=True)
    yield "shards", sum(frames) / (max(ends) - min(begins))


def _meet_at(everybody: Any) -> None:
    global _everybody
    _everybody = everybody


def _shard(device: str, shard: str, short: list[str], folder: str, model: str) -> tuple[float, float, int]:
    """When it began, when it ended, and frames, once all are warm."""
    of = int(shard.partition("/")[2])
    cv2.setNumThreads(max(1, len(os.sched_getaffinity(0)) // of))
    config = _config(model, device=device, engine="local")
    run_video(Job(short[0], f"{folder}_warm{shard.partition('/')[0]}.mp4", config))
    _everybody.wait()
    begin = time.monotonic()
    done = run_batch(short, folder, config, how=BatchConfig(jobs=2, shard=shard))
    return begin, time.monotonic(), done.frames
