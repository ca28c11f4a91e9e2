"""Optical flow: where a pixel was before, and whether that can be trusted."""

import cv2
import numpy as np
import pytest

from lotus2_video.frames import Flow
from lotus2_video.ops.flow import dense_flow, refine, warp


def texture(height: int = 160, width: int = 240, seed: int = 0) -> np.ndarray:
    """uint8 [h,w,3] that can be tracked anywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def shifted(rgb: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """The picture moved right by dx and down by dy pixels."""
    matrix = np.float32([[1, 0, dx], [0, 1, dy]])
    return cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("quality", ["fast", "medium"])
def test_flow_points_back_to_where_things_were(quality):
    before = texture()
    flow = dense_flow(before, shifted(before, 5, -3), quality)
    inner = flow.to_previous[20:-20, 20:-20]
    np.testing.assert_allclose(np.median(inner, axis=(0, 1)), (-5, 3), atol=0.25)
    assert flow.valid[20:-20, 20:-20].mean() > 0.97


def test_what_came_in_from_outside_is_not_valid():
    before = texture()
    flow = dense_flow(before, shifted(before, 12, 0))
    assert flow.valid[:, :9].mean() < 0.1
    assert flow.valid[:, 20:].mean() > 0.9


def test_warping_brings_the_previous_frame_onto_the_current_one():
    before = texture()
    now = shifted(before, 4.5, 2)
    flow = dense_flow(before, now)
    grey_before, grey_now = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in (before, now))
    left_alone = np.abs(grey_before - grey_now)[flow.valid].mean()
    assert np.abs(warp(grey_before, flow) - grey_now)[flow.valid].mean() < 0.15 * left_alone
    assert warp(before.astype(np.float32), flow).shape == before.shape


def test_a_small_thing_that_moves_by_itself_is_followed_in_a_small_picture():
    before, thing = texture(192, 336), texture(192, 336, seed=50)[80:100, 150:170]
    now = before.copy()
    before[80:100, 150:170], now[80:100, 155:175] = thing, thing
    inside = dense_flow(before, now).to_previous[82:98, 157:173]
    assert np.abs(inside - (-5, 0)).max(axis=2).mean() < 1.5  # 3.4 with patches at a quarter of the size


def test_an_unrelated_picture_is_mostly_not_trusted():
    assert dense_flow(texture(seed=1), texture(seed=2)).valid.mean() < 0.5


def test_the_same_bits_whatever_was_computed_before_and_on_any_number_of_threads():
    frames = [texture(seed=s) for s in range(3)]
    now = shifted(frames[0], 3, 1)
    first = dense_flow(frames[0], now)
    dense_flow(frames[1], frames[2])
    threads = cv2.getNumThreads()
    try:
        for count in (1, 2, 7):
            cv2.setNumThreads(count)
            again = dense_flow(frames[0], now)
            assert again.to_previous.tobytes() == first.to_previous.tobytes()
            assert again.valid.tobytes() == first.valid.tobytes()
    finally:
        cv2.setNumThreads(threads)


def test_a_picture_too_small_for_flow_has_none():
    tiny = np.zeros((8, 8, 3), np.uint8)
    flow = dense_flow(tiny, tiny)
    assert isinstance(flow, Flow)
    assert not flow.valid.any()


def test_a_chained_flow_is_matched_more_finely_than_it_came():
    """Waves of thirty pixels: a match on patches of a quarter of the size misses them by two thirds of a pixel here."""
    before = texture(96, 160)
    y, x = np.mgrid[:96, :160].astype(np.float32)
    true = np.dstack([2.4 + 1.2 * np.sin(y / 5), -1.3 + np.cos(x / 6)]).astype(np.float32)
    valid = np.ones(y.shape, bool)
    chained = Flow(true + np.float32([0.8, -0.6]), valid)
    found = refine(chained, before, warp(before, Flow(true, valid)))
    assert np.abs(found.to_previous - true)[10:-10, 10:-10].mean() < 0.45


def test_a_crisp_warp_keeps_more_of_a_line():
    line = np.zeros((9, 20), np.float32)
    line[:, 10] = 1
    half = Flow(np.full((9, 20, 2), [0.5, 0], np.float32), np.ones((9, 20), bool))
    assert warp(line, half).max() == pytest.approx(0.5)
    assert warp(line, half, crisp=True).max() > 0.55
