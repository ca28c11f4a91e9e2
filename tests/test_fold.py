"""The temporal filter: what it must remove, what it must leave alone, and what it may depend on."""

import itertools

import cv2
import numpy as np
import pytest

from lotus2_video.config import FoldConfig
from lotus2_video.fold.keyframes import CarriedDetail, KeyframePlan
from lotus2_video.fold.smooth import Smooth
from lotus2_video.frames import Flow, Maps
from lotus2_video.ops.flow import dense_flow
from lotus2_video.ops.geometry import fit_rotation

HEIGHT, WIDTH, FOCAL = 96, 160, 112.0


def texture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """uint8 [h,w,3] that can be tracked anywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 1.5), None, 0, 255, cv2.NORM_MINMAX)


def room() -> np.ndarray:
    """float32 [h,w]: the disparity of a slanted floor with a box on it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    disparity = 0.15 + 0.4 * y / HEIGHT + 0.05 * np.sin(x / 17)
    disparity[40:70, 60:100] = 0.62
    return disparity.astype(np.float32)


def still() -> Flow:
    return Flow(np.zeros((HEIGHT, WIDTH, 2), np.float32), np.ones((HEIGHT, WIDTH), bool))


def run(maps: list[np.ndarray], rgb: list[np.ndarray], flows: list[Flow | None], **config: float) -> np.ndarray:
    """The film given out; unless a test says otherwise, on the network's own scale, which is 0 at infinity."""
    fold = Smooth(FoldConfig(**{"start_scale": 1.0, "infinity": 0.0, **config}))
    given = [m for p, d, f in zip(rgb, maps, flows, strict=True) for m in fold.step(p, Maps(d), f)]
    return np.stack([m.depth for m in given + fold.flush()])


def jitter(count: int, seed: int = 1) -> np.ndarray:
    """[count,2]: scale within 8 %, shift within 4 % of the range, of its own in each frame; the first has none."""
    drawn = np.random.default_rng(seed).uniform([0.92, -0.04], [1.08, 0.04], (count, 2))
    drawn[0] = 1, 0
    return drawn


def test_scale_and_shift_that_jitter_are_taken_out_of_a_still_scene():
    true, count = room(), 40
    maps = [(s * true + t).astype(np.float32) for s, t in jitter(count)]
    given = run(maps, [texture()] * count, [None] + [still()] * (count - 1))
    left, put_in = (np.abs(np.diff(x, axis=0)).mean() for x in (given, np.stack(maps)))
    assert left < 0.03 * put_in
    assert np.abs(given - true).max() < 0.03


def test_a_first_frame_that_is_off_does_not_make_the_scale_wander():
    """What is given out keeps the scale it began with, though all frames after the first say another."""
    scale = np.random.default_rng(7).uniform(0.95, 1.05, 250)
    scale[0] = 1.15
    maps = [(s * room()).astype(np.float32) for s in scale]
    given = run(maps, [texture()] * 250, [None] + [still()] * 249)
    late = [float(np.median(given[t] / given[20])) for t in range(20, 250, 10)]
    assert np.abs(np.array(late) - 1).max() < 0.03


def seen_from(texture_: np.ndarray, depth: float) -> np.ndarray:
    """What a camera sees of a picture that hangs `depth` before it, FOCAL pixels wide for a metre at one metre."""
    scale = FOCAL / depth / 60
    at = np.float32([[scale, 0, WIDTH / 2 - scale * texture_.shape[1] / 2], [0, scale, HEIGHT / 2 - scale * 120]])
    return cv2.warpAffine(texture_, at, (WIDTH, HEIGHT), flags=cv2.INTER_AREA)


def dolly(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Walking up to a board before a wall until the board's disparity has doubled: pictures and exact disparity."""
    wall, board = (cv2.GaussianBlur(texture(400, 900, seed), (0, 0), 2) for seed in (5, 6))
    shape = np.zeros((400, 900), np.uint8)
    shape[80:170, 380:480], shape[90:150, 560:610] = 255, 255
    rgb, maps = [], []
    for z in 1 / np.linspace(1 / 4, 1 / 2, count):
        near = seen_from(shape, z)[..., None] > 127
        rgb.append(np.where(near, seen_from(board, z), seen_from(wall, z + 3)))
        maps.append(np.where(near[..., 0], 1.4 / z, 1.4 / (z + 3)).astype(np.float32))
    return rgb, maps


@pytest.mark.parametrize("lacking", [0.0, 0.09])
def test_what_comes_nearer_comes_nearer(lacking):
    """A fit to the frame before takes true change for jitter, and the scale wanders off; the camera's motion explains it.
    Where infinity is not where it is taken to be, that is wrong by a little in every frame, and must not add up."""
    rgb, maps = dolly(60)
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
    given = run(maps, rgb, flows, infinity=lacking)
    for t in range(60):
        board = cv2.erode((maps[t] > 1.4 / 4.1).astype(np.uint8), np.ones((5, 5))) > 0
        assert given[t][board].mean() == pytest.approx(maps[t][board].mean(), rel=0.02), f"frame {t}"


def test_a_mover_leaves_no_trail():
    """A near square crosses a far wall; behind it the wall must be a wall again at once."""
    wall, thing = texture(seed=2), texture(seed=3)
    rgb, maps = [], []
    for t in range(12):
        x = 10 + 8 * t
        picture, depth = wall.copy(), np.full((HEIGHT, WIDTH), 0.2, np.float32)
        picture[30:60, x : x + 30], depth[30:60, x : x + 30] = thing[30:60, :30], 0.7
        rgb.append(picture)
        maps.append(depth + np.linspace(0, 0.05, HEIGHT, dtype=np.float32)[:, None])
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
    given = run(maps, rgb, flows)
    assert np.abs(given - np.stack(maps)).max(axis=(1, 2)).max() < 0.1
    assert np.abs(given - np.stack(maps)).mean() < 0.004


def test_what_is_far_follows_a_change_that_is_small_for_what_is_near():
    """Half again as near is a change, though by a disparity that on a near thing would be noise."""
    before, after = room(), room()
    before[2:42, 110:150], after[2:42, 110:150] = 0.06, 0.09
    given = run([before] * 6 + [after] * 3, [texture()] * 9, [None] + [still()] * 8)
    assert given[6][22, 130] > 0.072
    assert given[8][22, 130] > 0.08


def test_the_first_frames_do_not_know_how_the_film_goes_on():
    rng = np.random.default_rng(0)
    rgb = [texture(seed=s // 4) for s in range(12)]
    maps = [np.clip(room() + rng.normal(0, 0.05, (HEIGHT, WIDTH)), 0, 1).astype(np.float32) for _ in range(12)]
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
    whole = run(maps, rgb, flows)
    assert run(maps[:7], rgb[:7], flows[:7]).tobytes() == whole[:7].tobytes()
    assert run(maps, rgb, flows).tobytes() == whole.tobytes(), "the same film twice gave other bits"


def test_a_new_scene_starts_from_its_own_frame():
    rgb, cut = [texture(seed=1)] * 3 + [texture(seed=2)], Flow(still().to_previous, np.zeros((HEIGHT, WIDTH), bool))
    maps = [room()] * 3 + [room()[::-1].copy()]
    given = run(maps, rgb, [None, still(), still(), cut])
    np.testing.assert_array_equal(given[3], run(maps[3:], rgb[3:], [None])[0])


def test_a_flash_does_not_make_the_scale_forget():
    """The frames around it share no flow, yet it is one shot: the scale of the frames before holds."""
    rgb = [texture()] * 7
    rgb[3] = np.full_like(rgb[3], 255)
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
    given = run([(f * room()).astype(np.float32) for f in [1, 1, 1.3, 1.3, 1.3, 1.3, 1.3]], rgb, flows)
    assert np.abs(given[6] - given[1]).max() < 0.08


def test_results_stay_in_range_and_finite_whatever_comes():
    odd = [np.zeros((HEIGHT, WIDTH), np.float32), np.ones((HEIGHT, WIDTH), np.float32), room(), room() * 0, room() ** 9]
    given = run(odd, [texture()] * 5, [None] + [still()] * 4)
    assert np.isfinite(given).all()
    assert 0 <= given.min() <= given.max() <= 1


def test_the_sky_stays_at_infinity():
    """Zero is zero on any scale: a shift must not lift what the network puts at infinity."""
    true = room()
    true[:30] = 0
    maps = [np.where(true > 0, s * true + t, 0).astype(np.float32) for s, t in jitter(20)]
    given = run(maps, [texture()] * 20, [None] + [still()] * 19)
    assert given[:, :28].max() < 0.005


@pytest.mark.parametrize("kinds", ["normal", "both"])
def test_normals_are_steadied_and_stay_of_unit_length(kinds):
    rng, fold, given = np.random.default_rng(0), Smooth(), []
    for t in range(10):
        sway = cv2.resize(rng.normal(0, 0.1, (4, 6, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        noisy = np.float32([0, 0.6, 0.8]) + sway.astype(np.float32)
        noisy /= np.linalg.norm(noisy, axis=2, keepdims=True)
        maps = Maps(room() if kinds == "both" else None, noisy)
        given += fold.step(texture(), maps, still() if t else None)
    normals = np.stack([m.normal for m in given])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=3), 1, atol=1e-5)
    step = np.degrees(np.arccos(np.clip((normals[1:] * normals[:-1]).sum(axis=3), -1, 1))).mean(axis=(1, 2))
    assert step[-1] < 0.4 * np.degrees(np.arccos(np.clip((normals[0] * noisy).sum(axis=2), -1, 1))).mean()


def panned(count: int, speed: int = 3) -> list[np.ndarray]:
    wide = texture(HEIGHT, WIDTH + speed * count, seed=9)
    return [np.ascontiguousarray(wide[:, speed * t : speed * t + WIDTH]) for t in range(count)]


def test_key_frames_come_at_cuts_on_schedule_and_when_little_of_the_last_is_left():
    def planned(rgb: list[np.ndarray], every: int) -> list[int]:
        plan, flows = KeyframePlan(every), [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
        return [t for t, (p, f) in enumerate(zip(rgb, flows, strict=True)) if plan.step(p, f)]

    assert planned([texture()] * 14, every=6) == [0, 6, 12]
    assert planned([texture(seed=1)] * 4 + [texture(seed=2)] * 4, every=100) == [0, 4]
    moving = planned(panned(24, speed=6), every=100)
    assert len(moving) in (2, 3), "of a pan, the key frame's detail has left the picture after some ten frames"


def test_detail_of_a_key_frame_is_carried_along_and_faded_where_it_is_hidden():
    rgb, carried = panned(8), CarriedDetail()
    flat = np.full((HEIGHT, WIDTH), 0.5, np.float32)
    ridge = flat.copy()
    ridge[:, 100:103] += 0.2
    found = []
    for t, picture in enumerate(rgb):
        flow = dense_flow(rgb[t - 1], picture) if t else None
        found.append(carried.step(picture, Maps(flat), flow, None if t else (Maps(flat), Maps(ridge), 0.5)).depth)
    for t, depth in enumerate(found):
        middle = slice(100 - 3 * t, 103 - 3 * t)
        assert depth[10:-10, middle].mean() == pytest.approx(0.6, abs=0.02), f"frame {t}"
    assert np.abs(found[-1][:, -15:] - 0.5).max() < 1e-3, "what came in later has no detail yet"
    assert carried.step(texture(seed=3), Maps(flat), still(), None).depth == pytest.approx(flat, abs=0.1)


def seen_turning(count: int, degrees: float) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """A camera that turns to the right before a wall with a floor: pictures, disparity, and exact normals in its axes."""
    rgb, normals = [], []
    floor = np.mgrid[:HEIGHT, :WIDTH][0] > 0.6 * HEIGHT
    wide, k = texture(2 * HEIGHT, 4 * WIDTH, seed=12), np.diag([FOCAL, FOCAL, 1.0])
    to_wide, from_view = k.copy(), k.copy()
    to_wide[:2, 2], from_view[:2, 2] = (2 * WIDTH, HEIGHT), (WIDTH / 2, HEIGHT / 2)
    for t in range(count):
        yaw = np.radians(degrees * t)
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        where = to_wide @ turn @ np.linalg.inv(from_view)
        rgb.append(cv2.warpPerspective(wide, where, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
        wall = [np.sin(yaw), 0, np.cos(yaw)]  # it faced the camera at first, and now faces what is to the right of it
        normals.append(np.where(floor[..., None], np.float32([0, 1, 0]), np.float32(wall)).astype(np.float32))
    return rgb, np.where(floor, 0.3, 0.2).astype(np.float32), normals


@pytest.mark.parametrize("kinds", ["normal", "both"])
def test_normals_turn_with_the_camera(kinds):
    """A memory that did not turn them would lag by ten frames' turn; here nobody tells the fold how the camera moves."""
    rgb, depth, normals = seen_turning(14, degrees=1.5)
    flows = [None, *(dense_flow(a, b) for a, b in itertools.pairwise(rgb))]
    fold, given = Smooth(), []
    for picture, normal, flow in zip(rgb, normals, flows, strict=True):
        given += fold.step(picture, Maps(depth if kinds == "both" else None, normal), flow)
    cosine = (given[-1].normal * normals[-1]).sum(axis=2)[8:40, 20:-20]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 2.0


def test_normals_of_one_direction_do_not_make_the_camera_roll():
    flat = np.broadcast_to(np.float32([0, 0, 1]), (50, 3))
    np.testing.assert_allclose(fit_rotation(flat, flat, np.ones(50)), np.eye(3), atol=1e-9)


def test_a_new_surface_has_its_own_normals_at_once():
    """A wall turns by 60 degrees between two frames of a still picture: that is no noise."""
    fold, flow = Smooth(), still()
    old, new = (np.broadcast_to(np.float32(n), (HEIGHT, WIDTH, 3)).copy() for n in ([0, 0, 1], [0.866, 0, 0.5]))
    for t in range(6):
        fold.step(texture(), Maps(room(), old), flow if t else None)
    given = fold.step(texture(), Maps(room(), new), flow)[0].normal
    assert np.degrees(np.arccos(np.clip((given * new).sum(axis=2), -1, 1))).mean() < 12
