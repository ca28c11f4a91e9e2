"""Linear layers in 8-bit floating point: a scale for each row of the weights and for each token, e4m3 in between.

Row-wise scaling keeps a token's result free of the tokens beside it (law 1) and keeps the error of the product near the
format's own 2^-4. Format: Micikevicius et al., arXiv 2209.05433.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

E4M3_MAX = 448.0
TINIEST = 1e-12  # a row of zeros keeps a scale above 0
FIRST_WITH_FP8 = (8, 9)  # compute capability of the first cards that multiply e4m3 (Ada, then Hopper)


class Rows(NamedTuple):
    """[..., K] as e4m3 of that shape and a float32 scale [...,1] for each row; the value is about their product."""

    values: Tensor
    scales: Tensor


def quantise(x: Tensor) -> Rows:
    scale = x.abs().amax(dim=-1, keepdim=True).float().clamp(min=TINIEST) / E4M3_MAX
    return Rows((x.float() * scale.reciprocal()).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn), scale)


class Fp8Linear(nn.Module):
    """A linear layer with weights in e4m3, [out,in] with a scale a row; the bias keeps its precision.

    The tokens come quantised too, by what made them. A card that cannot multiply e4m3, and the CPU, compute the same function
    with both operands widened: half the memory, no speed.
    """

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        quantised, scale = quantise(weight)
        self.register_buffer("weight", quantised)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor
        self.native = weight.is_cuda and torch.cuda.get_device_capability(weight.device) >= FIRST_WITH_FP8

    def forward(self, x: Rows) -> Tensor:
        """Rows [..., in] -> [..., out] in the precision of the bias."""
        rows = Rows(x.values.flatten(0, -2), x.scales.flatten(0, -2))
        product = self._native(rows) if self.native else self._emulated(rows)
        return product.unflatten(0, x.values.shape[:-1])

    def _native(self, x: Rows) -> Tensor:
        return torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
            x.values,
            self.weight.t(),
            x.scales,
            self.scale.t(),
            bias=self.bias,
            out_dtype=self.bias.dtype,
            use_fast_accum=True,
        )

    def _emulated(self, x: Rows) -> Tensor:
        wide = self.bias.dtype
        rows = (x.values.float() * x.scales).to(wide)
        return F.linear(rows, (self.weight.float() * self.scale).to(wide), self.bias)
