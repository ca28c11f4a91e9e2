"""Models to compare with: any of ours by name, and any of transformers' by folder, run as its own documentation does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lotus2_video import ModelOptions, make_predictor
from lotus2_video.ops.resample import shrink, upsample

Estimate = Callable[[np.ndarray], dict[str, np.ndarray]]  # uint8 [H,W,3] -> {"depth": disparity, "normal": ...}


def ours(model: str, options: ModelOptions | None = None) -> Estimate:
    """One of our models, per frame, run at its default size, its maps as a user gets them, at the size of the picture; with its
    sharpener if the options ask for that."""
    options = options or ModelOptions()
    predictor = make_predictor(model, options)

    def estimate(rgb: np.ndarray) -> dict[str, np.ndarray]:
        small = shrink(rgb, predictor.input_size(*rgb.shape[:2]))
        maps = upsample(predictor.predict(small[None], sharpen=options.sharpen)[0], rgb)
        return {name: value for name, value in vars(maps).items() if value is not None}

    return estimate


def transformers_model(folder: str) -> Estimate:
    """A depth-estimation model through transformers in torch, its default size being that of the short side."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    processor = AutoImageProcessor.from_pretrained(folder)
    network = AutoModelForDepthEstimation.from_pretrained(folder).float().eval()

    @torch.inference_mode()
    def estimate(rgb: np.ndarray) -> dict[str, np.ndarray]:
        scale = processor.size["height"] / min(rgb.shape[:2])
        size = {"height": round(rgb.shape[0] * scale), "width": round(rgb.shape[1] * scale)}
        inputs = processor(images=rgb, size=size, keep_aspect_ratio=False, return_tensors="pt")
        return {"depth": network(**inputs).predicted_depth[0].numpy()}

    return estimate
