"""The Ray engine: laws under kills, what its order and its object store cost, one GPU against two, and a batch with deaths.

    python benchmarks/scaling.py [--rows laws,pool,many,store,batch,startup,gpus,busy] [--moments 10] [--clips 1000] [--tiny]

laws: `ray_laws`, so many moments of each kind of death, with the fake and with the mini in turn. pool: one worker of 20 ms a
frame, Ray against in-process, past start-up. many: 32 sleeping workers of 100 ms a chunk against the ideal. store: the most
that 5,000 frames of 1080p take in the object store, against window times chunk. batch: tiny clips, 3% of them corrupt, on a
cluster of which a node is killed, with a driver that is killed and started again. startup: a 200-frame clip, Ray against
in-process, everything included. gpus, busy: see `scaling_gpu`; without GPUs they are skipped, or run in toy size with --tiny.
Prints a table and, last, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import ray_laws
from scaling_gpu import Found, busy, gpus, small_film, wait_for_all
from throughput import film

from lotus2_video import Frame, Maps
from lotus2_video.engines import Engine
from lotus2_video.engines.local import LocalEngine
from lotus2_video.engines.ray import RayEngine
from lotus2_video.frames import Chunk, Estimated
from lotus2_video.stages import chunks, make_flow_worker

SIZE = (288, 512)  # at which the mini sees 16:9 on a GPU


class MakeSleeper:
    """A worker that takes its time and gives flat maps. seconds: for each frame, and for each chunk."""

    on_device = True

    def __init__(self, frame: float = 0.0, chunk: float = 0.0):
        self._frame, self._chunk = frame, chunk

    def __call__(self) -> Callable[[Chunk], Estimated]:
        return self._work

    def _work(self, chunk: Chunk) -> Estimated:
        time.sleep(self._chunk + self._frame * len(chunk.rgb))
        maps = tuple(Maps(np.zeros(rgb.shape[:2], np.float32)) for rgb in chunk.rgb)
        return Estimated(chunk, maps, (None,) * len(maps))


def same_chunks(count: int, size: tuple[int, int], length: int = 8) -> Iterator[Chunk]:
    rgb = np.zeros((length, *size, 3), np.uint8)
    for number in range(count):
        yield Chunk(number, rgb, rgb[0], number * length)


def steady_seconds(engine: Engine, make: MakeSleeper, count: int, size: tuple[int, int], skip: int) -> float:
    """A chunk, between the one number `skip` and the last."""
    results = engine.map(make, same_chunks(count, size))
    for _ in range(skip):
        next(results)
    begin = time.perf_counter()
    rest = sum(1 for _ in results)
    return (time.perf_counter() - begin) / rest


# -------------------------------------------------------------------------------------------------------------------- laws


def laws(options: argparse.Namespace, work: Path) -> Found:
    clip, count = film(work / "laws.mp4", None, 40), 20
    found: Found = {"moments": options.moments}
    films = []
    for model in ("fake", "mini"):
        (work / model).mkdir()
        one = ray_laws.Film(clip, count, model, work / model)
        films.append((one, one.run()))
    with RayEngine(workers=ray_laws.ACTORS, gpus=0) as engine:
        ended = [
            ray_laws.kill_an_actor(*_turn(films, i), engine, after)
            for i, after in enumerate(_moments(options, count, 1))
        ]
    found["actor_same"], found["actor_redone"] = _verdict(ended, films)
    ended = [
        ray_laws.kill_the_driver(*_turn(films, i), after) for i, after in enumerate(_moments(options, count - 4, 2))
    ]
    found["driver_same"], _ = _verdict([(data, done) for data, done, _ in ended], films)
    found["driver_only_lost"] = sum(done == missing for _, done, missing in ended)
    cluster = ray_laws.SimulatedCluster()
    try:
        with RayEngine(workers=ray_laws.ACTORS, gpus=0, address=cluster.address) as engine:
            ended = [
                ray_laws.kill_a_node(*_turn(films, i), engine, cluster, after)
                for i, after in enumerate(_moments(options, count, 3))
            ]
    finally:
        cluster.close()
    found["node_same"], found["node_redone"] = _verdict(ended, films)
    return found


def _moments(options: argparse.Namespace, count: int, seed: int) -> list[int]:
    return ray_laws.moments(count, options.moments, seed)


def _turn(films: list[tuple[ray_laws.Film, bytes]], i: int) -> tuple[ray_laws.Film]:
    return (films[i % len(films)][0],)


def _verdict(ended: list[tuple[bytes, int]], films: list[tuple[ray_laws.Film, bytes]]) -> tuple[int, int]:
    """How many wrote the bytes of an undisturbed run, and the most chunks that one did again."""
    same = sum(data == films[i % len(films)][1] for i, (data, _) in enumerate(ended))
    return same, max(again for _, again in ended)


# ------------------------------------------------------------------------------------------------------------ pool and many


def pool(options: argparse.Namespace, work: Path) -> Found:
    """In turn, so that a drifting machine touches both alike."""
    make, here, there = MakeSleeper(frame=0.02), [], []
    with RayEngine(workers=1, gpus=0) as engine:
        for _ in range(3):
            here.append(steady_seconds(LocalEngine(), make, 40, SIZE, skip=5))
            there.append(steady_seconds(engine, make, 40, SIZE, skip=5))
    ratio = statistics.median(t / h for t, h in zip(there, here, strict=True))
    return {"local_ms": 125 * statistics.median(here), "ray_ms": 125 * statistics.median(there), "ratio": ratio}


def many(options: argparse.Namespace, work: Path) -> Found:
    """With tiny frames, which is the order and the calls alone, and with frames that go through the object store."""
    return {f"of_ideal_{h}x{w}": _of_ideal(32, (h, w)) for h, w in ((24, 43), (96, 170))}


def _of_ideal(workers: int, size: tuple[int, int]) -> float:
    make = MakeSleeper(chunk=0.1)
    with RayEngine(workers=workers, gpus=0) as engine:
        engine.pool(make)
        wait_for_all(engine)
        return 0.1 / workers / statistics.median(steady_seconds(engine, make, 1800, size, skip=200) for _ in range(3))


# ------------------------------------------------------------------------------------------------------------------- store


def store(options: argparse.Namespace, work: Path) -> Found:
    """Bytes of the object store in use, sampled over 1080p frames, against the window times a chunk with its maps and flow."""
    length, make = 8, MakeSleeper(frame=0.001)
    with RayEngine(workers=2, gpus=0) as engine, _Sampled(_store_bytes, 0.25) as used:
        pieces = chunks(_frames(options.frames), SIZE, length, deque(maxlen=1))
        for _ in engine.map(make_flow_worker, engine.map(make, pieces)):
            pass
        window = engine.window(make, make_flow_worker)
    pixels = length * SIZE[0] * SIZE[1]
    chunk = pixels * (3 + 4 + 9) + SIZE[0] * SIZE[1] * 3  # rgb, depth, flow with its mask; the halo
    third = len(used.values) // 3
    return {
        "peak_mb": max(used.values) / 1e6,
        "window": window,
        "chunk_mb": chunk / 1e6,
        "of_window": max(used.values) / (window * chunk),
        "last_over_first_third": max(used.values[-third:]) / max(used.values[third // 2 : third + third // 2]),
    }


def _frames(count: int) -> Iterator[Frame]:
    noise = np.random.default_rng(0).integers(0, 256, (1080, 1920 + 64, 3), dtype=np.uint8)
    for i in range(count):
        yield Frame(i, i, Fraction(1, 24), np.ascontiguousarray(noise[:, i % 64 : i % 64 + 1920]))


def _store_bytes() -> float:
    import ray

    name = "object_store_memory"
    return ray.cluster_resources()[name] - ray.available_resources().get(name, 0.0)


class _Sampled:
    """What `measure` gives, again and again, in a thread. values: so far."""

    def __init__(self, measure: Callable[[], float], every: float):
        self.values: list[float] = []
        self._measure, self._every, self._stop = measure, every, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            self.values.append(self._measure())

    def __enter__(self) -> _Sampled:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()


# ------------------------------------------------------------------------------------------------------------------- batch


def batch(options: argparse.Namespace, work: Path) -> Found:
    clips, out = work / "clips", work / "maps"
    clips.mkdir()
    bad = _make_clips(clips, options.clips)
    cluster = ray_laws.SimulatedCluster()
    words = [
        sys.executable,
        "-m",
        "lotus2_video.cli",
        "batch",
        str(clips),
        "-o",
        str(out),
        "--model",
        "fake",
        "--quiet",
    ]
    words += ["--jobs", "8", "--address", cluster.address, "--workers", "4", "--format", "npz", "--retries", "0"]
    try:
        with subprocess.Popen(words) as first:
            _wait(lambda: _lines(out) > options.clips // 4, first)
            cluster.kill_a_node()
            _wait(lambda: _lines(out) > options.clips // 2, first)
            first.kill()
        cluster.replace()
        with subprocess.Popen(words) as second, _Sampled(lambda: _resident(second.pid), 0.5) as memory:
            second.wait()
    finally:
        cluster.close()
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    done = [line["input"] for line in lines if line["status"] == "done"]
    failed = {line["input"] for line in lines if line["status"] == "failed"}
    half = len(memory.values) // 2
    return {
        "clips": options.clips,
        "exit_code": second.returncode,
        "good_done_once": len(done) == len(set(done)) == options.clips - len(bad) and not bad & set(done),
        "bad_named": failed == bad,
        "outputs": len(list(out.glob("*.npz"))),
        "memory_last_over_middle": max(memory.values[-half // 2 :]) / max(memory.values[half // 2 : half]),
    }


def _make_clips(folder: Path, count: int) -> set[str]:
    """Links to one tiny clip, but for 3% that lack its end, and with it the index. Returns those."""
    tiny = small_film(folder.parent / "tiny.mp4", 4, (48, 64))
    bad = set()
    for i in range(count):
        path = folder / f"{i:04d}.mp4"
        if i % 100 in (7, 40, 73):
            path.write_bytes(tiny.read_bytes()[: 1000 + i])
            bad.add(str(path))
        else:
            os.link(tiny, path)
    return bad


def _wait(due: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not due():
        if process.poll() is not None:
            raise RuntimeError(f"the batch ended too early, with {process.returncode}")
        time.sleep(0.05)


def _lines(out: Path) -> int:
    manifest = out / "manifest.jsonl"
    return manifest.read_text().count('"status": "done"') if manifest.exists() else 0


def _resident(pid: int) -> float:
    """Bytes in memory of a process, 0 once it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0.0


# ----------------------------------------------------------------------------------------------------------------- startup


def startup(options: argparse.Namespace, work: Path) -> Found:
    clip = small_film(work / "startup.mp4", 200, (180, 320))
    seconds: dict[str, list[float]] = {"local": [], "ray": []}
    for _ in range(3):
        for engine, taken in seconds.items():
            words = [str(clip), "-o", str(work / "startup_out.mp4"), "--overwrite", "--quiet", "--engine", engine]
            words += ["--model", "fake", "--no-resume"]
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-m", "lotus2_video.cli", *words, "--device", "cpu"], check=True)
            taken.append(time.perf_counter() - begin)
    more = statistics.median(r - h for h, r in zip(seconds["local"], seconds["ray"], strict=True))
    return {f"{name}_s": statistics.median(taken) for name, taken in seconds.items()} | {"more_s": more}


ROWS = {row.__name__: row for row in (laws, pool, many, store, batch, startup, gpus, busy)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--moments", type=int, default=10, help="of each kind of death")
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=5000, help="of the store row")
    parser.add_argument("--tiny", action="store_true", help="the rows with GPUs in toy size on the CPU: do they work?")
    parser.add_argument("--gpu-frames", type=int, default=2000, help="of the film of the row gpus")
    parser.add_argument("--gpu-clips", type=int, default=64, help="of the row gpus")
    parser.add_argument(
        "--clip-frames", type=int, help="of each of those; by default 60 for the mini and 16 for lotus-2"
    )
    parser.add_argument("--busy-frames", type=int, help="of the film of the row busy; by default 1000 and 240")
    parser.add_argument("--models", default="mini,lotus-2-random", help="of the rows with GPUs")
    options = parser.parse_args()
    found = {}
    for name in options.rows.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = ROWS[name](options, Path(folder))
        values = (f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in found[name].items())
        print(f"{name:9}" + "  ".join(values), flush=True)
    print(json.dumps({"benchmark": "scaling", "cores": len(os.sched_getaffinity(0))} | found))


if __name__ == "__main__":
    main()
