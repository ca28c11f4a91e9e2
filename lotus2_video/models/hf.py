"""hf:ID or hf:FOLDER: any depth-estimation model of transformers as a predictor.

Such models give relative disparity or relative or metric depth, each in a range of its own. Ours is disparity in [0,1], near =
large, by a rule that is fixed for a model and looks at no frame: once, while loading, the model sees a drawn corridor of
known depth. Output that rises with disparity is disparity, output that falls is depth and is inverted. It is scaled so that
the nearest surfaces of the corridor (its 98th percentile) come out at 0.5, and above 0.9 it bends so as to stay below 1.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import Kind
from ..errors import UsageError, WeightsError
from ..frames import Maps
from . import ModelOptions
from .hf_scene import scene
from .quiet import quiet_transformers
from .tensors import digest
from .torch_device import pick_device
from .weights import missing_extra

FUNCTION = "hf/1"  # changes with anything here that changes bits
NEAREST, KNEE = 0.5, 0.9
TINIEST = 1e-6  # depth below which a surface is as near as can be
BATCH = 8
_LICENCE = re.compile(r"^license(?:_name)?:\s*['\"]?([^'\"\n]+)", re.MULTILINE)
_log = logging.getLogger(__name__)


class HfPredictor:
    """A transformers model. name: an ID on the hub (from the cache) or a folder.

    licence: as the model's own page says, or "not stated". inverted: whether its output is depth. scale: what the output,
    inverted where it is depth, is multiplied by. Raises WeightsError for weights that are missing or do not fit, UsageError
    for a model of another task.
    """

    kinds: tuple[Kind, ...] = ("depth",)

    def __init__(self, name: str, options: ModelOptions):
        dtype = _dtype(options.precision)
        self._device, self._res = pick_device(options.device), options.res
        self._processor: Any
        self._model: Any
        self._processor, self._model = _load(name, dtype, self._device)
        self.licence = licence(name)
        self.inverted, self.scale = self._calibrate()
        sense = "depth" if self.inverted else "disparity"
        _log.info("hf:%s gives %s, scaled by %.2g; licence: %s", name, sense, self.scale, self.licence)
        made = (FUNCTION, _digest(name), str(dtype), self._device.type, str(options.res), f"{self.scale:.2g}")
        self.fingerprint = " ".join(made)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The source's own size, or a short side of `res`: the model's processor resizes from there."""
        if self._res is None or self._res >= min(height, width):
            return height, width
        shrink = self._res / min(height, width)
        return max(1, round(height * shrink)), max(1, round(width * shrink))

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        """uint8 [N,h,w,3] -> N Maps with depth at that size. sharpen: there is no sharpener, it changes nothing."""
        return [Maps(depth=self._disparity(raw)) for raw in self.raw(rgb)]

    @torch.no_grad()
    def raw(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 [N,h,w,3] -> what transformers' own depth-estimation pipeline calls predicted_depth: float32 [N,h,w]."""
        step = BATCH if self._device.type == "cuda" else 1  # on the CPU a batch of N is N times one, to the last bit
        return np.concatenate([self._raw(rgb[start : start + step]) for start in range(0, len(rgb), step)])

    def _raw(self, rgb: np.ndarray) -> np.ndarray:
        inputs = self._processor(images=list(rgb), return_tensors="pt", input_data_format="channels_last")
        outputs = self._model(**inputs.to(self._device, self._model.dtype))
        maps = self._processor.post_process_depth_estimation(outputs, [rgb.shape[1:3]] * len(rgb))
        return torch.stack([m["predicted_depth"] for m in maps]).float().cpu().numpy()

    def _disparity(self, raw: np.ndarray) -> np.ndarray:
        near = 1 / np.maximum(raw, TINIEST) if self.inverted else raw
        return soft_limit(near * np.float32(self.scale))

    def _calibrate(self) -> tuple[bool, float]:
        """Whether the output is depth, and its scale, to two digits so that another machine reads the same."""
        picture, disparity = scene()
        raw = self.raw(picture[None])[0]
        inverted = bool(np.corrcoef(raw.ravel(), disparity.ravel())[0, 1] < 0)
        near = 1 / np.maximum(raw, TINIEST) if inverted else raw
        nearest = float(np.percentile(near, 98))
        return inverted, float(f"{NEAREST / nearest:.1e}") if nearest > 0 else 1.0

    def close(self) -> None:
        """Lets the weights go. Idempotent."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def make(rest: str, options: ModelOptions) -> HfPredictor:
    """For the registry."""
    if not rest:
        raise UsageError(
            "hf: takes a model's ID or folder", "--model", "for example hf:depth-anything/Depth-Anything-V2-Small-hf"
        )
    if options.weights is not None:
        raise UsageError("a folder of weights goes into the model's name, hf:FOLDER", "--weights")
    return HfPredictor(rest, options)


def soft_limit(x: np.ndarray) -> np.ndarray:
    """x itself from 0 to 0.9, above that a smooth bend that stays below 1, below 0 it is 0: float32 in, float32 out."""
    bent = KNEE + (1 - KNEE) * -np.expm1(-np.maximum(x - KNEE, 0, dtype=np.float64) / (1 - KNEE))
    return np.where(x > KNEE, bent, np.maximum(x, 0)).astype(np.float32)


def licence(name: str) -> str:
    """The licence in the model card of a folder or of the cache, or "not stated"."""
    card = _card(name)
    if card is None:
        return "not stated"
    head = card.read_text("utf-8", errors="replace").split("\n---", 1)[0]
    found = _LICENCE.search(head)
    return found[1].strip() if found else "not stated"


def _card(name: str) -> Path | None:
    if Path(name).is_dir():
        path = Path(name) / "README.md"
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "README.md")
    return Path(found) if isinstance(found, str) else None


def _dtype(precision: str) -> torch.dtype:
    if precision == "fp8":
        raise UsageError("fp8 is for lotus-2 only", "--precision", "use auto, fp32, fp16 or bf16")
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)


def _load(name: str, dtype: torch.dtype, device: torch.device) -> tuple[Any, Any]:
    try:
        from transformers import (
            MODEL_FOR_DEPTH_ESTIMATION_MAPPING,
            AutoConfig,
            AutoImageProcessor,
            AutoModelForDepthEstimation,
        )
    except ImportError as error:
        raise missing_extra(error) from error
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=True)
        if type(config) not in MODEL_FOR_DEPTH_ESTIMATION_MAPPING:
            hint = "see https://huggingface.co/models?pipeline_tag=depth-estimation&library=transformers"
            raise UsageError(f"hf:{name} is a {config.model_type}, no depth-estimation model", "--model", hint)
        processor = AutoImageProcessor.from_pretrained(name, local_files_only=True)
        with quiet_transformers():
            model, report = AutoModelForDepthEstimation.from_pretrained(
                name, dtype=dtype, local_files_only=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreadable(name, error) from error
    for fault in ("missing_keys", "mismatched_keys"):
        if report[fault]:
            raise WeightsError(
                f"{fault.replace('_', ' ')}: {sorted(report[fault])[0]}", f"hf:{name}", "these weights are incomplete"
            )
    return processor, model.to(device).eval()


def _unreadable(name: str, error: Exception) -> WeightsError:
    if Path(name).is_dir():
        what = str(error).strip().splitlines()[0]
        return WeightsError(
            f"cannot be read as a transformers model ({what})", name, "it should hold config.json and weights"
        )
    hint = f"check https://huggingface.co/{name}, then run `lotus2-video models fetch hf:{name}`"
    return WeightsError("not in the Hugging Face cache, or not complete", f"hf:{name}", hint)


def _digest(name: str) -> str:
    """Changes with the content of a folder's files, or with the commit in the cache."""
    if Path(name).is_dir():
        return digest(path for path in sorted(Path(name).iterdir()) if path.suffix in (".json", ".safetensors", ".bin"))
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    return Path(found).parent.name if isinstance(found, str) else "unknown"
