"""Laws 2, 3 and 5 on real Ray: actors, drivers and simulated nodes are killed at random moments, and nothing changes.

The film runs through models of uneven speed, which write each call into a log, on four actors. `scaling.py --rows laws` runs
ten moments of each kind, the tests a few. `python ray_laws.py WORDS...` is the command with these models, to be killed.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lotus2_video import Job, Maps, ModelCard, ModelOptions, Predictor, RunConfig, make_predictor, register, run_video
from lotus2_video.durable import append_whole
from lotus2_video.engines.ray import RayEngine

ACTORS, CHUNK = 4, 2
SLOWEST = 0.16  # seconds a chunk


class Uneven:
    """Another predictor, slowed by up to SLOWEST a chunk, as its pixels have it. log: gets the pid at each call."""

    def __init__(self, predictor: Predictor, log: str):
        self.kinds, self.fingerprint, self.input_size = predictor.kinds, predictor.fingerprint, predictor.input_size
        self._predictor, self._log = predictor, Path(log)

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        append_whole(self._log, f"{os.getpid()}\n")
        time.sleep(SLOWEST * hashlib.sha256(rgb.tobytes()).digest()[0] / 255)
        return self._predictor.predict(rgb, sharpen=sharpen)

    def close(self) -> None:
        self._predictor.close()


def make_fake(log: str, options: ModelOptions) -> Predictor:
    return Uneven(make_predictor("fake", options), log)


def make_mini(log: str, options: ModelOptions) -> Predictor:
    return Uneven(make_predictor("mini", options), log)


for name, make in (("uneven-fake", make_fake), ("uneven-mini", make_mini)):
    register(ModelCard(name, "to be killed", ("depth",), "-", False, lambda: "", make))


@dataclass(frozen=True)
class Film:
    """A film of `chunks` chunks, and what comes of it. work: a folder for all of this."""

    path: Path
    chunks: int
    model: str
    work: Path

    @property
    def log(self) -> Path:
        return self.work / "calls.log"

    @property
    def out(self) -> Path:
        return self.work / "out.mkv"

    def pids(self) -> list[int]:
        """Of the process of each call of the network since `run`, in order."""
        return [int(line) for line in self.log.read_text().split()] if self.log.exists() else []

    def stored(self) -> int:
        return len(list((self.work / "unfinished").glob("*/[0-9]*")))

    def config(self) -> RunConfig:
        where = str(self.work / "unfinished")
        model = f"uneven-{self.model}:{self.log}"
        return RunConfig(model=model, chunk=CHUNK, format="ffv1", overwrite=True, work_dir=where, device="cpu")

    def run(self, engine: RayEngine | None = None) -> bytes:
        """What is written: on `engine`, or in this process."""
        self.log.unlink(missing_ok=True)
        run_video(Job(str(self.path), str(self.out), self.config()), engine)
        return self.out.read_bytes()


def once(due: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Acts, in a thread, as soon as it is due."""

    def wait() -> None:
        while not due():
            time.sleep(0.002)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_an_actor(film: Film, engine: RayEngine, after: int) -> tuple[bytes, int]:
    """The bytes, and how many chunks were done again, where the actor that began the call number `after` is killed in it."""
    film.log.unlink(missing_ok=True)
    killer = once(lambda: len(film.pids()) > after, lambda: os.kill(film.pids()[after], signal.SIGKILL))
    data = film.run(engine)
    killer.join(10)
    return data, len(film.pids()) - film.chunks


def kill_the_driver(film: Film, after: int, workers: int = ACTORS) -> tuple[bytes, int, int]:
    """Killed when it had stored so many chunks: the bytes of a rerun; what that did; and what it had to do."""
    film.log.unlink(missing_ok=True)
    film.out.unlink(missing_ok=True)
    settings = film.work / "settings.toml"
    settings.write_text(
        f'chunk = {CHUNK}\nwork_dir = "{film.work / "unfinished"}"\nmodel = "uneven-{film.model}:{film.log}"\n'
    )
    words = [str(film.path), "-o", str(film.out), "--config", str(settings), "--quiet"]
    words += ["--engine", "ray", "--workers", str(workers), "--device", "cpu"]
    with subprocess.Popen([sys.executable, __file__, *words]) as process:
        while process.poll() is None and not (film.pids() and film.stored() >= after):
            time.sleep(0.002)
        started = helpers(process.pid)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not film.out.exists()
    time.sleep(1)  # the actors of the killed driver may still be in their last call
    missing = film.chunks - film.stored()
    film.log.unlink(missing_ok=True)
    subprocess.run([sys.executable, __file__, *words], check=True)
    assert ended(started)
    return film.out.read_bytes(), len(film.pids()), missing


def helpers(pid: int) -> list[Any]:
    """What a process has started, and they; as psutil has them."""
    import psutil  # Ray brings it

    return psutil.Process(pid).children(recursive=True)


def ended(processes: list[Any], seconds: float = 20) -> bool:
    """Whether they all end within that time; those that nobody has buried are dead too."""
    end = time.monotonic() + seconds
    while any(_runs(process) for process in processes) and time.monotonic() < end:
        time.sleep(0.1)
    return not any(_runs(process) for process in processes)


def _runs(process: Any) -> bool:
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class SimulatedCluster:
    """A head that works on nothing and two nodes of two actors each, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        notices = {"health_check_period_ms": 500, "health_check_failure_threshold": 3, "health_check_timeout_ms": 2000}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": notices}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self._add(), self._add()]
        self.address = self._cluster.address

    def _add(self) -> object:
        return self._cluster.add_node(num_cpus=ACTORS)

    def kill_a_node(self) -> None:
        """kill -9 of its raylet, with which its workers end."""
        self._cluster.remove_node(self.nodes.pop(0), allow_graceful=False)

    def replace(self) -> None:
        """Another node in the place of the killed one; in the main thread, which Ray wants."""
        self.nodes.append(self._add())

    def close(self) -> None:
        self._cluster.shutdown()


def kill_a_node(film: Film, engine: RayEngine, cluster: SimulatedCluster, after: int) -> tuple[bytes, int]:
    """As `kill_an_actor`, with one of two nodes."""
    film.log.unlink(missing_ok=True)
    killer = once(lambda: len(film.pids()) > after, cluster.kill_a_node)
    data = film.run(engine)
    killer.join(60)
    cluster.replace()
    return data, len(film.pids()) - film.chunks


def moments(chunks: int, count: int, seed: int) -> list[int]:
    """So many calls of the network have begun when something dies."""
    return random.Random(seed).sample(range(chunks - 1), count)


if __name__ == "__main__":
    from lotus2_video.cli import main

    sys.exit(main(sys.argv[1:]))
