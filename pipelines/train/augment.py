"""What the student sees: random crops of views, disturbed as cameras disturb. All on the device, different for each picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .views import MARGIN, Size, Views


@dataclass
class Batch:
    """rgb: float32 [N,3,h,w] in [0,1]. disparity: float32 [N,1,h,w]. normal: float32 [N,3,h,w], unit, 0 where none is known."""

    rgb: Tensor
    disparity: Tensor
    normal: Tensor


def draw(views: Views, shape: Size, count: int, generator: torch.Generator) -> Batch:
    """Random crops of random views, flipped half the time, undisturbed. Exact maps are taken from the nearest pixel, so that
    no value lies between a thing and what is behind it."""
    device = views.rgb.device
    index = torch.randint(len(views), (count,), generator=generator, device=device)
    scale = uniform(count, 1 / MARGIN**1.3, 1.0, generator, device)
    shift = (torch.rand(count, 2, generator=generator, device=device) * 2 - 1) * (1 - scale)[:, None]
    flip = torch.where(torch.rand(count, generator=generator, device=device) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flip, scale, shift
    where = F.affine_grid(theta, [count, 1, *shape], align_corners=False)
    rgb = F.grid_sample(views.rgb[index].float() / 255, where, padding_mode="border", align_corners=False)
    mode = "bilinear" if views.normal is None else "nearest"
    disparity = views.disparity[index].float()[:, None]
    disparity = F.grid_sample(disparity, where, mode, padding_mode="border", align_corners=False)
    if views.normal is None:
        return Batch(rgb, disparity, torch.zeros_like(rgb))
    normal = F.grid_sample(views.normal[index].float(), where, mode, padding_mode="border", align_corners=False)
    normal = F.normalize(normal, dim=1, eps=1.0)
    return Batch(rgb, ranged(disparity), turned(normal, flip.view(-1, 1, 1, 1)))


def turned(normal: Tensor, side: Tensor | float = -1.0) -> Tensor:
    """Normals [N,3,h,w] as a picture mirrored left to right has them, where `side` is -1 (the pixels stay where they are)."""
    return torch.cat([normal[:, :1] * side, normal[:, 1:]], 1)


def ranged(disparity: Tensor, far: float = 0.11) -> Tensor:
    """Exact disparity [N,1,h,w], 0 at infinity, as the teacher's lies on photographs: the near end at 1, infinity at 0, and
    where no sky is seen, the far end at `far` or below."""
    some = disparity.flatten(1)[:, ::7]
    low, near = (torch.quantile(some, q, dim=1).view(-1, 1, 1, 1) for q in (0.02, 0.98))
    near = near.clamp(min=1e-3)
    shift = torch.where(low > 0, (low - far * near) / (1 - far), 0.0).clamp(min=0)
    shift = torch.minimum(shift, 0.95 * near)
    return ((disparity - shift) / (near - shift)).clamp(0, 3)


def uniform(count: int, low: float, high: float, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, device=device) * (high - low) + low


def disturb(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """What cameras do to pictures [N,3,h,w] in [0,1]: exposure, colour, blur, noise, compression. N in random order."""
    n, device = len(rgb), rgb.device

    def some(low: float, high: float) -> Tensor:
        return uniform(n, low, high, generator, device).view(n, 1, 1, 1)

    def often(odds: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator, device=device) < odds

    order = torch.randperm(n, generator=generator, device=device)
    rgb = rgb.index_copy(0, order[: n // 6], _motion_blur(rgb[order[: n // 6]], generator)) if n >= 6 else rgb
    low_res = F.interpolate(F.avg_pool2d(rgb, 2), rgb.shape[-2:], mode="bilinear", align_corners=False)
    rgb = torch.where(often(0.1), low_res, rgb)
    rgb = rgb.clamp(1e-4, 1) ** torch.exp(some(-0.3, 0.3))
    rgb = rgb * torch.exp(some(-0.3, 0.2)) * (1 + 0.05 * torch.randn(n, 3, 1, 1, generator=generator, device=device))
    mean = rgb.mean((1, 2, 3), keepdim=True)
    rgb = (rgb - mean) * some(0.8, 1.2) + mean
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + (rgb - grey) * torch.where(often(0.06), torch.zeros_like(grey[:, :, :1, :1]), some(0.6, 1.4))
    noise = torch.randn(rgb.shape, generator=generator, device=device) * some(0, 0.04) * often(0.3)
    rgb = (rgb + noise).clamp(0, 1)
    packed = order[n - n // 6 :]
    return rgb.index_copy(0, packed, _compressed(rgb[packed], generator)) if n >= 6 else rgb


def _motion_blur(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture smeared along a line of its own, up to 14 pixels long."""
    n, height, width = len(rgb), *rgb.shape[-2:]
    angle = uniform(n, 0, math.pi, generator, rgb.device)
    reach = uniform(n, 0, 7, generator, rgb.device)
    theta = torch.eye(2, 3, device=rgb.device).repeat(n, 1, 1)
    smeared = torch.zeros_like(rgb)
    for at in np.linspace(-1, 1, 9).tolist():
        theta[:, 0, 2], theta[:, 1, 2] = at * reach * angle.cos() * 2 / width, at * reach * angle.sin() * 2 / height
        where = F.affine_grid(theta, list(rgb.shape), align_corners=False)
        smeared += F.grid_sample(rgb, where, padding_mode="reflection", align_corners=False) / 9
    return smeared


def _compressed(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """As JPEG and video codecs do: 8x8 cosine blocks, coarser steps for finer waves. Sides that are no multiple of 8 keep
    a border as it was."""
    n, (height, width) = len(rgb), (side // 8 * 8 for side in rgb.shape[-2:])
    k = torch.arange(8, device=rgb.device, dtype=torch.float32)
    waves = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) * 0.5
    waves[0] /= math.sqrt(2)
    blocks = rgb[:, :, :height, :width].reshape(n, 3, height // 8, 8, width // 8, 8)
    strength = uniform(n, 0.5, 3.0, generator, rgb.device).view(n, 1, 1, 1, 1, 1)
    step = strength * (16 + 7 * (k[:, None] + k[None])).view(1, 1, 1, 8, 1, 8) / 255 / 2
    parts = torch.einsum("ui,ncaibj,vj->ncaubv", waves, blocks, waves)
    blocks = torch.einsum("ui,ncaubv,vj->ncaibj", waves, (parts / step).round() * step, waves)
    out = rgb.clone()
    out[:, :, :height, :width] = blocks.reshape(n, 3, height, width).clamp(0, 1)
    return out
