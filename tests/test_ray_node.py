"""Law 3 on a simulated cluster: a node of two is killed, with its actors and what they had made."""

import sys
from pathlib import Path

import pytest
from media import film

pytest.importorskip("ray")
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ray_laws

from lotus2_video.engines.ray import RayEngine

CHUNKS = 20


def test_a_node_is_killed(tmp_path):
    clip = film(tmp_path / "clip.mp4", frames=CHUNKS * ray_laws.CHUNK)
    one = ray_laws.Film(clip, CHUNKS, "fake", tmp_path)
    undisturbed = one.run()
    cluster = ray_laws.SimulatedCluster()
    try:
        with RayEngine(workers=ray_laws.ACTORS, gpus=0, address=cluster.address) as engine:
            data, again = ray_laws.kill_a_node(one, engine, cluster, after=5)
            assert data == undisturbed
            assert again <= engine.window(*engine._pools)
    finally:
        cluster.close()
