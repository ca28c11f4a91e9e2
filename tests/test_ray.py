"""Laws 2, 3 and 5 of the house on real Ray: the same film on every engine; death changes nothing; nothing is left behind.

Ten moments of each kind of death: `benchmarks/scaling.py --rows laws`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from media import film

from lotus2_video import (
    BatchConfig,
    EngineError,
    Job,
    ModelCard,
    RunConfig,
    UsageError,
    register,
    run_batch,
    run_video,
)
from lotus2_video.cli import main
from lotus2_video.errors import told
from lotus2_video.models.fake import FakePredictor
from lotus2_video.run import _pick_engine, check

pytest.importorskip("ray")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import psutil  # Ray brings it
import ray_laws

from lotus2_video.engines.ray import DEATHS, RayEngine

CHUNKS = 20


@pytest.fixture(scope="module")
def engine():
    with RayEngine(workers=ray_laws.ACTORS, gpus=0) as engine:
        yield engine


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("ray") / "clip.mp4", frames=CHUNKS * ray_laws.CHUNK)


@pytest.fixture(scope="module")
def films(clip, tmp_path_factory) -> dict[str, tuple[ray_laws.Film, bytes]]:
    """For each model the film, and what an undisturbed run in this process writes."""
    made = {}
    for model in ("fake", "mini"):
        one = ray_laws.Film(clip, CHUNKS, model, tmp_path_factory.mktemp(model))
        made[model] = one, one.run()
    return made


# ------------------------------------------------------------------------------------------------- 2: the same film


def test_four_uneven_actors_write_what_one_process_writes(films, engine):
    one, undisturbed = films["fake"]
    assert one.run(engine) == undisturbed
    assert len(one.pids()) == CHUNKS
    assert len(set(one.pids())) == ray_laws.ACTORS
    assert os.getpid() not in one.pids()


def test_weights_are_loaded_once_for_many_videos(films, engine):
    one, _ = films["fake"]
    one.run(engine)
    first = set(one.pids())
    one.run(engine)
    assert set(one.pids()) <= first


class MakeEcho:
    """Of a network that gives back what it gets. name: makers with the same one are equal."""

    on_device = True

    def __init__(self, name: str):
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MakeEcho) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __call__(self):
        return lambda item: (os.getpid(), item)


def test_a_network_that_had_its_turn_makes_room_for_the_next(engine):
    """They would wait for the only GPU for ever."""
    with RayEngine(workers=1, gpus=0) as alone:
        first = [pid for pid, _ in alone.map(MakeEcho("first"), range(3))]
        assert [pid for pid, _ in alone.map(MakeEcho("first"), range(3))] == first
        assert {pid for pid, _ in alone.map(MakeEcho("second"), range(3))}.isdisjoint(first)
        assert ray_laws.ended([psutil.Process(pid) for pid in set(first) if psutil.pid_exists(pid)])


# -------------------------------------------------------------------------------------------- 3: death changes nothing


@pytest.mark.parametrize(("model", "after"), [("fake", 13), ("mini", 6)])
def test_an_actor_is_killed(films, engine, model, after, capfd):
    one, undisturbed = films[model]
    data, again = ray_laws.kill_an_actor(one, engine, after)
    assert data == undisturbed
    assert capfd.readouterr().out == ""
    assert not Path(f"/proc/{one.pids()[after]}").exists()
    assert again <= 2  # what it was at, if it was, and what it may have begun before the signal came


def test_the_driver_is_killed_and_started_again(films):
    one, undisturbed = films["fake"]
    data, done, missing = ray_laws.kill_the_driver(one, after=4, workers=2)
    assert data == undisturbed
    assert done == missing < CHUNKS


class Fatal:
    """Ends its process over one item; the rest it passes on."""

    def __call__(self, item: int) -> int:
        if item == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return item


def test_what_ends_every_worker_is_named(engine):
    results = engine.map(Fatal, range(10))
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(EngineError, match=f"^5: ended {DEATHS} workers"):
        next(results)


class Fails(FakePredictor):
    def predict(self, rgb, *, sharpen=False):
        if rgb[0, 36, 100, 0] > 200:  # the disc has come that far
            raise ValueError("an illegal memory access")
        return super().predict(rgb, sharpen=sharpen)


def test_frames_that_fail_everywhere_are_named(clip, tmp_path, engine):
    register(ModelCard("fails", "", ("depth",), "-", False, lambda: "", lambda rest, options: Fails(options)))
    with pytest.raises(ValueError, match="illegal memory") as caught:
        run_video(Job(str(clip), str(tmp_path / "out.mkv"), RunConfig(model="fails", chunk=2, format="ffv1")), engine)
    assert "(frames " in told(caught.value)


# ------------------------------------------------------------------------------------------------ nothing is left behind


def test_ctrl_c_ends_everything(films, tmp_path):
    one, _ = films["fake"]
    log = tmp_path / "calls.log"
    words = [str(one.path), "-o", str(tmp_path / "out.mkv"), "--model", f"uneven-fake:{log}"]
    words += ["--engine", "ray", "--workers", "2", "--device", "cpu", "--quiet"]
    with subprocess.Popen([sys.executable, ray_laws.__file__, *words], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not log.exists():
            time.sleep(0.01)
        started = ray_laws.helpers(process.pid)
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert len(started) > 2
    assert ray_laws.ended(started)
    assert not (tmp_path / "out.mkv").exists()


def test_sigterm_stays_with_the_program(engine):
    """Ray has a handler of its own, which would end the command with another exit code."""
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_it_listens_on_localhost_only(engine):
    """Of all sockets of Ray's processes and of ours."""
    pids = {os.getpid(), *(each.pid for each in ray_laws.helpers(os.getpid()))}
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:"):
                inodes.add(target[8:-1])
    outside = []
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            local = words[1].split(":")[0]
            if words[3] == "0A" and words[9] in inodes and not local.endswith("0100007F"):
                outside.append(words[1])
    assert outside == []


# --------------------------------------------------------------------------------------------------------------- choosing


@pytest.mark.parametrize(
    ("settings", "engine", "why"),
    [({}, "local", "one device"), ({"workers": 3}, "ray", "3 workers"), ({"gpus": "2"}, "ray", "2 GPUs"),
     ({"address": "auto"}, "ray", "--address auto")],
)  # fmt: skip
def test_auto_says_which_engine_and_why(settings, engine, why):
    said = []
    assert _pick_engine(RunConfig(**settings), said.append) == engine
    assert said == [f"engine: {engine} ({why})"]


@pytest.mark.parametrize(
    ("model", "engine", "why"),
    [("mini", "local", "one GPU of 4 is enough for the mini; see --gpus"), ("lotus-2", "ray", "4 GPUs")],
)
def test_a_light_model_takes_one_gpu_of_several(monkeypatch, model, engine, why):
    monkeypatch.setattr("lotus2_video.run.count_gpus", lambda: 4)
    said = []
    assert _pick_engine(RunConfig(model=model), said.append) == engine
    assert said == [f"engine: {engine} ({why})"]


def test_without_ray_the_extra_is_named(clip, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "lotus2_video.engines.ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([str(clip), "--engine", "ray"]) == 2
    assert "pip install 'lotus2-video[ray]'" in capsys.readouterr().err


def test_no_cluster_there_is_one_line(clip):
    code = subprocess.run(
        [sys.executable, "-m", "lotus2_video.cli", str(clip), "--address", "127.0.0.1:1", "--quiet"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert code.returncode == 2
    assert code.stderr.splitlines()[-1].startswith("lotus2-video: --address 127.0.0.1:1: no Ray there")


def test_a_batch_shares_the_actors(clip, tmp_path, engine):
    for name in "abc":
        (tmp_path / f"{name}.mp4").write_bytes(clip.read_bytes())
    config = RunConfig(model="fake", format="npz", chunk=4)
    outcome = run_batch([str(tmp_path)], tmp_path / "out", config, how=BatchConfig(jobs=3), engine=engine)
    assert (outcome.done, outcome.failed) == (3, 0)
    run_video(Job(str(clip), str(tmp_path / "alone.npz"), config))
    alone = np.load(tmp_path / "alone.npz")["depth"]
    for name in "abc":
        np.testing.assert_array_equal(np.load(next((tmp_path / "out").glob(f"{name}*.npz")))["depth"], alone)


def test_a_local_engine_with_many_workers_makes_no_sense():
    with pytest.raises(UsageError, match="one worker"):
        RunConfig(engine="local", workers=2)
    with pytest.raises(UsageError, match="the Ray engine picks"):
        check(RunConfig(engine="ray", device="cuda:1"))
