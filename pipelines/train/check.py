"""Held-out figures while training runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lotus2_video.ops import metrics

from .core import forward_of, scaled
from .sharp import sharpened, start_maps
from .views import Views

FAR = 80.0  # metres; what is farther is not measured
SHORT = 192  # the smaller of the product's two default short sides


Figures = dict[str, float]
Maps = tuple[Tensor, Tensor, Tensor, Tensor | None]  # depth [N,h,w], normals, and the truths


@torch.no_grad()
def check_core(
    weights: dict[str, Tensor], photos: Sequence[Views], rendered: Sequence[Views], scale: float = 1.0
) -> Figures:
    """The error against the teacher on photographs, against the truth on rendered frames, and that of normals there, in
    degrees."""
    found: Figures = {}
    if photos:
        found["photos"] = _mean([_far_from_teacher(*m) for m in _each(weights, photos, scale)])
    if rendered:
        parts = list(_each(weights, rendered, scale))
        found["absrel"] = _mean([_absrel(*m) for m in parts])
        angles = torch.cat([_angles(*m) for m in parts])
        found["degrees"] = angles.mean().item()
        found["within_11"] = (angles < 11.25).float().mean().item()
    return found


def _each(weights: dict[str, Tensor], sets: Sequence[Views], scale: float) -> Iterator[Maps]:
    """(depth, normals, disparity, true normals) of every 16 views, all at the views' size; they run as in use."""
    forward = forward_of(sets[0].rgb.device)
    for views in sets:
        size = scaled(views.size, SHORT * scale / min(views.size))
        for at in range(0, len(views), 16):
            rgb = F.interpolate(views.rgb[at : at + 16].float() / 255, size, mode="bilinear", antialias=True)
            depth, raw = (
                F.interpolate(m, views.size, mode="bilinear", align_corners=False) for m in forward(weights, rgb)
            )
            normal = None if views.normal is None else views.normal[at : at + 16].float()
            yield depth[:, 0], raw, views.disparity[at : at + 16].float(), normal


def _aligned(depth: Tensor, truth: Tensor) -> Tensor:
    """By least squares, [N,h,w]."""
    p, t = (x - x.mean((1, 2), keepdim=True) for x in (depth, truth))
    scale = (p * t).mean((1, 2), keepdim=True) / (p * p).mean((1, 2), keepdim=True).clamp(min=1e-9)
    return truth.mean((1, 2), keepdim=True) + scale * p


def _far_from_teacher(depth: Tensor, _raw: Tensor, truth: Tensor, _normal: Tensor | None) -> Tensor:
    """Mean of |difference| over the disparity, a tenth of its mean added, [N]."""
    away = (_aligned(depth, truth) - truth).abs()
    return (away / (truth + 0.1 * truth.mean((1, 2), keepdim=True))).mean((1, 2))


def _absrel(depth: Tensor, _raw: Tensor, truth: Tensor, _normal: Tensor | None) -> Tensor:
    """AbsRel of depth nearer than FAR, [N]."""
    known = (truth > 1 / FAR).float()
    predicted = _aligned(depth, truth).clamp(min=1 / FAR)
    error = (truth / predicted - 1).abs() * known
    return error.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)


def _angles(_depth: Tensor, raw: Tensor, _truth: Tensor, normal: Tensor | None) -> Tensor:
    """Degrees, of every 7th pixel that has a normal."""
    assert normal is not None
    cosine = F.cosine_similarity(raw, normal, dim=1, eps=1e-4)
    angles = torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).flatten()
    return angles[normal.square().sum(1).flatten() > 0][::7]


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).mean().item()


@torch.no_grad()
def check_sharp(weights: dict[str, Tensor], views: Views, ratio: float = 0.5) -> Figures:
    """Boundary F1, AbsRel and the error of normals in degrees, on rendered frames: of the core alone, and sharpened."""
    forward = forward_of(views.rgb.device)
    rows = []
    for at in range(len(views)):
        height, width = (side // 8 * 8 for side in views.size)
        truth = views.disparity[at, :height, :width].float()
        assert views.normal is not None
        normal = views.normal[at : at + 1, :, :height, :width].float()
        rgb = views.rgb[at : at + 1, :, :height, :width].float() / 255
        start = start_maps(forward, weights, rgb, ratio)
        both = torch.cat([start, sharpened(weights, rgb, start)])
        angles = [_angles(m[None, :1], m[None, 1:], truth, normal).mean().item() for m in both]
        rows.append([*_scores(both[0, 0], truth), angles[0], *_scores(both[1, 0], truth), angles[1]])
    names = [f"{name}_{which}" for which in ("core", "sharpened") for name in ("f1", "absrel", "degrees")]
    found = dict(zip(names, np.mean(rows, axis=0).tolist(), strict=True))
    return found | {
        "f1_gain": found["f1_sharpened"] / max(found["f1_core"], 1e-9),
        "absrel_ratio": found["absrel_sharpened"] / found["absrel_core"],
    }


def _scores(disparity: Tensor, truth: Tensor) -> tuple[float, float]:
    """(boundary F1, AbsRel), aligned to the truth by least squares in disparity, depth up to FAR."""
    limits = (1e-3, FAR)
    predicted, depth = disparity.cpu().numpy(), 1 / truth.clamp(min=1 / FAR).cpu().numpy()
    shifted = predicted - predicted.min() + 1e-3  # of an affine disparity no value is below the limit of the fit
    aligned = metrics.to_depth(shifted, *metrics.align_least_squares_disparity(shifted, depth, limits), limits)
    known = depth < 0.99 * FAR
    return metrics.boundary_f1(aligned, depth), float(np.mean(np.abs(aligned - depth)[known] / depth[known]))
