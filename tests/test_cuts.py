"""Where shots begin: at cuts, and not at flashes, dips and fast pans."""

import cv2
import numpy as np
import pytest

from lotus2_video.ops.cuts import Cuts, ListedCuts, NoCuts, SeenCuts
from lotus2_video.ops.flow import dense_flow

HEIGHT, WIDTH = 120, 200


def scenery(seed: int) -> np.ndarray:
    """uint8 [2h,4w,3]: shapes and texture in the colours of one place."""
    rng = np.random.default_rng(seed)
    picture = np.full((2 * HEIGHT, 4 * WIDTH, 3), rng.integers(40, 160, 3), np.uint8)
    for _ in range(60):
        x, y, side = int(rng.integers(0, 4 * WIDTH)), int(rng.integers(0, 2 * HEIGHT)), int(rng.integers(8, 70))
        cv2.rectangle(picture, (x, y), (x + side, y + side // 2), rng.integers(0, 220, 3).tolist(), -1)
    noise = cv2.GaussianBlur(rng.normal(0, 40, picture.shape).astype(np.float32), (0, 0), 2)
    return np.clip(picture + noise, 0, 235).astype(np.uint8)


def shot(seed: int, count: int = 10, speed: float = 2.0) -> list[np.ndarray]:
    """A camera that glides over a place, `speed` pixels a frame."""
    wide = scenery(seed)
    places = [int(speed * t) for t in range(count)]
    return [np.ascontiguousarray(wide[40 : 40 + HEIGHT, x : x + WIDTH]) for x in places]


def cuts_in(frames: list[np.ndarray], cuts: Cuts) -> list[int]:
    flows = [None, *(dense_flow(frames[i - 1], frames[i]) for i in range(1, len(frames)))]
    return [i for i, (rgb, flow) in enumerate(zip(frames, flows, strict=True)) if cuts.step(rgb, flow)]


def bright(frame: np.ndarray, gain: float = 4.0) -> np.ndarray:
    return np.clip(frame.astype(np.float32) * gain + 60, 0, 255).astype(np.uint8)


def test_a_cut_is_seen_at_its_first_frame():
    assert cuts_in(shot(1) + shot(2) + shot(3), SeenCuts()) == [10, 20]


@pytest.mark.parametrize("speed", [0, 2, 15, 30])
def test_a_pan_is_no_cut_however_fast(speed):
    assert cuts_in(shot(1, speed=speed), SeenCuts()) == []


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut(length):
    frames = shot(1, count=14)
    for i in range(5, 5 + length):
        frames[i] = bright(frames[i])
    assert cuts_in(frames, SeenCuts()) == []


def test_a_cut_hidden_in_a_flash_is_seen_when_the_light_is_gone():
    frames = shot(1) + shot(2)
    frames[9], frames[10] = np.full_like(frames[9], 255), np.full_like(frames[9], 255)
    assert cuts_in(frames, SeenCuts()) == [11]


def faded(frames: list[np.ndarray], lights: np.ndarray) -> list[np.ndarray]:
    return [(f * light).astype(np.uint8) for f, light in zip(frames, lights, strict=True)]


def test_a_dip_to_black_within_a_shot_is_no_cut_and_between_two_shots_it_is_one():
    lights = np.concatenate([np.linspace(1, 0, 8), np.linspace(0, 1, 8)])
    assert cuts_in(faded(shot(1, count=16), lights), SeenCuts()) == []
    found = cuts_in(faded(shot(1, count=8) + shot(2, count=8), lights), SeenCuts())
    assert len(found) == 1
    assert 8 < found[0] < 14


def test_decisions_do_not_wait_for_the_future():
    frames = shot(1) + shot(2) + shot(1)
    whole = cuts_in(frames, SeenCuts())
    assert whole == [10, 20]
    assert cuts_in(frames[:11], SeenCuts()) == [10]


def test_cuts_may_be_given_or_forbidden():
    frames = shot(1, count=4) + shot(2, count=4)
    assert cuts_in(frames, NoCuts()) == []
    assert cuts_in(frames, ListedCuts([2, 6])) == [2, 6]
