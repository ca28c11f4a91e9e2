"""The measures on cases whose answer can be worked out by hand."""

import numpy as np
import pytest

from lotus2_video.frames import Flow
from lotus2_video.ops import metrics


@pytest.fixture
def depth() -> np.ndarray:
    """float [6,40,50], metres: a slanted room whose range changes from frame to frame."""
    y, x = np.mgrid[:40, :50]
    return np.stack([1 + 0.02 * x + 0.03 * y + 0.1 * t for t in range(6)])


def test_an_affine_disparity_is_perfect_once_aligned(depth):
    score = metrics.score_frame(0.3 / depth[0] + 0.2, depth[0])
    assert score.absrel == pytest.approx(0, abs=1e-9)
    assert (score.delta1, score.delta2, score.delta3) == (1, 1, 1)


def test_absrel_and_deltas_by_hand():
    """Half the pixels right; the others off by 1.3 in depth, which delta1 (1.25) refuses and delta2 (1.5625) allows."""
    z = np.full((2, 10), 2.0)
    z[1] = 4.0
    p = z.copy()
    p[:, 5:] *= 1.3
    score = metrics._score(p, z, metrics.INDOOR)
    assert score.absrel == pytest.approx(0.15)
    assert (score.delta1, score.delta2) == (0.5, 1)


def test_pixels_without_truth_or_beyond_ten_metres_do_not_count(depth):
    z = depth[0].copy()
    z[:5], z[5:8] = 0, 40
    disparity = 1 / depth[0]
    disparity[:8] = 0.77
    assert metrics.score_frame(disparity, z).absrel == pytest.approx(0, abs=1e-9)


def test_a_scale_that_pumps_is_free_per_frame_and_costs_over_the_clip(depth):
    pumping = np.stack([(1 + 0.2 * (t % 2)) / z for t, z in enumerate(depth)])
    assert metrics.score_frames(pumping, depth).absrel == pytest.approx(0, abs=1e-9)
    assert metrics.score_clip(pumping, depth).absrel > 0.05
    assert metrics.score_clip(0.4 / depth, depth).absrel < 1e-6


def camera() -> tuple[np.ndarray, np.ndarray]:
    """A camera that steps 5 cm along its axis towards a wall: intrinsics, and poses [3,4,4]."""
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[:, 2, 3] = 0, 0.05, 0.10
    return np.array([[50.0, 0, 24.5], [0, 50, 19.5], [0, 0, 1]]), poses


def test_tae_is_nothing_when_depth_obeys_the_poses():
    intrinsics, poses = camera()
    wall = np.stack([np.full((40, 50), 2.0 - 0.05 * t) for t in range(3)])
    assert metrics.temporal_alignment_error(1 / wall, wall, poses, intrinsics) == pytest.approx(0, abs=0.01)


def test_tae_by_hand():
    """Depth that stays 2 m while the camera walks 5 cm: 0.05/2 forwards and 0.05/2 backwards, 2.5 percent."""
    intrinsics, poses = camera()
    still = np.full((3, 40, 50), 2.0)
    assert metrics.temporal_alignment_error(1 / still, still, poses, intrinsics) == pytest.approx(2.5, abs=0.01)


def test_a_pair_without_a_common_pixel_counts_nothing():
    intrinsics, poses = camera()
    poses[1:, 0, 3] = 100.0
    still = np.full((2, 40, 50), 2.0)
    assert metrics.temporal_alignment_error(1 / still, still, poses[:2], intrinsics) == 0


def test_flow_warping_error_sees_flicker_and_not_motion():
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 256, (20, 60, 3), dtype=np.uint8)
    rgb = [wide[:, 5:45], wide[:, 2:42]]  # three pixels to the right
    scene = rng.random((20, 60), dtype=np.float32)
    moving = [np.ascontiguousarray(scene[:, 5:45]), np.ascontiguousarray(scene[:, 2:42])]
    to_previous = np.zeros((20, 40, 2), np.float32)
    to_previous[..., 0] = -3
    valid = np.zeros((20, 40), bool)
    valid[:, 4:] = True
    flow = Flow(to_previous, valid)
    assert metrics.flow_warping_error(moving, rgb, [flow]) == pytest.approx(0, abs=1e-6)
    assert metrics.flow_warping_error([moving[0], moving[1] + 0.25], rgb, [flow]) == pytest.approx(0.25, abs=1e-5)


def test_temporal_gradient_error_by_hand():
    truth = np.zeros((2, 4, 4))
    truth[1, 0] = 0.5  # a true change, too large to judge by
    maps = truth.copy()
    maps[1, 1:] += 0.02
    assert metrics.temporal_gradient_error(maps, truth) == pytest.approx(0.02)


def test_normals_by_hand():
    truth = np.tile([0.0, 0.0, 1.0], (2, 10, 1))
    truth[1] = 0  # no truth there
    angle = np.radians([0, 4, 6, 8, 10, 12, 20, 25, 35, 90])
    normal = np.zeros_like(truth)
    normal[0, :, 0], normal[0, :, 2] = np.sin(angle), np.cos(angle)
    score = metrics.score_normals(normal, truth)
    assert score.mean == pytest.approx(21)
    assert score.median == pytest.approx(11)
    assert score.within == {5.0: 0.2, 7.5: 0.3, 11.25: 0.5, 22.5: 0.7, 30.0: 0.8}


def test_boundary_f1_by_hand():
    """A box before a wall. Right outline: 1. No outline: 0. The box one pixel wide of the truth: none of its sides hits."""
    depth = np.full((40, 40), 4.0)
    depth[10:20, 10:20] = 2
    aside = np.full((40, 40), 4.0)
    aside[9:21, 9:21] = 2
    assert metrics.boundary_f1(3 * depth, depth) == pytest.approx(1)
    assert metrics.boundary_f1(np.full_like(depth, 3), depth) == 0
    assert metrics.boundary_f1(aside, depth) == 0
    half = depth.copy()
    half[10:20, 15:20] = (
        4  # the left half of the box: its left side right, its right side wrong, 5 of 10 of top and bottom
    )
    recall, precision = (1 + 0 + 0.5 + 0.5) / 4, (1 + 0 + 1 + 1) / 4
    assert metrics.boundary_f1(half, depth) == pytest.approx(2 * precision * recall / (precision + recall))


def test_lag_counts_frames_until_nine_tenths():
    assert metrics.lag(np.array([0, 0, 1, 1, 1]), 2, 0, 1) == 0
    assert metrics.lag(np.array([0, 0, 0.5, 0.75, 0.875, 0.94, 0.97]), 2, 0, 1) == 3
    assert metrics.lag(np.array([0, 0, 0.5, 0.5, 0.5]), 2, 0, 1) is None


def test_scale_drift_is_the_log_of_the_scale_against_the_first_frame(depth):
    drifting = np.stack([np.exp(-0.1 * t) / z + 0.05 for t, z in enumerate(depth)])
    np.testing.assert_allclose(metrics.scale_drift(drifting, depth), 0.1 * np.arange(6), atol=1e-6)
