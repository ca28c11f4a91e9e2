"""Views: pictures of one shape with the maps to be learned, kept on the device in few bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lotus2_video.models import mini_net

from .pictures import Picture

Size = tuple[int, int]  # height, width
# The student's picture sizes, most often the product's defaults, and how often each is trained on.
SHAPES: dict[Size, float] = {
    (192, 336): 0.30,
    (288, 512): 0.22,
    (192, 256): 0.10,
    (288, 384): 0.10,
    (256, 192): 0.04,
    (384, 288): 0.04,
    (336, 192): 0.05,
    (192, 192): 0.04,
    (192, 576): 0.06,
    (336, 592): 0.05,
}
SHARP_SHAPES: dict[Size, float] = {(384, 672): 0.6, (384, 512): 0.4}  # views for the sharpener
VIEWS = {"lidar": 60, "camvid": 12, "marigold_page": 16, "tiefling": 16, "frames": 12}  # a picture; other sources 8
MARGIN = 1.15  # views are kept this much larger than the student's picture, for a random crop at every step
LARGE = 280  # pixels of the short side from which a picture is large enough for the sharpener


@dataclass
class Views:
    """Pictures of one shape. rgb: uint8 [N,3,h,w]. disparity: float16 [N,h,w], near = large, in any unit, 0 at infinity.
    normal: int8 [N,3,h,w], 127 times the unit vector, +X right +Y up +Z toward the viewer, 0 where there is none; None for
    photographs. labels: N names, of the group of pictures or the kind of scene."""

    rgb: Tensor
    disparity: Tensor
    normal: Tensor | None
    labels: list[str]

    def __len__(self) -> int:
        return len(self.rgb)

    @property
    def size(self) -> Size:
        return self.rgb.shape[-2], self.rgb.shape[-1]

    def only(self, chosen: Sequence[int]) -> Views:
        index = torch.tensor(list(chosen), dtype=torch.long, device=self.rgb.device)
        normal = None if self.normal is None else self.normal[index]
        return Views(self.rgb[index], self.disparity[index], normal, [self.labels[i] for i in chosen])

    def without(self, groups: Sequence[str]) -> Views:
        kept = [i for i, label in enumerate(self.labels) if label not in groups]
        return self if len(kept) == len(self) else self.only(kept)


def cut_views(
    pictures: list[Picture],
    teacher: Teacher,
    density: float,
    rng: np.random.Generator,
    shapes: Mapping[Size, float] = SHAPES,
    scale: float = 1.0,
) -> list[Views]:
    """Labelled views of every picture, a set for each of the shapes; `density` scales how many a picture, `scale` their
    size."""
    plans: dict[Size, tuple[list[Tensor], list[str]]] = {shape: ([], []) for shape in shapes}
    for picture in pictures:
        image = torch.from_numpy(picture.rgb).to(teacher.device).permute(2, 0, 1)[None].float()
        for shape in _pick_shapes(picture.source, _often(picture.source, density, rng), shapes, rng):
            size = (round(shape[0] * scale * MARGIN / 2) * 2, round(shape[1] * scale * MARGIN / 2) * 2)
            theta = torch.tensor([_crop(picture.rgb.shape[:2], size, rng)], dtype=torch.float32, device=teacher.device)
            where = F.affine_grid(theta, [1, 3, *size], align_corners=False)
            view = F.grid_sample(image, where, "bicubic", "reflection", align_corners=False)
            plans[shape][0].append(view.round().clamp(0, 255).byte()[0])
            plans[shape][1].append(picture.group)
    sets = [(torch.stack(views), labels) for views, labels in plans.values() if views]
    return [Views(rgb, teacher.label(rgb), None, names) for rgb, names in sets]


def _often(source: str, density: float, rng: np.random.Generator) -> int:
    """How many views of a picture: a whole number whose mean is the one asked for."""
    return math.floor(VIEWS.get(source, 8) * density + rng.uniform())


def _pick_shapes(source: str, count: int, shapes: Mapping[Size, float], rng: np.random.Generator) -> list[Size]:
    names, odds = list(shapes), np.array(list(shapes.values()))
    if source in ("lidar", "camvid"):
        odds = np.where([width > 1.7 * height for height, width in names], odds + 0.3, odds)
    return [names[i] for i in rng.choice(len(names), count, p=odds / odds.sum())]


def _crop(full: Sequence[int], size: Size, rng: np.random.Generator) -> list[list[float]]:
    """The affine map (2x3, in coordinates from -1 to 1) of a random crop of the aspect of `size`, turned a little, flipped
    half the time."""
    height, width = full
    zoom = min(height / size[0], width / size[1]) * rng.uniform(0.55, 1.0) ** 0.7
    half_h, half_w = size[0] * zoom / 2, size[1] * zoom / 2
    x, y = rng.uniform(half_w, width - half_w), rng.uniform(half_h, height - half_h)
    angle = math.radians(float(np.clip(rng.normal(0, 4), -12, 12)))
    cos, sin, flip = math.cos(angle), math.sin(angle), rng.choice([-1.0, 1.0])
    return [
        [2 * flip * half_w * cos / width, -2 * half_h * sin / width, 2 * x / width - 1],
        [2 * flip * half_w * sin / height, 2 * half_h * cos / height, 2 * y / height - 1],
    ]


class Teacher:
    """The network to learn from: uint8 [N,3,h,w] -> disparity float16 [N,h,w], the near end of each view at 1."""

    def __init__(self, folder: Path, device: torch.device, short: int):
        from transformers import AutoModelForDepthEstimation

        self.device, self._short = device, short
        net = AutoModelForDepthEstimation.from_pretrained(folder, dtype=torch.bfloat16)
        self._net = net.to(device, memory_format=torch.channels_last).eval()
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))

    def label(self, rgb: Tensor) -> Tensor:
        """Any number of views, in parts that fit."""
        return torch.cat([self(part) for part in rgb.split(max(1, round(64 * (420 / self._short) ** 2)))])

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        height, width = rgb.shape[-2:]
        short = self._short * 2 / 3 if width > 2.2 * height else self._short  # as it does best on very wide pictures
        scale = short / min(height, width)
        size = [max(14, round(side * scale / 14) * 14) for side in (height, width)]
        x = F.interpolate(rgb.float() / 255, size, mode="bicubic", align_corners=False)
        x = ((x - self._mean) / self._std).bfloat16().contiguous(memory_format=torch.channels_last)
        disparity = self._net(x).predicted_depth.float()
        disparity = F.interpolate(disparity[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        near = torch.quantile(disparity.flatten(1)[:, ::16], 0.98, dim=1).clamp(min=1e-3)
        return (disparity / near[:, None, None]).half()
