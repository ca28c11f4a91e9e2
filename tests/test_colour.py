"""Maps as pictures: no bands, no per-frame range, axes as documented."""

from typing import get_args

import numpy as np
import pytest

from lotus2_video.config import Colormap, NormalSpace
from lotus2_video.ops import colour


def ramp(low: float, high: float, height: int = 64, width: int = 512) -> np.ndarray:
    return np.tile(np.linspace(low, high, width, dtype=np.float32), (height, 1))


def block_means(image: np.ndarray, size: int = 8) -> np.ndarray:
    height, width = image.shape
    return image.reshape(height // size, size, width // size, size).mean(axis=(1, 3))


def test_dither_keeps_both_ends_and_clips_what_lies_outside():
    image = np.array([[0.0, 1.0, -3.0, 7.0]] * 3, np.float32)
    assert (colour.dither(image) == [0, 255, 0, 255]).all()
    assert (colour.dither(image, 16, 235) == [16, 235, 16, 235]).all()


def test_dither_follows_a_ramp_that_rounding_turns_into_bands():
    # 3 levels over 512 pixels: plain rounding gives 4 flat steps, each over 100 pixels wide.
    slow = ramp(100 / 255, 103 / 255)
    truth = block_means(slow) * 255
    rounded, dithered = block_means(np.rint(slow * 255)), block_means(colour.dither(slow).astype(np.float32))
    assert np.abs(rounded - truth).max() > 0.4
    assert np.abs(dithered - truth).max() < 0.15
    assert len(np.unique(rounded[0].round(3))) < 12
    assert len(np.unique(dithered[0].round(3))) > 20


def test_dither_is_within_one_level_and_the_same_in_every_frame():
    rng = np.random.default_rng(1)
    image = rng.random((97, 131), dtype=np.float32)  # odd sizes, more rows than are done at a time
    first = colour.dither(image)
    assert np.abs(first - image * 255).max() < 1
    assert np.array_equal(first, colour.dither(image.copy()))


def test_dither_takes_the_same_value_to_the_same_levels_wherever_it_is_cut():
    image = np.full((100, 20), 0.3, np.float32)
    whole = colour.dither(image)
    assert np.array_equal(whole[2:], colour.dither(image[2:]))
    three = colour.dither(np.repeat(image[:, :, None], 3, axis=2))
    assert all(np.array_equal(three[:, :, c], whole) for c in range(3))


def test_dither_writes_into_a_strided_plane():
    plane = np.zeros((10, 32), np.uint8)
    image = ramp(0, 1, 10, 20)
    colour.dither(image, out=plane[:, :20])
    assert np.array_equal(plane[:, :20], colour.dither(image))
    assert not plane[:, 20:].any()


def test_sixteen_bits_are_rounded():
    image = np.array([0, 0.5, 1, 1.5, -1, 1 / 65535], np.float32)
    assert colour.to_uint16(image).tolist() == [0, 32768, 65535, 65535, 0, 1]


def test_the_names_are_those_of_the_command_line():
    assert get_args(Colormap) == colour.COLORMAPS
    assert tuple(colour.NORMAL_SPACES) == get_args(NormalSpace)


@pytest.mark.parametrize("name", colour.COLORMAPS)
def test_a_colormap_has_its_known_ends_in_both_depths(name: str):
    ends = {
        "gray": ((0, 0, 0), (255, 255, 255)),
        "inferno": ((0, 0, 4), (252, 255, 164)),
        "turbo": ((48, 18, 59), (122, 4, 3)),
        "spectral": ((94, 79, 162), (158, 1, 66)),
    }[name]
    for value, expected in zip((0, 1), ends, strict=True):
        depth = np.full((2, 2), value, np.float32)
        assert np.abs(colour.apply_colormap(depth, name).astype(int) - expected).max() <= 1
        assert np.abs(colour.apply_colormap16(depth, name) / 257 - expected).max() <= 1


@pytest.mark.parametrize("name", colour.COLORMAPS)
def test_a_colormap_shows_no_bands_and_its_8_bits_agree_with_its_16(name: str):
    slow = ramp(0.30, 0.33)
    exact = colour.apply_colormap16(slow, name).astype(np.float32) / 257
    eight = colour.apply_colormap(slow, name).astype(np.float32)
    assert eight.shape == (*slow.shape, 3)
    assert np.abs(eight - exact).max() <= 1
    for c in range(3):
        assert np.abs(block_means(eight[:, :, c]) - block_means(exact[:, :, c])).max() < 0.2


def test_a_colormap_does_not_depend_on_what_else_is_in_the_frame():
    alone, crowd = np.full((4, 4), 0.4, np.float32), ramp(0, 1, 4, 8)
    crowd[:, :4] = alone
    assert np.array_equal(colour.apply_colormap(crowd, "turbo")[:, :4], colour.apply_colormap(alone, "turbo"))


def test_spectral_is_warm_where_it_is_near():
    near = colour.apply_colormap(np.full((2, 2), 0.95, np.float32), "spectral")[0, 0].astype(int)
    far = colour.apply_colormap(np.full((2, 2), 0.05, np.float32), "spectral")[0, 0].astype(int)
    assert near[0] > near[2]
    assert far[2] > far[0]


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="gray, inferno, turbo, spectral"):
        colour.apply_colormap(np.zeros((2, 2), np.float32), "viridis")
    with pytest.raises(ValueError, match="gl, cv, directx, lotus"):
        colour.encode_normal(np.zeros((2, 2, 3), np.float32), "vulkan")


@pytest.mark.parametrize(
    ("space", "facing", "right", "up"),
    [
        ("gl", (0, 0, 1), (1, 0, 0), (0, 1, 0)),
        ("cv", (0, 0, -1), (1, 0, 0), (0, -1, 0)),
        ("directx", (0, 0, 1), (1, 0, 0), (0, -1, 0)),
        ("lotus", (0, 0, 1), (-1, 0, 0), (0, 1, 0)),
    ],
)
def test_normals_of_known_surfaces_in_each_space(space: str, facing: tuple, right: tuple, up: tuple):
    surfaces = np.array([[(0, 0, 1), (1, 0, 0), (0, 1, 0)]], np.float32)  # facing the camera, facing right, facing up
    assert np.array_equal(colour.to_normal_space(surfaces, space)[0], np.array([facing, right, up], np.float32))
    encoded = colour.encode_normal(surfaces, space)
    assert encoded.dtype == np.float32
    assert np.allclose(encoded[0] * 2 - 1, [facing, right, up])


def test_side_by_side_puts_the_source_left_at_the_depth_of_the_map():
    rgb = np.full((3, 4, 3), 200, np.uint8)
    eight = colour.side_by_side(rgb, np.full((3, 4, 3), 7, np.uint8))
    assert eight.shape == (3, 8, 3)
    assert (eight[:, :4] == 200).all()
    assert (eight[:, 4:] == 7).all()
    sixteen = colour.side_by_side(rgb, np.full((3, 4, 3), 7, np.uint16))
    assert sixteen.dtype == np.uint16
    assert (sixteen[:, :4] == 200 * 257).all()
