"""The mini's operations in torch: for training, and for running on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import Kind
from . import mini_net


class TorchOps:
    """See `mini_net.Ops`."""

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x.to(weight.dtype), weight, bias, stride, padding)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias)

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], weight, bias, eps=1e-6)

    def gelu(self, x: Tensor) -> Tensor:
        return F.gelu(x)

    def relu(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def scale(self, x: Tensor, factor: float | Tensor) -> Tensor:
        return x * factor

    def attention(self, qkv: Tensor, heads: int) -> Tensor:
        n, t, c = qkv.shape
        q, k, v = qkv.view(n, t, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c // 3)

    def resize(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)

    def tokens(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    def picture(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return x.transpose(1, 2).unflatten(2, size)

    def prepend(self, token: Tensor, x: Tensor) -> Tensor:
        return torch.cat([token.to(x.dtype).expand(len(x), -1, -1), x], 1)

    def drop_first(self, x: Tensor) -> Tensor:
        return x[:, 1:]

    def concat(self, xs: list[Tensor], axis: int) -> Tensor:
        return torch.cat(xs, axis)

    def unshuffle(self, x: Tensor, factor: int) -> Tensor:
        return F.pixel_shuffle(x, factor)


# What makes the maps themselves is in float32 whatever the rest, so that slow slopes show no bands.
FINE = ("edges.", "depth.", "normal.")


def place(weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights on a device, in `dtype` but for the FINE ones."""
    return {k: v.to(device, torch.float32 if k.startswith(FINE) else dtype) for k, v in weights.items()}


def core(weights: Mapping[str, Tensor], rgb: Tensor, kinds: Sequence[Kind]) -> list[Tensor]:
    """The maps of `kinds`, float [N,C,H,W], not clipped. rgb: float [N,3,H,W] in [0,1], sides multiples of
    `mini_net.STRIDE`."""
    height, width = rgb.shape[-2:]
    return mini_net.core(TorchOps(), weights, normalised(rgb), (height, width), kinds)


def normalised(rgb: Tensor) -> Tensor:
    """As the trunk was trained: by the mean and the standard deviation of ImageNet."""
    mean, std = (rgb.new_tensor(v).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))
    return (rgb - mean) / std
