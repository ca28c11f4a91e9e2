"""Frames down to the network's size, maps up along the picture's contours."""

import cv2
import numpy as np
import pytest

from lotus2_video.frames import Maps
from lotus2_video.ops.resample import shrink, upsample


def disc(height: int, width: int) -> np.ndarray:
    """bool [h,w]: a disc whose edge falls between the pixels of any smaller grid."""
    y, x = np.mgrid[:height, :width]
    return (x - 0.47 * width) ** 2 + (y - 0.53 * height) ** 2 < (0.3 * height) ** 2


def picture_of(mask: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3]: a red thing before a green wall, with a texture of its own on both that depth must not show."""
    texture = (np.indices(mask.shape).sum(axis=0) // 7 % 2 * 14)[..., None]
    return (np.where(mask[..., None], (180, 60, 60), (50, 130, 60)) + texture).astype(np.uint8)


@pytest.fixture
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The picture at full size, the exact depth at full size, and that depth as a small network would see it."""
    mask = disc(360, 640)
    exact = np.where(mask, 0.8, 0.3).astype(np.float32)
    return picture_of(mask), exact, cv2.resize(exact, (128, 72), interpolation=cv2.INTER_AREA)


def test_contours_follow_the_picture_and_not_the_grid_of_the_network(scene):
    picture, exact, low = scene
    guided, bilinear = (upsample(Maps(low), picture, method).depth for method in ("guided", "bilinear"))
    wrong = {name: np.mean(np.abs(up - exact) > 0.1) for name, up in (("guided", guided), ("bilinear", bilinear))}
    assert wrong["guided"] < 0.35 * wrong["bilinear"]


def test_no_halo_and_no_texture_where_depth_is_flat(scene):
    picture, exact, low = scene
    up = upsample(Maps(low), picture).depth
    assert up.min() >= 0.3 - 1e-6
    assert up.max() <= 0.8 + 1e-6
    far_from_the_edge = cv2.erode((exact == 0.3).astype(np.uint8), np.ones((21, 21))) > 0
    assert np.ptp(up[far_from_the_edge]) < 1e-6, "the checks of the wall showed in its depth"


@pytest.mark.parametrize("method", ["guided", "bilinear"])
@pytest.mark.parametrize("size", [(359, 641), (72, 128), (73, 128), (40, 60), (1, 1), (200, 64)])
def test_every_size_of_source_gets_maps_of_its_size(method, size):
    low = np.random.default_rng(0).random((72, 128), np.float32)
    normal = np.tile(np.float32([0, 0.6, 0.8]), (72, 128, 1))
    maps = upsample(Maps(low, normal), np.zeros((*size, 3), np.uint8), method)
    assert maps.size == size
    assert maps.depth.dtype == maps.normal.dtype == np.float32
    assert 0 <= maps.depth.min() <= maps.depth.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(maps.normal, axis=2), 1, atol=1e-5)


def test_a_picture_without_any_colour_gives_the_bilinear_map():
    low = np.random.default_rng(1).random((20, 30), np.float32)
    flat = np.full((93, 141, 3), 90, np.uint8)
    np.testing.assert_allclose(upsample(Maps(low), flat).depth, cv2.resize(low, (141, 93)), atol=2e-6)


def test_opposite_normals_do_not_cancel_to_nothing():
    normal = np.zeros((4, 4, 3), np.float32)
    normal[:, :2, 0], normal[:, 2:, 0] = 1, -1
    up = upsample(Maps(None, normal), np.zeros((20, 20, 3), np.uint8)).normal
    np.testing.assert_allclose(np.linalg.norm(up, axis=2), 1, atol=1e-5)


def test_the_same_bits_with_the_shrunken_frame_given_or_made(scene):
    picture, _, low = scene
    made = upsample(Maps(low), picture).depth
    given = upsample(Maps(low), picture, small=shrink(picture, low.shape)).depth
    assert made.tobytes() == given.tobytes()


def test_shrinking_averages_so_that_a_fine_pattern_turns_grey_and_not_moire():
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::2] = 200
    small = shrink(stripes, (224, 384))
    assert small.shape == (224, 384, 3)
    assert np.ptp(small.astype(int)) <= 60
    assert abs(small.mean() - 100) < 1
    assert shrink(small, (224, 384)) is small
    assert shrink(small, (448, 700)).shape == (448, 700, 3)
