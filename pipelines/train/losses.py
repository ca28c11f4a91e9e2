"""What the student is judged by. Maps are float32; every figure is a mean over the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .augment import turned


def depth_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """For disparities [N,h,w]: the map and its gradients at four scales as they stand, so that the range is learned too; and,
    up to scale and shift, the error relative to the disparity, so that far things count as AbsRel counts them. (Only up to
    scale and shift, a constant map would be a trap: nothing in it says which way is nearer.)"""
    spread = _spread(target)
    direct = (prediction - target).abs() / spread
    scale, shift = align(prediction, target)
    away = (prediction * scale + shift - target).abs()
    relative = away / (target + 0.12 * target.mean((1, 2), keepdim=True) + 1e-3)
    wrong = prediction - target
    gradients = sum((_steps(_halved(wrong[:, None], i)) for i in range(4)), torch.zeros_like(spread[:, 0, 0]))
    return (direct + 0.5 * relative.clamp(max=3)).mean() + 0.5 * (gradients / spread[:, 0, 0]).mean()


def normal_loss(raw: Tensor, target: Tensor) -> Tensor:
    """For raw normals and true ones, both [N,3,h,w]: the angle, the vectors, their changes at three scales (creases), and a
    mild pull of the raw length to 1. Nothing is asked where the truth is 0."""
    known = (target.square().sum(1, keepdim=True) > 0.5).float()
    share = known.mean().clamp(min=1e-3)
    length = raw.square().sum(1, keepdim=True).clamp(min=1e-8).sqrt()
    unit = raw / length.clamp(min=1e-2)
    wrong = (unit - target) * known
    angle = ((1 - (unit * target).sum(1, keepdim=True)) * known).mean()
    gradients = sum((_steps(_halved(wrong, i)).mean() for i in range(3)), torch.zeros_like(share))
    pull = ((length - 1).square().clamp(max=4) * known).mean()
    return (2 * angle + wrong.abs().mean() + 0.5 * gradients + 0.05 * pull) / share


def consistency_loss(raw: Tensor, mirrored: Tensor) -> Tensor:
    """How far the normals [N,3,h,w] of mirrored pictures are from the mirror image of the normals of the pictures."""
    return (1 - F.cosine_similarity(raw, turned(mirrored.flip(3)), dim=1, eps=1e-4)).mean()


def align(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift [N,1,1] from each prediction to its target, drawn a little towards a scale of 1."""
    p, t = (x - x.mean((1, 2), keepdim=True) for x in (prediction, target))
    ridge = 0.02 * (t * t).mean((1, 2), keepdim=True) + 1e-5
    scale = ((p * t).mean((1, 2), keepdim=True) + ridge) / ((p * p).mean((1, 2), keepdim=True) + ridge)
    return scale, target.mean((1, 2), keepdim=True) - scale * prediction.mean((1, 2), keepdim=True)


def flow_loss(velocity: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """For velocities [N,C,h,w]: the difference and its steps from pixel to pixel at two scales, where `weight` [N,C,h,w]
    says how much a pixel counts (0: not at all)."""
    wrong = (velocity - target) * weight
    edges = sum((_steps(_halved(wrong, i)).mean() for i in range(2)), velocity.new_zeros(()))
    return wrong.abs().mean() + edges


def _spread(target: Tensor) -> Tensor:
    some = target.flatten(1)[:, ::7]
    median = some.median(1).values[:, None, None]
    return (target - median).abs().mean((1, 2), keepdim=True).clamp(min=0.02)


def _halved(x: Tensor, times: int) -> Tensor:
    return F.avg_pool2d(x, 2**times) if times else x


def _steps(x: Tensor) -> Tensor:
    """Mean change between neighbours, [N]."""
    return (x[:, :, 1:] - x[:, :, :-1]).abs().mean((1, 2, 3)) + (x[..., 1:] - x[..., :-1]).abs().mean((1, 2, 3))
