"""The mini's operations in torch: for training, and for running on a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import Kind
from ..frames import Maps
from . import mini_net, mini_sharpen
from .torch_device import upload


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

    def clip(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1)

    def unit(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1, eps=1e-4)


DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# What makes the maps themselves is in float32 whatever the rest, so that slow slopes show no bands.
FINE = ("edges.", "depth.", "normal.", "sharpen.out.")


def place(weights: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights on a device, in `dtype` but for the FINE ones; those of convolutions with channels last, as GPUs want."""
    placed = {k: v.to(device, torch.float32 if k.startswith(FINE) else dtype) for k, v in weights.items()}
    return {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in placed.items()}


def core(weights: Mapping[str, Tensor], rgb: Tensor, kinds: Sequence[Kind]) -> list[Tensor]:
    """The maps of `kinds`, float [N,C,H,W], not clipped. rgb: float [N,3,H,W] in [0,1], sides multiples of
    `mini_net.STRIDE`."""
    height, width = rgb.shape[-2:]
    return mini_net.core(TorchOps(), weights, normalised(rgb), (height, width), kinds)


def normalised(rgb: Tensor) -> Tensor:
    """As the trunk was trained: by the mean and the standard deviation of ImageNet."""
    mean, std = _constants(rgb.device)
    return (rgb - mean) / std


def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))
    return mean, std


class TorchMini:
    """The mini in torch, on a GPU or a CPU. weights: float32 by name. kinds: of the maps it makes. precision: of DTYPES, or
    "auto", which is fp16: as fast as bf16, and its maps are eight times nearer to those of fp32."""

    def __init__(self, weights: Mapping[str, np.ndarray], kinds: Sequence[Kind], precision: str, device: torch.device):
        self.precision = "fp16" if precision == "auto" else precision
        self._dtype = DTYPES[self.precision]
        self._kinds, self._device = tuple(kinds), device
        self._weights = place({k: torch.from_numpy(v) for k, v in weights.items()}, device, self._dtype)
        self._mean, self._std = _constants(device)

    @torch.inference_mode()
    def maps(self, rgb: np.ndarray, kinds: Sequence[Kind] | None = None) -> list[Maps]:
        """uint8 [N,h,w,3], sides multiples of the network's stride -> N Maps of that size, of `kinds` or those it was made
        for."""
        kinds = tuple(kinds or self._kinds)
        given = zip(kinds, self._finished(upload(rgb, self._device), kinds), strict=True)
        found = {kind: x.permute(0, 2, 3, 1).contiguous().cpu().numpy() for kind, x in given}
        depth, normal = found.get("depth"), found.get("normal")
        return [
            Maps(None if depth is None else depth[i, ..., 0], None if normal is None else normal[i])
            for i in range(len(rgb))
        ]

    def __call__(self, rgb: Tensor) -> list[Tensor]:
        """uint8 [N,h,w,3] on the device -> for each kind float32 [N,C,h,w] there: disparity in [0,1], unit normals. It waits
        for nothing, so `torch.compile` or a CUDA graph may take it whole, for many frames of one size."""
        return self._finished(rgb, self._kinds)

    def _finished(self, rgb: Tensor, kinds: tuple[Kind, ...]) -> list[Tensor]:
        maps = mini_net.core(TorchOps(), self._weights, self._seen(rgb), (rgb.shape[1], rgb.shape[2]), kinds)
        return [mini_net.finished(TorchOps(), kind, x.float()) for kind, x in zip(kinds, maps, strict=True)]

    @torch.inference_mode()
    def sharpened(self, start: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        """float32 [MAPS,H,W], as `mini_sharpen.follow` ends. rgb: uint8 [H,W,3], sides multiples of the sharpener's stride.
        start: float32 [MAPS,H,W], the core's disparity and unit normals at that size."""
        size = (rgb.shape[0], rgb.shape[1])
        x, begin = self._seen(upload(rgb[None], self._device)), torch.from_numpy(start)[None].to(self._device)

        def velocity(tile: mini_sharpen.Tile, maps: Tensor, t: float) -> Tensor:
            seen, begun, gone = (tile.of(piece) for piece in (x, begin, maps))
            return mini_sharpen.velocity(TorchOps(), self._weights, seen, begun, gone, t, tile.size).float()

        tiles = [
            replace(tile, weight=torch.from_numpy(tile.weight).to(self._device)) for tile in mini_sharpen.tiles(size)
        ]
        return mini_sharpen.follow(velocity, begin, tiles)[0].cpu().numpy()

    def _seen(self, rgb: Tensor) -> Tensor:
        """uint8 [N,h,w,3] -> float32 [N,3,h,w], as the trunk was trained."""
        return (rgb.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
