"""Smoothing that looks ahead: it knows N frames more, no others, and gives every frame once, in order."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from media import film, seconds_of
from test_fold import HEIGHT, WIDTH, room, still, texture

import lotus2_video
from lotus2_video.config import FoldConfig, configure
from lotus2_video.errors import UsageError
from lotus2_video.fold.smooth import Smooth
from lotus2_video.frames import Maps
from lotus2_video.ops.flow import dense_flow, invert


def run(count: int, ahead: int, kinds: str = "depth") -> list[list[Maps]]:
    """What each step gives, and at the end the flush, for a still scene whose maps sway."""
    rng, fold, given = np.random.default_rng(4), Smooth(FoldConfig(lookahead=ahead)), []
    for t in range(count):
        bends = cv2.resize(rng.normal(0, 0.03, (5, 8)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        depth = np.clip(room() * rng.uniform(0.95, 1.05) + bends, 0, 1).astype(np.float32)
        sway = np.float32([0, 0.6, 0.8]) + rng.normal(0, 0.1, 3).astype(np.float32)
        normal = np.broadcast_to(sway / np.linalg.norm(sway), (HEIGHT, WIDTH, 3)).astype(np.float32)
        maps = Maps(depth if "depth" in kinds else None, normal if "normal" in kinds else None)
        given.append(fold.step(texture(), maps, still() if t else None))
    return [*given, fold.flush()]


def flat(given: list[list[Maps]]) -> np.ndarray:
    return np.stack([m.depth for each in given for m in each if m.depth is not None])


@pytest.mark.parametrize("ahead", [1, 5, 30])
def test_every_frame_comes_once_and_late_by_no_more_than_it_looks_ahead(ahead):
    given = run(12, ahead)
    late = min(ahead, 12)
    assert [len(each) for each in given] == [0] * late + [1] * (12 - late) + [late]


def test_a_frame_knows_those_it_looks_ahead_to_and_no_others():
    short, long = flat(run(9, 4)), flat(run(14, 4))
    np.testing.assert_array_equal(short[:5], long[:5])
    assert not np.array_equal(short[6], long[6]), "frame 6 looks at 9 and 10, which the short film has not"


def test_the_start_of_a_shot_is_steadier_with_what_comes_after():
    causal, ahead = flat(run(16, 0)), flat(run(16, 8))
    assert np.abs(np.diff(ahead[:8], axis=0)).mean() < 0.7 * np.abs(np.diff(causal[:8], axis=0)).mean()


def test_a_cut_gives_what_is_held_and_nothing_of_the_next_shot_goes_back():
    first, second = [texture(seed=1)] * 4, [texture(seed=2)] * 4
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(first + second))]

    def film_of(other: np.ndarray) -> np.ndarray:
        fold, given = Smooth(FoldConfig(lookahead=6)), []
        for t, (picture, flow) in enumerate(zip(first + second, flows, strict=True)):
            given.append(fold.step(picture, Maps(room() if t < 4 else other), flow))
        assert [len(each) for each in given] == [0, 0, 0, 0, 4, 0, 0, 0]
        return flat([*given, fold.flush()])

    np.testing.assert_array_equal(film_of(room()[::-1].copy())[:4], film_of(room() * 0.3)[:4])


def test_normals_look_ahead_and_stay_of_unit_length():
    normals = [np.stack([m.normal for each in run(10, n, "depth normal") for m in each]) for n in (0, 5)]
    np.testing.assert_allclose(np.linalg.norm(normals[1], axis=3), 1, atol=1e-5)
    causal, ahead = (np.abs(np.diff(n, axis=0)).mean() for n in normals)
    assert ahead < 0.7 * causal


def test_a_flow_and_its_inverse_lead_home():
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    flow = still()
    flow.to_previous[..., 0] = 3 + np.sin(y / 9)
    flow.to_previous[..., 1] = -2 + 0.02 * x
    way = invert(flow)
    here = np.stack([x, y], axis=-1)[20:-20, 20:-20]
    there = here + flow.to_previous[20:-20, 20:-20]
    at = np.rint(there).astype(int)
    home = there + way.to_previous[at[..., 1], at[..., 0]]
    assert way.valid[20:-20, 20:-20].all()
    assert np.abs(home - here).max() < 0.1


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return film(tmp_path_factory.mktemp("ahead") / "clip.mp4", frames=20)


def depths(path: Path, **settings) -> np.ndarray:
    return np.stack(
        [r.depth for r in lotus2_video.estimate(str(path), model="fake", fold={"lookahead": 5}, **settings)]
    )


@pytest.mark.parametrize("sharpen", ["none", "6"])
def test_laws_1_and_4_hold_for_a_run_that_looks_ahead(clip, sharpen):
    whole = depths(clip, sharpen=sharpen, chunk=64)
    np.testing.assert_array_equal(whole, depths(clip, sharpen=sharpen, chunk=3, window=1))
    beginning = depths(clip, sharpen=sharpen, end=float(seconds_of(clip)[14]) - 1e-4)
    np.testing.assert_array_equal(beginning[:9], whole[:9])
    assert (len(whole), len(beginning)) == (20, 14)


def test_a_preset_and_what_is_changed_in_it():
    fold = configure({"fold": {"preset": "film", "lookahead": 3}}).fold
    assert (fold.memory, fold.lookahead) == (0.97, 3)
    with pytest.raises(UsageError, match="film"):
        configure({"fold": {"preset": "flim"}})
    with pytest.raises(UsageError, match="--lookahead"):
        FoldConfig(lookahead=-1)
