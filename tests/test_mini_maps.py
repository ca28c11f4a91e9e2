"""The mini with normals and with its sharpener, on weights of which some are random: what a file holds decides what there
is, both back ends and training compute the same, and tiles leave no trace."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from media import film, picture
from safetensors.numpy import save_file

from lotus2_video import ModelOptions, UsageError, WeightsError, make_predictor
from lotus2_video.cli import main
from lotus2_video.models import mini, mini_net, mini_sharpen
from lotus2_video.models.mini_openvino import OpenVinoMini

BOTH = ("depth", "normal")


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    """The package's for depth, and random ones for normals and the sharpener, which do much."""
    rng = np.random.default_rng(0)
    packaged = mini.load_weights(mini.weights_path())
    packaged = {k: v for k, v in packaged.items() if not k.startswith(("normal.", "sharpen."))}
    shapes = mini_net.shapes(BOTH) | mini_sharpen.shapes()
    made = {k: rng.normal(0, 0.5 / np.sqrt(np.prod(s[1:])), s).astype(np.float32) for k, s in shapes.items()}
    made["normal.out.bias"] += np.repeat(np.float32([0.2, 0, 1]), 4)
    return made | packaged


@pytest.fixture(scope="module")
def folder(weights, tmp_path_factory):
    """Makes a folder with a checkpoint of the weights whose names do not begin with any of `without`."""

    def make(*without: str) -> str:
        where = tmp_path_factory.mktemp("weights")
        save_file(
            {k: v.astype(np.float16) for k, v in weights.items() if not k.startswith(("-", *without))},
            where / mini.FILE,
        )
        return str(where)

    return make


def networks(weights, kinds=BOTH, precision="fp32"):
    torch = pytest.importorskip("torch")
    from lotus2_video.models.mini_torch import TorchMini

    device = torch.device("cpu")
    return OpenVinoMini(weights, kinds, precision), TorchMini(weights, kinds, precision, device)


def test_what_the_file_holds_is_what_there_is(folder):
    frame = picture(0, 64, 96)[None]
    deep = folder("normal.", "sharpen.")
    assert make_predictor("mini", ModelOptions(weights=deep, device="cpu")).predict(frame)[0].normal is None
    with pytest.raises(UsageError, match=r"(?s)make depth, not normal.*--maps|--maps.*make depth, not normal"):
        make_predictor("mini", ModelOptions(kinds=BOTH, weights=deep, device="cpu"))
    turned = folder("sharpen.")
    predictor = make_predictor("mini", ModelOptions(kinds=("normal",), weights=turned, device="cpu"))
    assert predictor.kinds == ("normal",)
    assert predictor.predict(frame)[0].depth is None
    with pytest.raises(UsageError, match="--sharpen"):
        predictor.predict(frame, sharpen=True)
    with pytest.raises(UsageError, match="--sharpen"):
        make_predictor("mini", ModelOptions(weights=turned, device="cpu", sharpen=True))


@pytest.mark.parametrize("part", ["normal.mix.bias", "sharpen.1.up.weight"])
def test_half_a_part_is_a_wrong_file(folder, part):
    with pytest.raises(WeightsError, match=f"lacks {part}"):
        make_predictor("mini", ModelOptions(weights=folder(part), device="cpu"))


def test_a_sharpener_needs_normals(folder):
    with pytest.raises(WeightsError, match=r"lacks normal\."):
        make_predictor("mini", ModelOptions(weights=folder("normal."), device="cpu"))


@pytest.mark.parametrize(("precision", "loose"), [("fp32", 1e-3), ("bf16", 0.03)])
def test_both_back_ends_make_the_same_unit_normals(weights, precision, loose):
    exact = networks(weights)[0].maps(picture(3, 96, 160)[None])[0]
    assert exact.normal is not None
    assert exact.normal.std((0, 1)).max() > 0.05
    for network in networks(weights, precision=precision):
        (maps,) = network.maps(picture(3, 96, 160)[None])
        assert maps.normal is not None
        assert maps.normal.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(maps.normal, axis=2), 1, atol=1e-5)
        np.testing.assert_allclose(maps.normal, exact.normal, atol=loose)
        np.testing.assert_allclose(maps.depth, exact.depth, atol=loose)


def test_normals_are_right_up_and_to_the_viewer_in_that_order(weights):
    flat = weights | {"normal.out.weight": np.zeros_like(weights["normal.out.weight"])}
    flat |= {
        "normal.lcm.b.weight": np.zeros_like(weights["normal.lcm.b.weight"]),
        "normal.lcm.b.bias": np.zeros(3, "f"),
    }
    flat["normal.out.bias"] = np.repeat(np.float32([3, 0, 4]), 4)
    for network in networks(flat):
        np.testing.assert_allclose(network.maps(picture(0, 48, 64)[None])[0].normal[20, 30], [0.6, 0, 0.8], atol=1e-6)


def test_both_maps_are_one_pass(weights, monkeypatch):
    passes, trunk = [], mini_net.trunk
    monkeypatch.setattr(mini_net, "trunk", lambda *given: passes.append(1) or trunk(*given))
    for network in networks(weights):
        passes.clear()
        maps = network.maps(np.stack([picture(i, 48, 64) for i in range(2)]))
        assert len(passes) == 1
        alone = networks(weights, ("depth",))[0].maps(picture(1, 48, 64)[None])[0].depth
        np.testing.assert_allclose(maps[1].depth, alone, atol=1e-3)


def test_sharpening_is_what_was_trained(weights, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "pipelines")
    sharp = pytest.importorskip("train.sharp")
    placed = {k: torch.from_numpy(v) for k, v in weights.items()}
    rgb = picture(4, 128, 192)
    x = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        start = sharp.start_maps(sharp.forward_of(x.device), placed, x, 0.5)
        expected = sharp.sharpened(placed, x, start)[0].numpy()
    start = start[0].numpy()
    assert abs(expected - start).mean() > 0.02
    for network in networks(weights):
        np.testing.assert_allclose(network.sharpened(start, rgb), expected, atol=1e-3)


def test_sharpening_begins_along_the_contours(weights, folder):
    """At the core's maps as they would be given out without it."""
    frames = picture(1, 128, 192)[None]
    plain, sharp = (
        make_predictor("mini", ModelOptions(BOTH, folder(), 64, "cpu", "fp32", sharpen=True)).predict(
            frames, sharpen=s
        )[0]
        for s in (False, True)
    )
    start = np.concatenate([plain.depth[None], plain.normal.transpose(2, 0, 1)])
    expected = networks(weights)[0].sharpened(start, frames[0])
    np.testing.assert_allclose(sharp.depth, expected[0].clip(0, 1), atol=2e-3)  # weights in a file are halves


def test_tiles_are_alike_and_cover_everything():
    for size, most in (((1080, 1920), mini_sharpen.MOST), ((1080, 4096), mini_sharpen.MOST), ((200, 328), 240)):
        tiles = mini_sharpen.tiles(size, most)
        total = np.zeros(size, np.float32)
        for tile in tiles:
            total[tile.rows, tile.columns] += tile.weight
            assert tile.weight.shape == tile.size == tiles[0].size
            assert max(tile.size) <= most
            assert tile.rows.start % mini_sharpen.STRIDE == tile.columns.start % mini_sharpen.STRIDE == 0
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_tiles_leave_no_trace(weights, monkeypatch):
    """Every step of the flow in tiles is that of the whole picture, since they overlap by more than a step reaches."""
    rgb = picture(4, 304, 384)
    start = np.random.default_rng(1).random((mini_sharpen.MAPS, 304, 384), np.float32)
    whole = [network.sharpened(start, rgb) for network in networks(weights)]
    monkeypatch.setattr(mini_sharpen, "tiles", partial(mini_sharpen.tiles, most=264))
    assert len(mini_sharpen.tiles((304, 384))) == 6
    for expected, network in zip(whole, networks(weights), strict=True):
        np.testing.assert_allclose(network.sharpened(start, rgb), expected, atol=1e-4)


def test_a_step_reaches_no_further_than_said(weights):
    torch = pytest.importorskip("torch")
    from lotus2_video.models.mini_torch import TorchOps

    placed = {k: torch.from_numpy(v).double() for k, v in weights.items() if k.startswith("sharpen.")}
    x, maps = torch.rand(1, 3, 16, 400, dtype=torch.float64), torch.zeros(1, 4, 16, 400, dtype=torch.float64)
    changed = x.clone()
    changed[..., 200] += 1

    def step(x):
        return mini_sharpen.velocity(TorchOps(), placed, x, maps, maps, 0.25, (16, 400))

    touched = (step(x) - step(changed)).abs().sum((0, 1, 2)).nonzero().flatten()
    reach = max(200 - int(touched.min()), int(touched.max()) - 200)
    assert 40 < reach <= mini_sharpen.REACH - mini_sharpen.FADE // 2 - mini_sharpen.STRIDE


def test_plain_and_sharpened_maps_are_of_one_size(folder):
    options = ModelOptions(kinds=BOTH, weights=folder(), device="cpu", sharpen=True, res=64)
    predictor = make_predictor("mini", options)
    assert predictor.input_size(2160, 3840) == (1080, 1920)
    assert predictor.input_size(721, 1283) == (721, 1283)
    assert min(predictor.input_size(40, 50)) == 64
    frames = np.stack([picture(i, 128, 200) for i in range(2)])
    plain, sharp = predictor.predict(frames), predictor.predict(frames, sharpen=True)
    assert plain[1].size == sharp[1].size == (128, 200)
    np.testing.assert_array_equal(predictor.predict(frames[1:], sharpen=True)[0].normal, sharp[1].normal)
    np.testing.assert_allclose(np.linalg.norm(sharp[1].normal, axis=2), 1, atol=1e-5)
    assert sharp[1].depth.min() >= 0
    assert sharp[1].depth.max() <= 1
    assert abs(sharp[1].normal - plain[1].normal).mean() > 0.01


def test_odd_sizes_are_sharpened_as_they_are(folder):
    predictor = make_predictor("mini", ModelOptions(kinds=BOTH, weights=folder(), device="cpu", sharpen=True, res=64))
    odd = picture(0, 131, 199)[None]
    (plain,), (sharp,) = predictor.predict(odd), predictor.predict(odd, sharpen=True)
    assert plain.size == sharp.size == (131, 199)
    np.testing.assert_allclose(np.linalg.norm(sharp.normal, axis=2), 1, atol=1e-5)
    assert abs(sharp.normal - plain.normal)[-3:].mean() > 0.01


def test_key_frames_are_sharpened_by_the_command(folder, tmp_path):
    """A key frame is as it is where all are sharpened; the next has its detail carried along, and more of it than none."""
    clip, where, normals = film(tmp_path / "in.mp4", 4), folder(), {}
    for which in ("none", "3", "all"):
        words = ["--weights", where, "--res", "64", "--device", "cpu", "--maps", "depth,normal", "--format", "npz"]
        assert main([str(clip), "--quiet", "--sharpen", which, "-o", str(tmp_path / f"{which}.npz"), *words]) == 0
        normals[which] = np.load(tmp_path / f"{which}.npz")["normal"].astype(np.float32)
    plain, keys, every = (normals[which] for which in ("none", "3", "all"))
    assert abs(every[0] - plain[0]).mean() > 0.02
    assert abs(keys[0] - every[0]).mean() < 0.01
    assert abs(keys[1] - every[1]).mean() < 0.7 * abs(plain[1] - every[1]).mean()


def test_precision_is_named(folder):
    made = {
        p: make_predictor("mini", ModelOptions(weights=folder(), precision=p, device="cpu")) for p in ("fp32", "bf16")
    }
    assert all(predictor.fingerprint.endswith(f"cpu-{p}") for p, predictor in made.items())
    assert make_predictor("mini", ModelOptions(weights=folder(), device="cpu")).fingerprint in {
        predictor.fingerprint for predictor in made.values()
    }


@pytest.mark.filterwarnings("ignore")
def test_the_benchmark_of_the_gpu_works_at_toy_size(monkeypatch):
    """It also shows that the whole of the network can be compiled, with nothing left outside."""
    for module in ("torch", "transformers"):
        pytest.importorskip(module)
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    from mini_gpu import gpu_rates

    rates = gpu_rates(None, [2], tiny=True)
    assert min(rates.values()) > 0
    assert {"depth_2", "depth_normal_2", "depth_normal_2_compiled", "teacher_compiled", "over_teacher"} <= rates.keys()
