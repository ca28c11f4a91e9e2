"""One scale and one shift, in spite of what does not fit."""

import numpy as np
import pytest

from lotus2_video.ops.align import fit_affine


@pytest.fixture
def source() -> np.ndarray:
    return np.random.default_rng(0).random((60, 80), np.float32)


def test_exact_data_give_the_exact_answer(source):
    assert fit_affine(source, 1.7 * source - 0.2, np.ones_like(source)) == pytest.approx((1.7, -0.2), abs=1e-6)


def test_a_fifth_of_the_picture_moved_by_itself_and_does_not_matter(source):
    target = 0.8 * source + 0.1 + np.random.default_rng(1).normal(0, 0.01, source.shape)
    target[:12] += 0.5
    scale, shift = fit_affine(source, target, np.ones_like(source))
    assert scale == pytest.approx(0.8, abs=0.01)
    assert shift == pytest.approx(0.1, abs=0.01)


def test_what_has_no_weight_does_not_count(source):
    target, weight = 1.2 * source, np.ones_like(source)
    target[30:], weight[30:] = -5, 0
    assert fit_affine(source, target, weight) == pytest.approx((1.2, 0), abs=1e-6)


def test_a_flat_map_says_nothing_about_scale():
    flat = np.full((9, 9), 0.4, np.float32)
    assert fit_affine(flat, flat + 0.1, np.ones_like(flat)) == pytest.approx((1, 0.1), abs=1e-6)


def test_nothing_to_fit_changes_nothing(source):
    assert fit_affine(source, 3 * source, np.zeros_like(source)) == (1, 0)
