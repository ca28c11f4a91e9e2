"""The rows of `scaling.py` that want GPUs. Lotus-2 is of full size with random weights, core only, in fp8: as fast as the real.

busy: one 720p H.264 film to mp4, one GPU. `busy` is the time in `predict` over the wall time, `fps` the whole walk, `alone_fps`
the model on frames in memory, `of_alone` their ratio: the stricter figure, since what slows `predict` down lowers it too.
`ray_` the same film with its network in an actor; `several_` eight short films at once in one process.
gpus: two GPUs over one, for a film of 2,000 frames and for a batch of 64 clips.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

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
from lotus2_video.engines.local import LocalEngine
from lotus2_video.engines.ray import RayEngine
from lotus2_video.models import count_gpus

Found = dict[str, Any]
FRAMES = {"mini": 1000, "lotus-2-random": 240}  # of the row busy
TINY = {"mini": 32, "lotus-2-random": 16}
SEVERAL = 8


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
        frames = (TINY if options.tiny else FRAMES)[name]
        clip = _film(work / "clip.mp4", frames, options.tiny)
        for key, value in (_in_process(model, clip, frames, device, work) | _by_ray(model, clip, device, work)).items():
            found[f"{name}_{key}"] = value
        found[f"{name}_of_alone"] = found[f"{name}_fps"] / found[f"{name}_alone_fps"]
        found[f"{name}_ray_of_alone"] = found[f"{name}_ray_fps"] / found[f"{name}_alone_fps"]
        print(*(f"{k}={v:.3f}" for k, v in found.items() if k.startswith(name)), file=sys.stderr, flush=True)
    return found


def _in_process(model: str, clip: Path, frames: int, device: str, work: Path) -> Found:
    predictor = make_predictor(model, ModelOptions(device=device, frames=10_000))
    timed = _Timed(predictor)
    register(ModelCard("timed", "", ("depth",), "-", False, lambda: "", lambda rest, options: timed))
    config = RunConfig(model="timed", overwrite=True, resume=False, device=device)
    found: Found = {"alone_fps": _alone_fps(timed, clip)}
    _run(clip, config, work)  # warms what is not the network
    timed.seconds = 0.0
    wall = _run(clip, config, work)
    found |= {"busy": timed.seconds / wall, "fps": frames / wall}
    short = [str(work / f"short{i}.mp4") for i in range(SEVERAL)]
    _film(Path(short[0]), frames // SEVERAL, device == "cpu")
    for path in short[1:]:
        os.link(short[0], path)
    timed.seconds = 0.0
    many = run_batch(short, work / f"several_{model}", config, how=BatchConfig(jobs=SEVERAL))
    found |= {"several_busy": timed.seconds / many.seconds, "several_fps": many.frames / many.seconds}
    for path in short:
        os.unlink(path)
    predictor.close()
    return found


def _run(clip: Path, config: RunConfig, work: Path) -> float:
    """Seconds of the whole walk."""
    with LocalEngine() as engine:
        predictor = make_predictor("timed", ModelOptions())
        return run_video(Job(str(clip), str(work / "out.mp4"), config), engine, predictor=predictor).seconds


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


def _by_ray(model: str, clip: Path, device: str, work: Path) -> Found:
    config = RunConfig(model=model, overwrite=True, resume=False, device=device, engine="ray")
    with RayEngine(workers=1, gpus=0 if device == "cpu" else 1) as engine:
        job = Job(str(clip), str(work / "out.mp4"), config)
        run_video(job, engine)  # starts the actors, and compiles
        outcome = run_video(job, engine)
    return {"ray_fps": outcome.frames / outcome.seconds}


# -------------------------------------------------------------------------------------------------------------------- gpus


def gpus(options: argparse.Namespace, work: Path) -> Found:
    if count_gpus() < 2 and not options.tiny:
        return {"skipped": f"needs two GPUs, there are {count_gpus()}"}
    count, clips = (32, 4) if options.tiny else (2000, 64)
    clip = _film(work / "long.mp4", count, options.tiny)
    short = [str(_film(work / f"short{i:02d}.mp4", min(60, count // 2), options.tiny)) for i in range(clips)]
    found: Found = {}
    for name, model in _models(options).items():
        one, two = (_rate(clip, short, model, count, options.tiny, work) for count in (1, 2))
        found |= {f"{name}_{what}_ratio": two[what] / one[what] for what in one}
        found |= {f"{name}_{what}_fps": two[what] for what in two}
    return found


def _rate(clip: Path, short: list[str], model: str, count: int, tiny: bool, work: Path) -> dict[str, float]:
    """Frames a second of one video and of a batch, past the start of the workers."""
    config = RunConfig(model=model, overwrite=True, resume=False, device="cpu" if tiny else "auto")
    with RayEngine(gpus=0 if tiny else count, workers=count) as engine:
        run_video(Job(short[0], str(work / "warm.mp4"), config), engine)
        video = run_video(Job(str(clip), str(work / "out.mp4"), config), engine)
        folder = work / f"out{count}_{model}"
        many = run_batch(short, folder, config, how=BatchConfig(jobs=4 * count), engine=engine)
    return {"video": video.frames / video.seconds, "batch": many.frames / many.seconds}
