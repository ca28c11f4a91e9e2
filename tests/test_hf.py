"""hf:ID against transformers' own pipeline, and the rule that turns any output into our disparity."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lotus2_video.errors import UsageError, WeightsError  # noqa: E402
from lotus2_video.models import ModelOptions, make_predictor  # noqa: E402
from lotus2_video.models.hf import HfPredictor, licence, soft_limit  # noqa: E402
from lotus2_video.models.hf_scene import scene  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
ON_CPU = ModelOptions(device="cpu")


@pytest.fixture(scope="module")
def full(shared: Path) -> Path:
    """The teacher as it is, at a short side of 518: seconds a frame on a slow core."""
    return shared / "data" / "teacher" / "depth-anything-v2-small"


@pytest.fixture(scope="module")
def small(full: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same network told to look at a short side of 126."""
    folder = tmp_path_factory.mktemp("teacher")
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(full / name)
    settings = json.loads((full / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"size": {"height": 126, "width": 126}}))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def teacher(small: Path) -> HfPredictor:
    made = make_predictor(f"hf:{small}", ON_CPU)
    assert isinstance(made, HfPredictor)
    return made


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """The drawn corridor from another side, small: uint8 [150,250,3]."""
    return np.ascontiguousarray(cv2.resize(scene()[0][:, ::-1], (250, 150), interpolation=cv2.INTER_AREA))


def _pipelines_depth(folder: Path, picture: np.ndarray, device: str = "cpu") -> np.ndarray:
    from PIL import Image
    from transformers import pipeline

    theirs = pipeline("depth-estimation", model=str(folder), dtype=torch.float32, device=device)
    return theirs(Image.fromarray(picture))["predicted_depth"].cpu().numpy()


def test_raw_output_is_the_pipelines_predicted_depth(teacher: HfPredictor, small: Path, picture: np.ndarray) -> None:
    upright = np.ascontiguousarray(picture.transpose(1, 0, 2))
    for frame in (picture, upright):
        found = teacher.raw(frame[None])
        assert found.shape == (1, *frame.shape[:2])
        np.testing.assert_allclose(found[0], _pipelines_depth(small, frame), rtol=0, atol=1e-3)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_real_teacher_at_its_own_size(full: Path, picture: np.ndarray, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    teacher = HfPredictor(str(full), ModelOptions(device=device, precision="fp32"))
    wanted = _pipelines_depth(full, picture, device)
    np.testing.assert_allclose(teacher.raw(picture[None])[0], wanted, rtol=0, atol=1e-3)
    assert wanted.max() > 1  # so that 1e-3 says something
    assert teacher.scale == 0.26


def test_disparity_is_fixed_in_range_and_rises_toward_the_camera(teacher: HfPredictor, picture: np.ndarray) -> None:
    depth = teacher.predict(picture[None])[0].depth
    assert depth is not None
    assert depth.shape == picture.shape[:2]
    assert depth.dtype == np.float32
    assert 0 <= depth.min() < 0.2
    assert 0.3 < depth.max() <= 1
    truth = cv2.resize(scene()[1][:, ::-1], (250, 150), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(depth.ravel(), truth.ravel())[0, 1] > 0.9


def test_a_frame_keeps_its_bits_and_its_scale_beside_others(teacher: HfPredictor, picture: np.ndarray) -> None:
    """Law 1, and no range taken from the frame: half the picture alone is not stretched to fill it."""
    alone = teacher.predict(picture[None])[0].depth
    together = teacher.predict(np.stack([255 - picture, picture]))[1].depth
    np.testing.assert_array_equal(together, alone)
    raw = teacher.raw(picture[None])[0]
    assert alone is not None
    below = raw * teacher.scale < 0.9
    np.testing.assert_allclose(alone[below], np.maximum(raw * teacher.scale, 0)[below], atol=1e-6)


def test_the_sense_and_the_scale_are_read_off_the_corridor(teacher: HfPredictor) -> None:
    assert not teacher.inverted
    assert 0.5 * 0.5 < teacher.scale * np.percentile(teacher.raw(scene()[0][None]), 98) < 0.55


class _Drawn(HfPredictor):
    """A network that knows the corridor by heart and tells it in a unit of its own."""

    def __init__(self, tell: Callable[[np.ndarray], np.ndarray]):
        self._tell = tell
        self.inverted, self.scale = self._calibrate()

    def raw(self, rgb: np.ndarray) -> np.ndarray:
        return np.stack([self._tell(scene()[1]) for _ in rgb]).astype(np.float32)


@pytest.mark.parametrize(
    ("tell", "inverted"),
    [
        (lambda disparity: disparity, False),
        (lambda disparity: 1000 * disparity + 3, False),
        (lambda disparity: 1 / disparity, True),  # metric depth
        (lambda disparity: 0.1 / disparity, True),
        (lambda disparity: 5 - disparity, True),
    ],
)
def test_any_output_becomes_disparity(tell: Callable[[np.ndarray], np.ndarray], inverted: bool) -> None:
    drawn = _Drawn(tell)
    assert drawn.inverted == inverted
    depth = drawn.predict(scene()[0][None])[0].depth
    assert depth is not None
    assert np.percentile(depth, 98) == pytest.approx(0.5, rel=0.06)
    assert np.corrcoef(depth.ravel(), scene()[1].ravel())[0, 1] > 0.9


def test_metric_depth_of_nothing_and_of_infinity() -> None:
    drawn = _Drawn(lambda disparity: 1 / disparity)
    found = drawn._disparity(np.array([0, -1, np.inf, 1e9], np.float32))
    np.testing.assert_allclose(found, [1, 1, 0, 0], atol=1e-6)


def test_the_limit_bends_without_a_break() -> None:
    x = np.linspace(-1, 30, 100_001, dtype=np.float32)
    y = soft_limit(x)
    assert y.dtype == np.float32
    assert y.min() == 0
    assert y.max() <= 1
    assert (np.diff(y[x > 0]) >= 0).all()
    np.testing.assert_array_equal(y[(x >= 0) & (x <= 0.9)], x[(x >= 0) & (x <= 0.9)])
    slope = np.diff(y) / np.diff(x)
    assert slope[(x[:-1] > 0.85) & (x[:-1] < 0.901)].min() > 0.97


def test_input_size_is_the_sources_own_or_res(teacher: HfPredictor) -> None:
    assert teacher.input_size(1080, 1920) == (1080, 1920)
    smaller = HfPredictor.__new__(HfPredictor)
    smaller._res = 270
    assert smaller.input_size(1080, 1920) == (270, 480)
    assert smaller.input_size(100, 200) == (100, 200)


# -- what cannot be run -------------------------------------------------------------------------------------------------


def test_licence_is_the_model_cards(teacher: HfPredictor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert teacher.licence == "not stated"
    (tmp_path / "README.md").write_text("---\ntags:\n- depth\nlicense: cc-by-nc-4.0\n---\n# A model\nlicense: no\n")
    assert licence(str(tmp_path)) == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("# A model without a header\n---\nlicense: mit\n")
    assert licence(str(tmp_path)) == "not stated"


def test_the_log_says_how_the_output_is_read(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lotus2_video"):
        make_predictor(f"hf:{small}", ON_CPU)
    assert "gives disparity, scaled by 0." in caplog.text
    assert "licence: not stated" in caplog.text


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot be read as a transformers model"):
        make_predictor(f"hf:{tmp_path}", ON_CPU)


def test_a_model_that_is_not_in_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"models fetch hf:nobody/nothing`") as caught:
        make_predictor("hf:nobody/nothing", ON_CPU)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="is a bert, no depth-estimation model"):
        make_predictor(f"hf:{tmp_path}", ON_CPU)


def test_incomplete_weights_are_refused_by_the_key(full: Path, tmp_path: Path) -> None:
    """transformers would fill in random numbers and only warn."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(full / "model.safetensors")
    tensors.pop("head.conv1.weight")
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((full / name).read_bytes())
    with pytest.raises(WeightsError, match=r"missing keys: head\.conv1\.weight"):
        make_predictor(f"hf:{tmp_path}", ON_CPU)


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("hf:", ON_CPU, "takes a model's ID or folder"),
        ("hf:x", ModelOptions(weights="somewhere"), "hf:FOLDER"),
        ("hf:x", ModelOptions(precision="fp8"), "fp8 is for lotus-2 only"),
        ("hf:x", ModelOptions(kinds=("normal",)), "hf makes depth, not normal"),
        ("hf:x", ModelOptions(device="tpu"), "takes auto, cpu, cuda or cuda:N"),
        ("hf:x", ModelOptions(device="cuda:99"), "there is no cuda:99 here"),
    ],
)
def test_options_that_make_no_sense(model: str, options: ModelOptions, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make_predictor(model, options)
