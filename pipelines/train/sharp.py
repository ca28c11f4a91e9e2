"""The second leg: the sharpener, a rectified flow from the core's maps to maps with the truth's detail; the core stays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lotus2_video.models import mini_sharpen
from lotus2_video.models.mini_torch import TorchOps
from lotus2_video.ops import resample

from .augment import disturb, turned, uniform
from .core import forward_of, normalised, scaled
from .losses import align, flow_loss
from .run import Figures, Run
from .views import Size, Views
from .weights import working

WIDE = 12.0  # pixels, sigma of the Gaussian that divides layout from detail
# Size at which the core saw the picture, over the picture's own, and how often: 192 and 288 of 576, and others.
RATIOS = {1 / 3: 0.4, 1 / 2: 0.35, 1 / 4: 0.1, 7 / 12: 0.1, 1.0: 0.05}
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue
AT_START = 0.4  # share of pictures at t = 0, the one moment at which x_t does not give the answer away


@dataclass(frozen=True)
class Cut:
    """What a step is made of. pictures: whole pictures a step; crops: out of each; side: of a crop, pixels. photos: share of
    steps on photographs. unrolled: share of steps that go all Euler steps from the core's maps, as in use."""

    pictures: int = 24
    crops: int = 2
    side: int = 384
    photos: float = 0.2
    unrolled: float = 0.15
    scale: float = 1.0


@dataclass
class Pair:
    """rgb: float32 [N,3,h,w] in [0,1]. start, target: float32 [N,4,h,w], disparity and unit normals. weight: float32
    [N,4,h,w], how much each counts, 0 where no truth is known."""

    rgb: Tensor
    start: Tensor
    target: Tensor
    weight: Tensor


class SharpLeg:
    """Makes the loss of a step. rendered, photos: sets of views, photos may be empty."""

    def __init__(self, run: Run, rendered: Sequence[Views], photos: Sequence[Views], cut: Cut, seed: int):
        self._run, self._sets, self._cut = run, (rendered, photos), cut
        self._device = next(iter(run.weights.values())).device
        self._generator = torch.Generator(self._device).manual_seed(seed + run.steps)
        self._rng = np.random.default_rng(seed + run.steps)
        self._core = forward_of(self._device)
        frozen = {k: v.detach() for k, v in run.weights.items() if not k.startswith("sharpen.")}
        dtype = torch.bfloat16 if self._device.type == "cuda" else torch.float32
        self._frozen = working(frozen, dtype)
        self._velocity = velocity_of(self._device)

    def __call__(self, progress: float) -> tuple[Tensor, Figures]:
        with torch.no_grad():
            pair = self._crops(self._pair())
        if self._rng.random() < self._cut.unrolled:
            value = self._unrolled(pair)
        else:
            t = self._moments(len(pair.rgb))
            along = pair.target - pair.start
            value = flow_loss(
                self._velocity(self._run.weights, pair.rgb, pair.start, pair.start + t * along, t), along, pair.weight
            )
        still = flow_loss(torch.zeros_like(pair.target), pair.target - pair.start, pair.weight)
        return value, {"still": still}

    def _pair(self) -> Pair:
        rendered, photos = self._sets
        sets = photos if photos and (not rendered or self._rng.random() < self._cut.photos) else rendered
        views = sets[self._rng.choice(len(sets), p=np.array([len(v) for v in sets]) / sum(len(v) for v in sets))]
        batch = whole(views, self._cut.pictures, self._generator)
        rgb = disturb(batch[0], self._generator)
        ratio = list(RATIOS)[self._rng.choice(len(RATIOS), p=list(RATIOS.values()))]
        start = start_maps(self._core, self._frozen, rgb, ratio)
        target, weight = detailed(start, *batch[1:])
        return Pair(rgb, start, target, weight)

    def _crops(self, pair: Pair) -> Pair:
        """Random windows, the same of all maps of a picture."""
        height, width = pair.rgb.shape[-2:]
        side = [min(self._cut.side, full) // mini_sharpen.STRIDE * mini_sharpen.STRIDE for full in (height, width)]
        parts = []
        for _ in range(self._cut.crops):
            y, x = (int(self._rng.integers(0, full - cut + 1)) for full, cut in zip((height, width), side, strict=True))
            parts.append(
                [m[..., y : y + side[0], x : x + side[1]] for m in (pair.rgb, pair.start, pair.target, pair.weight)]
            )
        return Pair(*(torch.cat(maps) for maps in zip(*parts, strict=True)))

    def _moments(self, n: int) -> Tensor:
        def random() -> Tensor:
            return torch.rand(n, generator=self._generator, device=self._device)

        grid = (random() * mini_sharpen.STEPS).floor() / mini_sharpen.STEPS
        t = torch.where(random() < 0.5, grid, random())
        return torch.where(random() < AT_START, torch.zeros_like(t), t).view(n, 1, 1, 1)

    def _unrolled(self, pair: Pair) -> Tensor:
        maps = pair.start
        for i in range(mini_sharpen.STEPS):
            t = pair.rgb.new_full((len(pair.rgb), 1, 1, 1), i / mini_sharpen.STEPS)
            maps = maps + self._velocity(self._run.weights, pair.rgb, pair.start, maps, t) / mini_sharpen.STEPS
        return flow_loss(maps - pair.start, pair.target - pair.start, pair.weight)


def whole(views: Views, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random whole pictures, half of them mirrored: rgb in [0,1], disparity [N,1,h,w], normals or 0 where there are none.
    Sides are cut down to multiples of the sharpener's stride."""
    height, width = (side // mini_sharpen.STRIDE * mini_sharpen.STRIDE for side in views.size)
    index = torch.randint(len(views), (count,), generator=generator, device=views.rgb.device)
    rgb = views.rgb[index][..., :height, :width].float() / 255
    disparity = views.disparity[index][:, None, :height, :width].float()
    normal = torch.zeros_like(rgb) if views.normal is None else views.normal[index][..., :height, :width].float() / 127
    mirror = (uniform(count, 0, 1, generator, rgb.device) < 0.5).view(-1, 1, 1, 1)
    normal = torch.where(mirror, turned(normal.flip(3)), normal)
    return torch.where(mirror, rgb.flip(3), rgb), torch.where(mirror, disparity.flip(3), disparity), normal


def start_maps(
    core: Callable[[dict[str, Tensor], Tensor], list[Tensor]], weights: dict[str, Tensor], rgb: Tensor, ratio: float
) -> Tensor:
    """The core's maps [N,4,h,w] of the whole pictures shrunk by `ratio`, enlarged again along the pictures' contours, the
    normals then of length one."""
    size: Size = (rgb.shape[-2], rgb.shape[-1])
    small = F.interpolate(rgb, scaled(size, ratio), mode="bilinear", align_corners=False, antialias=True)
    depth, normal = core(weights, small)
    maps = enlarged(torch.cat([depth.clamp(0, 1), F.normalize(normal, dim=1, eps=1e-4)], 1), small, rgb)
    return torch.cat([maps[:, :1], F.normalize(maps[:, 1:], dim=1, eps=1e-4)], 1)


def enlarged(maps: Tensor, small: Tensor, guide: Tensor) -> Tensor:
    """`lotus2_video.ops.resample.upsample` on the device: maps [N,C,h,w] of `small` [N,3,h,w] at the size of the guide
    [N,3,H,W], both in [0,1]."""
    low = F.pad(torch.cat([small, maps], 1), (1, 1, 1, 1), "replicate")
    (above, below), (left, right) = (_cells(guide.shape[i], maps.shape[i], guide.device) for i in (2, 3))
    luma = guide.new_tensor(LUMA).view(1, 3, 1, 1)
    total, mixed = 0.0, torch.zeros_like(guide[:, :1])
    for dy, dx in product((0, 1), (0, 1)):
        near = low.index_select(2, above + dy).index_select(3, left + dx)
        distance = ((near[:, :3] - guide).abs() * luma).sum(1, keepdim=True) * 255
        weight = torch.exp(-distance / resample.COLOUR_REACH) + resample.LEAST_TRUST
        weight = weight * (right if dx else 1 - right) * (below if dy else 1 - below)[:, None]
        total, mixed = total + weight, mixed + weight * near[:, 3:]
    return mixed / total


def _cells(full: int, low: int, device: torch.device) -> tuple[Tensor, Tensor]:
    before, share = resample.cells(full, low)
    return torch.from_numpy(before).to(device), torch.from_numpy(share).to(device)


def detailed(start: Tensor, disparity: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
    """(target, weight): the start with the truth's detail instead of its own.

    The truth, aligned to the start by scale and shift over the picture, plus the smooth part of what the start differs from
    it by: the layout stays the core's, only detail is new. That smooth part is measured where the truth itself is
    smooth, so that a thin thing which the core missed leaves no halo.
    """
    scale, shift = align(disparity[:, 0], start[:, 0])
    truth = torch.cat([disparity * scale[:, None] + shift[:, None], normal], 1)
    exact = (normal.square().sum(1, keepdim=True) > 0.5).float().expand_as(normal)
    known = torch.cat([torch.ones_like(disparity), exact], 1)
    wave = (truth - smooth(truth)).abs()
    spread = (truth[:, :1] - truth[:, :1].mean((2, 3), keepdim=True)).abs().mean((2, 3), keepdim=True).clamp(min=0.02)
    detail = torch.cat([wave[:, :1] / spread, wave[:, 1:].mean(1, keepdim=True).expand_as(normal) / 0.2], 1)
    plain = known / (1 + (detail / 0.1).square())
    offset = smooth(plain * (start - truth)) / (smooth(plain) + 1e-4)
    target = truth + offset
    target = torch.cat([target[:, :1], F.normalize(target[:, 1:], dim=1, eps=1e-4)], 1)
    target = torch.where(known > 0, target, start)
    unit = torch.cat([spread, spread.new_full((len(spread), 3, 1, 1), 0.5)], 1)
    weight = known * (1 + 4 * detail.clamp(max=1)) / unit
    return target, weight


def smooth(x: Tensor) -> Tensor:
    """A Gaussian of WIDE pixels, computed at a quarter of the size."""
    small = F.avg_pool2d(x, 4)
    sigma = WIDE / 4
    reach = torch.arange(-9, 10, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (reach / sigma).square())
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    small = F.conv2d(F.pad(small, (9, 9, 0, 0), "replicate"), kernel, groups=x.shape[1])
    small = F.conv2d(F.pad(small, (0, 0, 9, 9), "replicate"), kernel.transpose(2, 3), groups=x.shape[1])
    return F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)


def velocity_of(device: torch.device) -> Callable[[dict[str, Tensor], Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The sharpener as it runs on the device: (float32 weights, rgb in [0,1], start, maps, t [N,1,1,1]) -> float32 velocity."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32

    def velocity(weights: dict[str, Tensor], rgb: Tensor, start: Tensor, maps: Tensor, t: Tensor) -> Tensor:
        own = working({k: v for k, v in weights.items() if k.startswith("sharpen.")}, dtype)
        size = (rgb.shape[-2], rgb.shape[-1])
        x, start, maps = (m.contiguous(memory_format=torch.channels_last) for m in (normalised(rgb), start, maps))
        return mini_sharpen.velocity(TorchOps(), own, x, start, maps, t.to(dtype), size).float()

    return velocity


@torch.no_grad()
def sharpened(weights: dict[str, Tensor], rgb: Tensor, start: Tensor) -> Tensor:
    """All Euler steps from `start`, as in use."""
    velocity, maps = velocity_of(rgb.device), start
    for i in range(mini_sharpen.STEPS):
        t = rgb.new_full((len(rgb), 1, 1, 1), i / mini_sharpen.STEPS)
        maps = maps + velocity(weights, rgb, start, maps, t) / mini_sharpen.STEPS
    return maps
