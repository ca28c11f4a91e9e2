"""Training the mini: from start to finish at toy size, what it learns from, and what its parts promise."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "pipelines"))
native = pytest.importorskip("render.native")
try:
    native.cpu_library()
except native.CompilerError as missing:
    pytest.skip(f"the ray caster cannot be built: {missing}", allow_module_level=True)

import train_mini  # noqa: E402
from media import picture  # noqa: E402
from train.augment import disturb, draw, ranged, turned  # noqa: E402
from train.losses import consistency_loss, normal_loss  # noqa: E402
from train.run import Run  # noqa: E402
from train.sharp import detailed, enlarged, smooth  # noqa: E402
from train.views import Views  # noqa: E402
from train.weights import export, mixed, read_weights, save_parts, start_weights  # noqa: E402

from lotus2_video.frames import Maps  # noqa: E402
from lotus2_video.models import mini, mini_net, mini_sharpen  # noqa: E402
from lotus2_video.ops.resample import shrink, upsample  # noqa: E402

PACKAGED = Path(mini.__file__).parent / mini.FILE
FLAGS = {
    "--device": "cpu",
    "--workers": 0,
    "--scale": 0.16,
    "--stills": 24,
    "--later": 16,
    "--high": 8,
    "--label-short": 56,
}
FLAGS |= {"--density": 0.2, "--batch": 2, "--rendered": 2, "--sharpen-batch": 2, "--crop": 48, "--sharp-photos": 6}
SMALL = [str(word) for flag in FLAGS.items() for word in flag] + ["--report", "1"]


@pytest.fixture
def data(tmp_path, shared) -> Path:
    folder = tmp_path / "data"
    (folder / "frames").mkdir(parents=True)
    for i in range(3):
        cv2.imwrite(str(folder / "frames" / f"{i}.jpg"), picture(i, 290, 420))
    (folder / "teacher").symlink_to(shared / "data" / "teacher")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_a_whole_run_then_one_from_its_parts(tmp_path, data, capsys):
    words = [str(data), "--out", str(tmp_path / "ck"), *SMALL, "--start", str(PACKAGED)]
    train_mini.main([*words, "--steps", "2", "--sharpen-steps", "2", "--save-parts", str(tmp_path / "parts"),
                     "--rate", "300", "--keep-start", "1"])  # fmt: skip
    start, learned = read_weights(PACKAGED), read_weights(tmp_path / "parts")
    moved = {
        name.split(".")[0] for name in start if not torch.allclose(learned[name], start[name], rtol=1e-3, atol=2e-4)
    }
    assert moved == {"sharpen"}
    said = capsys.readouterr().out
    assert "degrees" in said
    assert "f1_gain" in said
    assert all(part.stat().st_size < 15 << 20 for part in (tmp_path / "parts").iterdir())
    out = tmp_path / "mini.safetensors"
    again = [
        str(data),
        "--out",
        str(tmp_path / "new"),
        *SMALL,
        "--start",
        str(tmp_path / "parts"),
        "--export",
        str(out),
    ]
    train_mini.main([*again, "--steps", "0", "--sharpen-steps", "0"])
    weights = read_weights(out)
    assert {k: tuple(v.shape) for k, v in weights.items()} == mini_net.shapes(
        ("depth", "normal")
    ) | mini_sharpen.shapes()
    assert not (tmp_path / "new").exists()


@pytest.mark.filterwarnings("ignore")
def test_sources_are_compared_with_nothing_kept(tmp_path, data, capsys):
    words = [str(data), "--out", str(tmp_path / "ck"), *SMALL, "--start", str(PACKAGED), "--stills", "56"]
    train_mini.main([*words, "--compare", "1", "--steps", "0", "--sharpen-steps", "0"])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line.split('"')[3] for line in said] == ["nothing", "photos", "rgbd", "frames", "rendered"]
    assert not (tmp_path / "ck").exists()


def test_the_sharpener_learns_from_maps_enlarged_as_in_use():
    guide = picture(0, 90, 160)
    small, depth = shrink(guide, (45, 80)), np.random.default_rng(0).random((45, 80), np.float32)
    as_used = upsample(Maps(depth), guide, small=small).depth
    maps = torch.from_numpy(depth)[None, None]
    rgb = [torch.from_numpy(x).permute(2, 0, 1)[None].float() / 255 for x in (small, guide)]
    np.testing.assert_allclose(enlarged(maps, *rgb)[0, 0].numpy(), as_used, atol=0.05)  # its colour distances are whole
    assert np.abs(enlarged(maps, *rgb)[0, 0].numpy() - as_used).mean() < 5e-3


def test_what_the_package_has_not_starts_silent_and_facing_the_viewer(shared):
    weights = start_weights(PACKAGED, Path())
    shapes = mini_net.shapes(("depth", "normal")) | mini_sharpen.shapes()
    assert {k: tuple(v.shape) for k, v in weights.items()} == shapes
    fresh = start_weights(None, shared / "data" / "teacher" / "depth-anything-v2-small")
    assert not fresh["normal.lcm.b.weight"].any()
    assert fresh["normal.out.bias"].view(3, 4).mean(1).tolist() == [0, 0, 1]
    assert not fresh["sharpen.out.weight"].any()


def test_weights_come_back_from_parts_and_from_the_package(tmp_path):
    weights = {"trunk.0.fc1.weight": torch.randn(400, 100), "depth.in.weight": torch.randn(64, 600)}
    save_parts(weights, tmp_path / "parts", {})
    export(weights, tmp_path / "out", {})
    for path, loose in ((tmp_path / "parts", 2e-3), (tmp_path / "out", 0.02)):
        found = read_weights(path)
        assert torch.allclose(found["trunk.0.fc1.weight"], weights["trunk.0.fc1.weight"], atol=loose)
        assert torch.allclose(found["depth.in.weight"], weights["depth.in.weight"], atol=2e-3)


def test_what_a_run_learned_is_mixed_with_what_it_started_from():
    start = {"depth.a": torch.zeros(3), "sharpen.a": torch.zeros(3)}
    found = mixed({name: torch.ones(3) for name in start}, start, 0.25)
    assert found["depth.a"].tolist() == [0.75] * 3
    assert found["sharpen.a"].tolist() == [1.0] * 3


def test_a_step_that_is_not_finite_changes_nothing():
    run = Run({"a.weight": torch.ones(3)}, {"a.": 0.1}, torch.device("cpu"))
    run.step(run.weights["a.weight"].sum(), 0.0, 1)
    before = run.weights["a.weight"].detach().clone()
    assert not torch.equal(before, torch.ones(3))
    run.step(run.weights["a.weight"].sum() * float("nan"), 0.0, 1)
    assert torch.equal(run.weights["a.weight"].detach(), before)


def test_a_run_goes_on_as_if_it_had_not_been_broken_off(tmp_path):
    def steps(run: Run, count: int) -> None:
        for _ in range(count):
            run.step((run.weights["a.weight"] ** 2).sum(), 0.0, 1)

    whole, first, second = (Run({"a.weight": torch.ones(3)}, {"a.": 0.1}, torch.device("cpu")) for _ in range(3))
    steps(whole, 5)
    steps(first, 2)
    first.save(tmp_path / "ck")
    second.load(tmp_path / "ck")
    steps(second, 3)
    assert torch.equal(whole.weights["a.weight"], second.weights["a.weight"])
    assert torch.equal(whole.average["a.weight"], second.average["a.weight"])


def ramp() -> Views:
    """Twelve views of a wall to the left that comes nearer to the right of the picture."""
    x = torch.linspace(0.2, 2.0, 60).expand(12, 40, 60)
    normal = torch.zeros(12, 3, 40, 60, dtype=torch.int8)
    normal[:, 0], normal[:, 2] = 76, 102
    rgb = (127 * x[:, None]).clamp(0, 255).byte().expand(-1, 3, -1, -1)
    return Views(rgb, x.half(), normal, ["room"] * 12)


def test_mirrored_views_have_mirrored_normals():
    batch = draw(ramp(), (32, 48), 32, torch.Generator().manual_seed(0))
    rises = (batch.disparity[:, 0, 16, -1] - batch.disparity[:, 0, 16, 0]).sign()
    assert set(rises.tolist()) == {-1.0, 1.0}
    assert torch.equal(batch.normal[:, 0, 16, 24].sign(), rises)
    assert torch.allclose(batch.normal.norm(dim=1), torch.ones(()), atol=1e-3)
    darker = batch.rgb[:, 0, 16, -1] - batch.rgb[:, 0, 16, 0]
    assert torch.equal(darker.sign(), rises)


def test_exact_disparity_is_ranged_as_the_teachers():
    room = torch.linspace(0.3, 1.2, 4000).view(1, 1, 50, 80)
    low, high = ranged(room).quantile(torch.tensor([0.02, 0.98])).tolist()
    assert (low, high) == pytest.approx((0.11, 1.0), abs=0.01)
    sky = room * (room > 0.5)
    assert ranged(sky).min() == 0
    assert ranged(sky).quantile(0.98).item() == pytest.approx(1.0, abs=0.01)


def test_disturbed_pictures_stay_pictures():
    rgb = torch.rand(12, 3, 44, 52, generator=torch.Generator().manual_seed(1))
    out = disturb(rgb, torch.Generator().manual_seed(2))
    assert out.shape == rgb.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert ((out - rgb).abs().mean((1, 2, 3)) > 1e-3).all()


def test_normals_are_not_judged_where_there_is_no_truth():
    truth = torch.zeros(1, 3, 16, 16)
    truth[:, 2, :, :8] = 1
    right = torch.zeros_like(truth)
    right[:, 2] = 1
    wrong = right.clone()
    wrong[:, :, :, 8:] = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    assert normal_loss(right, truth).item() == pytest.approx(0, abs=1e-3)
    assert normal_loss(wrong, truth).item() == pytest.approx(0, abs=1e-3)
    assert normal_loss(wrong.flip(3), truth) > 1


def test_mirrored_normals_agree_with_themselves():
    raw = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert consistency_loss(raw, turned(raw.flip(3))).item() == pytest.approx(0, abs=1e-5)
    assert consistency_loss(raw, raw) > 0.1


def test_the_target_has_the_truths_edges_and_the_starts_layout():
    truth = torch.zeros(1, 1, 96, 160) + 0.2
    truth[..., 80:] = 0.8
    truth[..., 38:41] = 0.8  # a pole, which the core has missed
    pole = truth.clone()
    pole[..., 38:41] = 0.2
    core = smooth(pole) + torch.linspace(0, 0.1, 96).view(1, 1, 96, 1)  # its layout is off
    normal = torch.zeros(1, 3, 96, 160)
    normal[:, 2] = 1
    start = torch.cat([core, normal], 1)
    target, weight = detailed(start, truth, normal)
    row = target[0, 0, 48].numpy()
    assert np.diff(row)[79] > 0.45
    assert row[39] - row[30] > 0.45
    assert row[34] == pytest.approx(row[20], abs=0.03), "a halo beside the pole"
    assert (target - start)[0, 0, :, 140].abs().mean() < 0.03, "the layout moved"
    assert torch.equal(target[:, 1:], normal)
    assert weight[0, 0, 48, 80] > 2 * weight[0, 0, 48, 140]
