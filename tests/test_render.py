"""The renderer: exact where geometry is known by formula, consistent between frames, the same every time."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
native = pytest.importorskip("render.native")
try:
    native.cpu_library()
except native.CompilerError as missing:
    pytest.skip(f"the ray caster cannot be built: {missing}", allow_module_level=True)

from render import (  # noqa: E402
    Assets,
    Quality,
    Renderer,
    TextureLibrary,
    demo,
    effects,
    load_assets,
    media,
    render_batches,
    render_clips,
    shapes,
)
from render.glb import load_glb  # noqa: E402
from render.kinds import KINDS  # noqa: E402
from render.pack import View  # noqa: E402
from render.scene import (  # noqa: E402
    Camera,
    Light,
    Lighting,
    Material,
    Motion,
    Scene,
    Sphere,
    intrinsics,
    look_at,
    place,
    rotation,
)

SIZE = (48, 64)
GEOMETRY = ("depth", "normal", "object")
FLOWS = ("depth", "object", "flow_forward", "flow_backward", "occluded_forward", "occluded_backward")
GREY = Material((0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(TextureLibrary(), "cpu", threads=2)


@pytest.fixture(scope="module")
def assets() -> Assets:
    return load_assets(seed=0, each=1)


def camera(eye: tuple[float, ...] = (0, 0, 4), target: tuple[float, ...] = (0, 0, 0), fov: float = 60) -> Camera:
    return Camera(intrinsics(SIZE, fov), look_at(np.array(eye, float), np.array(target, float), 0.1))


def rays(view: Camera) -> np.ndarray:
    """World directions [h,w,3] with z-depth 1, by the definition of K and the pose, not by the renderer."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(float)
    local = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(view.K).T
    return local @ view.pose[:3, :3].T


def to_our_axes(world: np.ndarray, view: Camera) -> np.ndarray:
    return world @ view.pose[:3, :3] * (1, -1, -1)


def pixels() -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), -1).astype(float)


def test_a_plane_has_the_depth_and_normal_of_its_formula(renderer: Renderer) -> None:
    scene, view = Scene(), camera((1.0, 2.0, 5.0), (0.5, 0, 0))
    scene.add(shapes.quad((-50, 0, 50), (100, 0, 0), (0, 0, -100)), GREY)
    out = renderer.cast(scene, [View(view)], SIZE, GEOMETRY)
    z = -view.pose[1, 3] / rays(view)[..., 1]
    there = (z > 0) & (z < 40)
    assert there.mean() > 0.3
    np.testing.assert_allclose(out["depth"][0][there], z[there], rtol=2e-6)
    up = to_our_axes(np.array([0.0, 1.0, 0.0]), view)
    np.testing.assert_allclose(out["normal"][0][there], np.broadcast_to(up, (there.sum(), 3)), atol=1e-6)


def test_a_sphere_has_the_depth_and_normal_of_its_formula(renderer: Renderer) -> None:
    centre, radius, view = np.array([0.2, -0.1, 0.3]), 0.8, camera()
    scene = Scene()
    scene.add(Sphere(), GREY, place(*centre, scale=radius))
    out = renderer.cast(scene, [View(view)], SIZE, GEOMETRY)
    d, o = rays(view), view.pose[:3, 3] - centre
    a, b, c = (d * d).sum(-1), d @ o, o @ o - radius**2
    under = b * b - a * c
    z = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, np.inf)
    assert np.array_equal(np.isfinite(z), np.isfinite(out["depth"][0]))
    hit = np.isfinite(z)
    np.testing.assert_allclose(out["depth"][0][hit], z[hit], rtol=1e-4)
    np.testing.assert_allclose(np.median(np.abs(out["depth"][0][hit] / z[hit] - 1)), 0, atol=1e-6)
    normal = (o + d * z[..., None])[hit] / radius
    np.testing.assert_allclose(out["normal"][0][hit], to_our_axes(normal, view), atol=2e-2)
    assert np.abs(out["normal"][0][hit] - to_our_axes(normal, view)).mean() < 1e-4
    assert not out["normal"][0][~hit].any()


@pytest.mark.parametrize("make", [shapes.ball, lambda r: shapes.at(shapes.cylinder(r, 1.2, 64), 0, -0.6, 0)])
def test_tessellated_curves_tell_the_normals_of_the_curve(renderer: Renderer, make) -> None:
    scene, view = Scene(), camera((0, 1.5, 3))
    scene.add(make(0.7), GREY)
    out = renderer.cast(scene, [View(view)], SIZE, GEOMETRY)
    hit = np.isfinite(out["depth"][0])
    p = view.pose[:3, 3] + rays(view)[hit] * out["depth"][0][hit][:, None]
    normal = out["normal"][0][hit] * (1, -1, -1) @ view.pose[:3, :3].T
    curved = np.abs(normal[:, 1]) < 0.99
    radial = p * ((1, 1, 1) if make is shapes.ball else (1, 0, 1))
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((normal * radial).sum(1), -1, 1)))[curved].mean() < 1.0


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_normals_are_unit_and_face_the_camera_in_every_kind_of_scene(kind: str, assets: Assets) -> None:
    batch = next(render_batches(3, 2, SIZE, batch=2, frames_per_scene=2, kinds={kind: 1}, assets=assets))
    seen = batch.disparity > 0
    assert np.isfinite(batch.disparity).all()
    np.testing.assert_allclose(np.linalg.norm(batch.normal[seen], axis=-1), 1, atol=1e-4)
    for k in range(2):
        local = np.concatenate([pixels(), np.ones((*SIZE, 1))], -1) @ np.linalg.inv(batch.K[k].astype(float)).T
        toward = -(batch.normal[k] * (1, -1, -1) * local).sum(-1)
        assert toward[seen[k]].min() > -1e-3
    assert 20 < batch.rgb.mean() < 235
    assert batch.rgb.std() > 10


def test_flat_normals_agree_with_the_slope_of_depth(renderer: Renderer) -> None:
    """Right-handed and in our axes: cross products of neighbouring points give the same normals as the renderer says."""
    scene, view = Scene(), camera((2, 2.5, 3))
    scene.add(shapes.box((1.9, 1.5, 1.7)), GREY, place(0, 0, 0, 0.1))
    out = renderer.cast(scene, [View(view)], SIZE, GEOMETRY)
    p = rays(view) * np.where(np.isfinite(out["depth"][0]), out["depth"][0], 0)[..., None]
    right, down = p[:-1, 1:] - p[:-1, :-1], p[1:, :-1] - p[:-1, :-1]
    n = np.cross(down, right)
    n /= np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-12)
    told = out["normal"][0][:-1, :-1]
    inside = (out["normal"][0][1:, :-1] == told).all(-1) & (out["normal"][0][:-1, 1:] == told).all(-1)
    inside &= np.isfinite(out["depth"][0][:-1, :-1])
    assert inside.sum() > 200
    assert (to_our_axes(n, view)[inside] * told[inside]).sum(-1).min() > 0.999


def moving_scene() -> Scene:
    scene = Scene()
    scene.add(shapes.quad((-20, -20, -3), (40, 0, 0), (0, 40, 0)), GREY)
    box = scene.add(shapes.box((1.0, 1.2, 0.3)), GREY)
    scene.move(box, Motion(velocity=(0.5, 0.1, 0.2), spin=0.6))
    return scene


def two_views() -> list[View]:
    a, b = camera((0, 0.3, 4)), camera((0.25, 0.35, 3.9), (0.1, 0, 0))
    return [View(a, 0.0, following=1), View(b, 0.4, previous=0)]


def test_flow_carries_depth_from_frame_to_frame(renderer: Renderer) -> None:
    """Where a point is not hidden, the depth found at its place in the next frame is its own depth there."""
    views = two_views()
    out = renderer.cast(moving_scene(), views, SIZE, FLOWS)
    for here, there, way in ((0, 1, "forward"), (1, 0, "backward")):
        motion = rotation((0, 1, 0), 0.6 * 0.4)
        motion[:3, 3] = 0.4 * np.array([0.5, 0.1, 0.2])
        moves = {0: np.eye(4), 1: motion if here == 0 else np.linalg.inv(motion)}
        flow, hidden, object_ = (out[k][here] for k in (f"flow_{way}", f"occluded_{way}", "object"))
        p = views[here].camera.pose[:3, 3] + rays(views[here].camera) * out["depth"][here][..., None]
        carried = np.stack([p @ m[:3, :3].T + m[:3, 3] for m in moves.values()])
        p = np.take_along_axis(carried, object_[None, ..., None], 0)[0]
        local = (p - views[there].camera.pose[:3, 3]) @ views[there].camera.pose[:3, :3]
        at = local @ views[there].camera.K.T
        np.testing.assert_allclose(flow, at[..., :2] / at[..., 2:] - pixels(), atol=2e-3)
        landed = np.round(pixels() + flow).astype(int)
        shown = hidden == 0
        y, x = np.clip(landed[..., 1], 0, SIZE[0] - 1), np.clip(landed[..., 0], 0, SIZE[1] - 1)
        same = shown & (out["object"][there][y, x] == object_)
        assert same[shown].mean() > 0.97
        found = out["depth"][there][y, x][same] / at[..., 2][same]
        assert (np.abs(found - 1) < 0.01).mean() > 0.99  # the rest: steep sides, half a pixel off by rounding


def test_what_goes_behind_is_marked_hidden(renderer: Renderer) -> None:
    """A board slides to the right before a wall: the wall's strip that it covers next is hidden, the rest is not."""
    scene, view = Scene(), Camera(intrinsics(SIZE, 60), look_at(np.array([0.0, 0, 4]), np.zeros(3)))
    scene.add(shapes.quad((-20, -20, -1), (40, 0, 0), (0, 40, 0)), GREY)
    board = scene.add(shapes.box((1.0, 1.0, 0.01)), GREY)
    scene.move(board, Motion(velocity=(0.5, 0, 0)))
    out = renderer.cast(scene, [View(view, 0.0, following=1), View(view, 1.0, previous=0)], SIZE, FLOWS)
    covered = (out["object"][0] == 0) & (out["object"][1] == 1)
    wall = out["object"][0] == 0
    assert covered.sum() > 50
    assert np.array_equal(out["occluded_forward"][0][wall] > 0, covered[wall])
    assert not out["occluded_forward"][0][out["object"][0] == 1].any()
    assert out["occluded_forward"][1].all(), "the last frame has no next one"


def test_sky_flows_with_the_turning_camera_only(renderer: Renderer) -> None:
    a = Camera(intrinsics(SIZE, 60), look_at(np.zeros(3), np.array([0.0, 0, -1])))
    turned = Camera(a.K, rotation((0, 1, 0), -0.1) @ a.pose)
    moved = Camera(a.K, place(5, 1, 2) @ turned.pose)
    for b in (turned, moved):
        out = renderer.cast(Scene(), [View(a, following=1), View(b, previous=0)], SIZE, FLOWS)
        assert np.isinf(out["depth"]).all()
        centre = out["flow_forward"][0][SIZE[0] // 2, SIZE[1] // 2]
        assert centre[0] == pytest.approx(-a.K[0, 0] * np.tan(0.1), abs=0.5)


def test_shadow_falls_opposite_the_sun(renderer: Renderer) -> None:
    sun = Light("sun", (1.0, 1.0, 0.0), (1.0, 1.0, 1.0), 0.001)
    dark = ((0.0, 0.0, 0.0),) * 3
    scene = Scene(Lighting((sun,), ambient=dark))
    scene.add(shapes.quad((-50, 0, 50), (100, 0, 0), (0, 0, -100)), GREY)
    scene.add(shapes.box((0.5, 2, 0.5)), GREY, place(0, 1, 0))
    view = Camera(intrinsics(SIZE, 60), look_at(np.array([0.0, 8, 0.01]), np.zeros(3)))
    light = renderer.cast(scene, [View(view)], SIZE, ("radiance",))["radiance"][0].sum(-1)
    row = SIZE[0] // 2
    assert light[row, SIZE[1] // 2 - 12] < 0.01  # west of the box, the sun in the east
    assert light[row, SIZE[1] // 2 + 12] > 0.1


def test_far_textures_do_not_shimmer(renderer: Renderer) -> None:
    """Mip levels: a fine chequerboard far away is grey, not noise."""
    textures = TextureLibrary()
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    index = textures.add(np.repeat(board[..., None], 3, 2), "board")
    scene = Scene(Lighting(ambient=((1.0, 1.0, 1.0),) * 3, ambient_reach=0.01))
    scene.add(shapes.quad((-50, -50, 0), (100, 0, 0), (0, 100, 0)), Material((1, 1, 1), index))
    out = Renderer(textures).cast(scene, [View(camera((0, 0, 30)))], SIZE, ("radiance",), Quality(1, 0))
    assert out["radiance"].std() < 0.02


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(assets: Assets) -> None:
    def one(seed: int, threads: str) -> list[np.ndarray]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", threads)
            batch = next(render_batches(seed, 2, SIZE, batch=2, frames_per_scene=1, assets=assets))
        return [batch.rgb, batch.disparity, batch.normal]

    first, again, other = one(1, "1"), one(1, "2"), one(2, "1")
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


def test_going_on_after_a_break_gives_what_would_have_come(assets: Assets) -> None:
    whole = list(render_batches(5, 4, SIZE, batch=2, frames_per_scene=1, assets=assets))
    rest = list(render_batches(5, 2, SIZE, batch=2, frames_per_scene=1, assets=assets, first=2))
    assert np.array_equal(whole[1].rgb, rest[0].rgb)


def test_a_clip_has_flow_that_its_frames_obey(assets: Assets) -> None:
    clip = next(render_clips(4, 1, 3, SIZE, kinds={"room": 1}, assets=assets))
    assert clip.flow_forward.shape == (3, *SIZE, 2)
    assert clip.pose.shape == (3, 4, 4)
    landed = np.round(pixels() + clip.flow_forward[0]).astype(int)
    shown = ~clip.occluded_forward[0]
    y, x = np.clip(landed[..., 1], 0, SIZE[0] - 1), np.clip(landed[..., 0], 0, SIZE[1] - 1)
    assert shown.mean() > 0.5
    assert (clip.object[1][y, x] == clip.object[0])[shown].mean() > 0.9


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        next(render_batches(0, 5, SIZE, batch=2))


def test_an_unknown_kind_is_named(assets: Assets) -> None:
    with pytest.raises(KeyError, match="volcano"):
        next(render_batches(0, 2, SIZE, batch=2, frames_per_scene=1, kinds={"volcano": 1.0}, assets=assets))


def test_the_gpu_sees_what_the_cpu_sees(assets: Assets) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    arguments = {"batch": 4, "frames_per_scene": 2, "assets": assets}
    slow = next(render_batches(6, 4, SIZE, device="cpu", **arguments))
    fast = next(render_batches(6, 4, SIZE, device="cuda", **arguments))
    assert fast.rgb.is_cuda
    close = np.isclose(slow.disparity, fast.disparity.cpu().numpy(), rtol=1e-3)
    assert close.mean() > 0.998
    assert np.abs(slow.rgb.astype(int) - fast.rgb.cpu().numpy().astype(int)).mean() < 2


@pytest.fixture
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    return effects.blur(rng.random((2, 20, 27, 3)).astype(np.float32), 1.5)


def test_jpeg_of_ours_is_as_far_off_as_the_codec_s(pictures: np.ndarray) -> None:
    for quality in (20, 90):
        ours = effects.jpeg(pictures, np.full(2, quality))
        for before, after in zip(pictures, ours, strict=True):
            picture = (before * 255 + 0.5).astype(np.uint8)
            settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
            _, blob = cv2.imencode(".jpg", picture[:, :, ::-1], settings)
            theirs = cv2.imdecode(blob, cv2.IMREAD_COLOR)[:, :, ::-1] / 255
            lost, ours_lost = np.abs(theirs - before).mean(), np.abs(after - before).mean()
            assert 0.7 < ours_lost / lost < 1.4
            assert np.abs(after - theirs).mean() < 0.5 * lost + 0.005


def test_effects_do_nothing_at_strength_zero(pictures: np.ndarray) -> None:
    zero, flow = np.zeros(2), np.ones((2, 20, 27, 2), np.float32)
    np.testing.assert_allclose(effects.vignette(pictures, zero), pictures)
    np.testing.assert_allclose(effects.sensor_noise(pictures, pictures, zero, zero), pictures)
    np.testing.assert_allclose(effects.motion_blur(pictures, flow, zero), pictures, atol=1e-6)
    np.testing.assert_allclose(effects.defocus(pictures, flow[..., 0], zero, zero), pictures, atol=1e-6)


def test_motion_smears_along_the_flow_and_defocus_only_out_of_focus() -> None:
    line = np.zeros((1, 21, 21, 3), np.float32)
    line[:, :, 10] = 1
    flow = np.zeros((1, 21, 21, 2), np.float32)
    flow[..., 0] = 8
    assert effects.motion_blur(line, flow, np.ones(1))[0, 10, 7, 0] > 0.05
    assert effects.motion_blur(line, flow[..., ::-1], np.ones(1))[0, 10, 7, 0] == 0
    disparity = np.full((1, 21, 21), 1.0, np.float32)
    disparity[:, 10:] = 0.5
    out = effects.defocus(line, disparity, np.array([1.0]), np.array([12.0]))
    assert out[0, 3, 10, 0] == pytest.approx(1)
    assert out[0, 17, 10, 0] < 0.4


def test_effects_are_the_same_in_torch(pictures: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    one = np.ones(2)
    for effect in (
        lambda p: effects.jpeg(p, 40 * one),
        lambda p: effects.vignette(p, one),
        lambda p: effects.defocus(p, p[..., 0], 0.2 * one, 20 * one),
        lambda p: effects.motion_blur(p, 10 * p[..., :2], one),
        lambda p: effects.sensor_noise(p, p, 0.1 * one, 0.1 * one),
    ):
        there = effect(torch.from_numpy(pictures)).numpy()
        assert np.abs(there - effect(pictures)).mean() < 1e-4


def test_workers_make_the_same_scenes(assets: Assets) -> None:
    alone, helped = (
        next(render_batches(8, 2, SIZE, batch=2, frames_per_scene=1, kinds={"tabletop": 1}, assets=assets, workers=n))
        for n in (0, 1)
    )
    assert np.array_equal(alone.rgb, helped.rgb)
    assert np.array_equal(alone.disparity, helped.disparity)


def test_a_sequence_on_disk_is_in_the_layout_of_the_evaluation_data(assets: Assets, tmp_path: Path) -> None:
    clip = next(render_clips(4, 1, 2, SIZE, kinds={"tabletop": 1}, assets=assets))
    media.write_sequence(tmp_path, clip)
    depth = cv2.imread(str(tmp_path / "depth/000001.png"), cv2.IMREAD_UNCHANGED) / 1000
    seen = depth > 0
    np.testing.assert_allclose(depth[seen], 1 / clip.disparity[1][seen], atol=6e-4)
    axes = cv2.imread(str(tmp_path / "normal/000001.png"))[:, :, ::-1] / 127.5 - 1
    np.testing.assert_allclose((axes * (1, -1, -1))[seen], clip.normal[1][seen], atol=0.006)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "K.txt"), clip.K[0], atol=1e-4)
    poses = np.loadtxt(tmp_path / "poses.txt").reshape(-1, 4, 4)
    np.testing.assert_allclose(poses, clip.pose, atol=1e-5)
    rgb = cv2.imread(str(tmp_path / "rgb/000000.png"))[:, :, ::-1]
    assert np.array_equal(rgb, clip.rgb[0])
    with av.open(str(tmp_path / "clip.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 2


def test_a_glb_file_comes_in_with_its_size_and_its_pictures(shared: Path) -> None:
    folder = shared / "data" / "scenes"
    textures = TextureLibrary()
    mesh, materials = load_glb(folder / "suzanne.glb", textures)
    assert len(mesh.faces) == 3936
    np.testing.assert_allclose(mesh.bounds, [[-1.34, -0.98, -0.8], [1.34, 0.95, 0.83]], atol=0.01)
    assert len(textures.pictures) == 1
    assert materials[0].texture == 0
    corners = mesh.positions[mesh.faces]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert mesh.normals is not None
    outward = (flat * mesh.normals[mesh.faces].mean(1)).sum(-1)
    assert (outward > 0).mean() > 0.99


def test_what_is_not_for_training_is_not_loaded(shared: Path) -> None:
    folder = shared / "data" / "scenes"
    assets = load_assets(each=1, meshes=folder)
    assert len(assets.objects) + len(assets.scenes) == len(list(folder.glob("*.glb")))
    assert all(abs(float(np.ptp(m.bounds, 0).max()) - 1) < 1e-3 for m, _ in assets.objects)


def test_a_file_that_is_no_glb_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.glb"
    path.write_bytes(b"not a scene at all, but long enough")
    with pytest.raises(ValueError, match=r"broken\.glb"):
        load_glb(path, TextureLibrary())


def test_the_committed_demo_is_the_scene_that_the_code_makes() -> None:
    """Its truth is remade from one frame; whoever changes a piece of furniture in it must render the clip anew."""
    path = Path(__file__).resolve().parents[1] / "examples" / "demo_truth.npz"
    truth = np.load(path)
    textures = load_assets().textures
    scene, views = demo.scene(textures), demo.views()
    number = int(truth["frames"][3])
    view = View(views[number].camera, views[number].seconds)
    out = Renderer(TextureLibrary()).cast(scene, [view], demo.SIZE, GEOMETRY)
    step = slice(None, None, demo.TRUTH_STEP)
    disparity = (1 / out["depth"][0])[step, step]
    assert np.isclose(disparity, truth["disparity"][3].astype(np.float32), rtol=1e-3, atol=1e-4).mean() > 0.999
    same = np.abs(out["normal"][0][step, step] * 127 - truth["normal"][3]).max(-1) < 1.5
    assert same.mean() > 0.999
