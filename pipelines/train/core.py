"""The first leg: the core, depth and normals in one pass, from labelled photographs and exact rendered frames."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from lotus2_video.models import mini_net
from lotus2_video.models.mini_torch import TorchOps

from .augment import disturb, draw
from .losses import consistency_loss, depth_loss, normal_loss
from .run import Figures, Run
from .views import SHAPES, Size, Views
from .weights import KINDS, working

REFERENCE = 288 * 512  # pixels of the picture size that batch sizes are told for


@dataclass(frozen=True)
class Diet:
    """What a step is made of. photos, rendered: pictures of the REFERENCE size. scale: of the picture sizes. consistency:
    weight of the agreement of normals on mirrored photographs; every sixth is mirrored."""

    photos: int = 96
    rendered: int = 48
    scale: float = 1.0
    normals: float = 1.0
    consistency: float = 0.1
    compile: bool = False


class CoreLeg:
    """Makes the loss of a step. photos, rendered: sets of views, either may be empty; then the other fills the step. `rendered`
    may be exchanged between two steps."""

    def __init__(self, run: Run, photos: Sequence[Views], rendered: list[Views], diet: Diet, seed: int):
        self._run, self._photos, self.rendered, self._diet = run, photos, rendered, diet
        self._device = next(iter(run.weights.values())).device
        self._generator = torch.Generator(self._device).manual_seed(seed + run.steps)
        self._rng = np.random.default_rng(seed + run.steps)
        self._forward = forward_of(self._device, diet.compile)

    def __call__(self, progress: float) -> tuple[Tensor, Figures]:
        shape = self._pick_shape()
        batches = [draw(nearest(sets, shape), shape, n, self._generator) for sets, n in self._counts(shape)]
        rgb, disparity, normal = (torch.cat([getattr(b, k) for b in batches]) for k in ("rgb", "disparity", "normal"))
        rgb = disturb(rgb, self._generator)
        mirrored = len(batches[0].rgb) // 6 if self._photos and self._diet.consistency > 0 else 0
        seen = torch.cat([rgb, rgb[:mirrored].flip(3)])
        depth, raw = self._forward(self._run.weights, seen)
        known = len(rgb)
        exact = len(batches[0].rgb) if self._photos else 0  # from here on the truth is exact
        deep = depth_loss(depth[:known, 0], disparity[:, 0])
        turned = normal_loss(raw[exact:known], normal[exact:]) if self.rendered else deep.new_zeros(())
        alike = consistency_loss(raw[:mirrored], raw[known:]) if mirrored else deep.new_zeros(())
        value = deep + self._diet.normals * turned + self._diet.consistency * alike
        return value, {"depth": deep.detach(), "normal": turned.detach(), "mirror": alike.detach()}

    def _pick_shape(self) -> Size:
        shapes, odds = list(SHAPES), np.array(list(SHAPES.values()))
        return scaled(shapes[self._rng.choice(len(shapes), p=odds / odds.sum())], self._diet.scale)

    def _counts(self, shape: Size) -> list[tuple[Sequence[Views], int]]:
        """(sets, how many of them), photographs first."""
        sizes = [(self._photos, self._diet.photos), (self.rendered, self._diet.rendered)]
        total, there = sum(n for _, n in sizes), sum(n for sets, n in sizes if sets)
        more = REFERENCE * self._diet.scale**2 / math.prod(shape) * total / there
        return [(sets, max(1, round(n * more))) for sets, n in sizes if sets]


def scaled(shape: Size, scale: float, stride: int = mini_net.STRIDE) -> Size:
    return max(stride, round(shape[0] * scale / stride) * stride), max(
        stride, round(shape[1] * scale / stride) * stride
    )


def nearest(sets: Sequence[Views], shape: Size) -> Views:
    """The set whose aspect ratio is nearest to that of `shape`; of several, the one whose size is."""

    def distance(views: Views) -> float:
        height, width = views.size
        return abs(math.log(width / height * shape[0] / shape[1])) + 0.02 * abs(math.log(height / shape[0]))

    return min(sets, key=distance)


def forward_of(device: torch.device, compiled: bool = False) -> Callable[[dict[str, Tensor], Tensor], list[Tensor]]:
    """The core as it runs on the device, in the product's precision: (float32 weights, rgb in [0,1]) -> float32 maps."""
    core = torch.compile(mini_net.core, dynamic=False) if compiled else mini_net.core
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def forward(weights: dict[str, Tensor], rgb: Tensor) -> list[Tensor]:
        x = normalised(rgb).contiguous(memory_format=torch.channels_last)
        size = (rgb.shape[-2], rgb.shape[-1])
        return [m.float() for m in core(TorchOps(), working(weights, dtype), x, size, KINDS)]

    return forward


def normalised(rgb: Tensor) -> Tensor:
    """As `mini_torch.normalised`, but with constants that are on the device already: to make them there waits for it."""
    mean, std = _constants(rgb.device)
    return (rgb - mean) / std


@cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))
    return mean, std
