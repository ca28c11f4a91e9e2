"""From a checkpoint to a network: read a layer, merge its adapter, fuse, quantise, place; never two copies of the whole."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flux import TIME_CHANNELS, Flux, FluxConfig, Modulation, double_names, single_names
from .fp8 import Fp8Linear
from .lora import Adapter
from .tensors import Tensors

Weights = Literal["fp32", "bf16", "fp8"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
MAX_PERIOD = 10_000.0


class Linear(nn.Module):
    """A linear layer over tensors that other networks may share."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def gelu(self, x: Tensor) -> Tensor:
        """GELU (by tanh) of the same, on CUDA by the product itself, which spares a pass over the widest rows there are."""
        if not x.is_cuda:
            return F.gelu(self(x), approximate="tanh")
        multiply: Any = torch._addmm_activation  # pyright: ignore[reportPrivateImportUsage]
        return multiply(self.bias, x.flatten(0, -2), self.weight.t(), use_gelu=True).unflatten(0, x.shape[:-1])

    def joined(self, one: Tensor, two: Tensor) -> Tensor:
        """Of rows that are those of `one`, then of `two`, [B,T,C] each, without joining them."""
        made = F.linear(two, self.weight[:, one.shape[-1] :], self.bias)
        made.flatten(0, -2).addmm_(one.flatten(0, -2), self.weight[:, : one.shape[-1]].t())
        return made


@dataclass(frozen=True)
class Source:
    """A base checkpoint and the adapter merged into it while reading (None: the base itself)."""

    tensors: Tensors
    adapter: Adapter | None
    device: torch.device

    def weight(self, name: str) -> Tensor:
        """[out,in] on the device: as stored, or float32 where the adapter changes it."""
        weight = self.tensors.read(f"{name}.weight", self.device)
        if self.adapter is None or name not in self.adapter.layers:
            return weight
        return weight.float() + self.adapter.delta(name, self.device)

    def bias(self, name: str) -> Tensor:
        return self.tensors.read(f"{name}.bias", self.device)

    def changes(self, *names: str) -> bool:
        """Whether the adapter changes any of these layers."""
        return self.adapter is not None and any(name in self.adapter.layers for name in names)


class LayerMaker:
    """Makes the layers of one network. Layers that no adapter changes are made once and lie in `shared`.

    home: where the weights of the blocks live (the CPU when blocks are streamed); the rest is on the source's device.
    """

    def __init__(self, source: Source, weights: Weights, shared: dict[tuple, nn.Module], home: torch.device):
        self._source, self._shared, self._home = source, shared, home
        self._dtype, self.fp8 = DTYPES[weights], weights == "fp8"

    def linear(self, *names: str, plain: bool = False) -> nn.Module:
        if self._source.changes(*names):
            return self._make(names, plain)
        if names not in self._shared:
            self._shared[names] = self._make(names, plain)
        return self._shared[names]

    def vector(self, name: str) -> Tensor:
        return self._source.tensors.read(name, self._source.device).to(self._home, self._dtype)

    def _make(self, names: tuple[str, ...], plain: bool) -> nn.Module:
        bias = torch.cat([self._source.bias(name).to(self._dtype) for name in names])
        if self.fp8 and not plain:
            return Fp8Linear(torch.cat([self._source.weight(name) for name in names]), bias).to(self._home)
        weight = torch.cat([self._source.weight(name).to(self._dtype) for name in names])
        return Linear(weight, bias).to(self._source.device if plain else self._home)


def load_flux(
    config: FluxConfig,
    source: Source,
    prompt: Tensor,
    weights: Weights,
    shared: dict[tuple, nn.Module],
    home: torch.device | None = None,
) -> Flux:
    """The network with the adapter merged. prompt: [S,joint_attention_dim] float32; the rest as in `LayerMaker`."""
    make = LayerMaker(source, weights, shared, home or source.device)
    return Flux(config, make, prompt.to(source.device, DTYPES[weights]))


def load_modulations(
    config: FluxConfig, source: Source, pooled: Tensor, timesteps: list[float], guidance: float, weights: Weights
) -> list[Modulation]:
    """The modulation vectors of each timestep, computed in the precision of the network, as published.

    pooled: [pooled_projection_dim] float32. timesteps: of the scheduler, which the pipeline divides by 1000 and the network
    multiplies again; guidance: multiplied by 1000 by the network. Both are rounded as the published path rounds them in its
    precision (a guidance of 3.5 becomes 3504 in bf16).
    Reads the layers that make them, a quarter of the checkpoint, one by one and keeps none.
    """
    dtype, device = DTYPES[weights], source.device
    times = torch.tensor(timesteps).to(dtype) / 1000
    emb = _condition(config, source, pooled.to(device, dtype), times, torch.tensor([guidance]).to(dtype))
    active = F.silu(emb)

    def vectors(name: str, count: int) -> Tensor:
        made = F.linear(active, source.weight(name).to(dtype), source.bias(name).to(dtype))
        return made.unflatten(1, (count, config.width))

    doubles = [
        torch.cat([vectors(f"{block}.{norm}.linear", 6) for norm in ("norm1", "norm1_context")], dim=1)
        for block in double_names(config)
    ]
    singles = [vectors(f"{block}.norm.linear", 3) for block in single_names(config)]
    out = vectors("norm_out.linear", 2)
    return [
        Modulation(tuple(d[step] for d in doubles), tuple(s[step] for s in singles), out[step])
        for step in range(len(timesteps))
    ]


def _condition(config: FluxConfig, source: Source, pooled: Tensor, timesteps: Tensor, guidance: Tensor) -> Tensor:
    """The embedding of timestep, guidance and pooled prompt that all modulation comes from: [steps,D], as `pooled` is."""
    dtype, device = pooled.dtype, pooled.device

    def embed(name: str, x: Tensor) -> Tensor:
        for part in ("linear_1", "linear_2"):
            layer = f"time_text_embed.{name}.{part}"
            x = F.silu(x) if part == "linear_2" else x
            x = F.linear(x, source.weight(layer).to(dtype), source.bias(layer).to(dtype))
        return x

    emb = embed("timestep_embedder", _sinusoids(timesteps * 1000).to(device, dtype))
    if config.guidance_embeds:
        emb = emb + embed("guidance_embedder", _sinusoids(guidance * 1000).to(device, dtype))
    return emb + embed("text_embedder", pooled[None])


def _sinusoids(values: Tensor) -> Tensor:
    """[n] -> [n,256]: cosines, then sines, at frequencies falling from 1 to 1/10000 (Vaswani et al., arXiv 1706.03762)."""
    angles = values.float()[:, None] * _frequencies()
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _frequencies() -> Tensor:
    """float32 [128], the same bits on every machine.

    A guidance of 3500 makes the last bit of a frequency count: where one machine's float32 exp rounds up and another's
    down, latents differ by 1e-4. So the exponentials are computed in float64 and rounded, but for the two large frequencies
    that the published pipeline's reference run rounded up, 0.02 and 0.03 units past the middle.
    """
    half = TIME_CHANNELS // 2
    exponents = -math.log(MAX_PERIOD) * torch.arange(half, dtype=torch.float32) / half
    rates = exponents.double().exp().float()
    rates[12:14] = torch.nextafter(rates[12:14], torch.ones(2))
    return rates
