"""The mini: the same function on every backend, weights that are checked, and that it sees depth at all."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from lotus2_video import ModelOptions, UsageError, WeightsError, make_predictor
from lotus2_video.models import mini, mini_net, mini_openvino


@pytest.fixture(scope="module")
def predictor():
    return make_predictor("mini", ModelOptions(device="cpu"))


def photograph(shared: Path, i: int = 10) -> np.ndarray:
    path = sorted((shared / "data" / "eval" / "rendered_living" / "rgb").iterdir())[i]
    return cv2.imread(str(path))[:, :, ::-1]


@pytest.mark.parametrize("size", [(224, 400), (304, 224), (64, 48)])
def test_torch_and_openvino_agree(predictor, size, shared):
    torch = pytest.importorskip("torch")
    from lotus2_video.models.mini_torch import DTYPES, core, place

    rgb = cv2.resize(photograph(shared), size[::-1], interpolation=cv2.INTER_AREA)
    weights = {k: torch.from_numpy(v) for k, v in mini.load_weights(mini.weights_path()).items()}
    picture = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = core(weights, picture, ("depth",))[0].clamp(0, 1)[0, 0].numpy()
        half, coarse = (
            core(place(weights, torch.device("cpu"), DTYPES[name]), picture, ("depth",))[0].clamp(0, 1)[0, 0].numpy()
            for name in ("fp16", "bf16")  # on a GPU the first is the default
        )
    exact = make_predictor("mini", ModelOptions(device="cpu", precision="fp32")).predict(rgb[None])[0].depth
    found = predictor.predict(rgb[None])[0].depth
    assert exact.std() > 0.01
    np.testing.assert_allclose(exact, expected, atol=1e-3)
    np.testing.assert_allclose(exact, half, atol=1e-2)
    np.testing.assert_allclose(exact, coarse, atol=3e-2)
    assert abs(exact - coarse).mean() < 2e-3
    np.testing.assert_allclose(found, expected, atol=3e-2)
    assert abs(found - expected).mean() < 1e-2


def test_the_floor_is_nearer_than_the_far_wall(predictor, shared):
    """A film of a room, seen level: what is below is nearer than what is in the middle."""
    maps = [predictor.predict(cv2.resize(photograph(shared, i), (400, 224))[None])[0].depth for i in (0, 20, 40)]
    for depth in maps:
        assert depth[-30:].mean() > depth[90:130].mean() + 0.05


def test_sizes_keep_the_aspect_and_fit_the_network(predictor):
    for height, width in ((720, 1280), (1280, 720), (480, 640), (241, 321), (2160, 4096), (33, 2000)):
        h, w = predictor.input_size(height, width)
        assert h % mini_net.STRIDE == w % mini_net.STRIDE == 0
        assert min(h, w) == (mini.SHORT if mini_openvino.native_bf16() else mini.SHORT_SLOW)
        assert abs(np.log(w / h * height / width)) < 0.04


@pytest.mark.parametrize("precision", ["auto", "fp32"])
@pytest.mark.parametrize(
    ("device", "native", "res", "short"),
    [("cpu", True, None, 288), ("cpu", False, None, 192), ("cuda:0", False, None, 288)]
    + [("cpu", True, 96, 96), ("cpu", False, 96, 96), ("cuda:0", False, 96, 96)],
)
def test_the_default_size_goes_by_the_machine(monkeypatch, device, native, res, short, precision):
    monkeypatch.setattr(mini_openvino, "native_bf16", lambda: native)
    monkeypatch.setattr(mini, "_pick_device", lambda name: device)
    monkeypatch.setattr(mini, "_network", lambda *given: SimpleNamespace(precision="fp32"))
    predictor = make_predictor("mini", ModelOptions(res=res, precision=precision))
    assert min(predictor.input_size(1080, 1920)) == short
    assert f"-{short}-{device.partition(':')[0]}-" in predictor.fingerprint  # other bits, another name


def test_tiny_frames_work(predictor):
    size = predictor.input_size(2, 3)
    assert predictor.predict(np.zeros((1, *size, 3), np.uint8))[0].depth.shape == size


def test_it_loads_without_torch_and_is_small():
    import subprocess
    import sys

    code = "import sys; from lotus2_video import *; make_predictor('mini', ModelOptions(device='cpu')); assert 'torch' not in sys.modules"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mini.weights_path().stat().st_size <= 40e6


def test_wrong_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"mini\.safetensors"):
        make_predictor("mini", ModelOptions(weights=str(tmp_path)))
    (tmp_path / mini.FILE).write_bytes(b"\x10")
    with pytest.raises(WeightsError, match="not a complete safetensors file"):
        make_predictor("mini", ModelOptions(weights=str(tmp_path)))
    from safetensors.numpy import load_file, save_file

    weights = load_file(mini.weights_path())
    weights["depth.mix.bias"] = weights["depth.mix.bias"][:3]
    save_file(weights, tmp_path / mini.FILE)
    with pytest.raises(WeightsError, match=r"depth\.mix\.bias has shape \(3,\)"):
        make_predictor("mini", ModelOptions(weights=str(tmp_path)))
    del weights["depth.mix.bias"]
    save_file(weights, tmp_path / mini.FILE)
    with pytest.raises(WeightsError, match=r"lacks depth\.mix\.bias"):
        make_predictor("mini", ModelOptions(weights=str(tmp_path)))


def test_what_it_cannot_do_is_said():
    with pytest.raises(UsageError, match="--precision"):
        make_predictor("mini", ModelOptions(precision="fp8"))
    with pytest.raises(UsageError, match="--device"):
        make_predictor("mini", ModelOptions(device="cuda:99"))
