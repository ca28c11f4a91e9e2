"""The FLUX.1 transformer as a plain function of tokens: the published network, arranged for speed.

Equal to diffusers' FluxTransformer2DModel, whose checkpoint layout it reads, with three liberties that change no number:
query, key and value are one matrix product; the embedded prompt and the modulation vectors, constants for a given timestep,
are arguments, so that the 3.25 billion parameters which only produce them need not be resident; and every linear layer comes
from a maker, which decides where its weights live and in which precision.

Architecture: Black Forest Labs, FLUX.1 (2024). Rotary position embedding: Su et al., arXiv 2104.09864.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import WeightsError
from .flux_ops import Rope, Stream, apart, attend, rise, rows
from .fp8 import Rows

ROPE_THETA = 10_000.0
TIME_CHANNELS = 256  # sinusoids that encode the timestep and the guidance


@dataclass(frozen=True)
class FluxConfig:
    """The sizes of the network, under the names of the checkpoint's config.json. The defaults are FLUX.1-dev."""

    in_channels: int = 64
    num_layers: int = 19
    num_single_layers: int = 38
    attention_head_dim: int = 128
    num_attention_heads: int = 24
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    guidance_embeds: bool = True
    axes_dims_rope: tuple[int, ...] = (16, 56, 56)

    @property
    def width(self) -> int:
        """Channels of a token inside the network."""
        return self.num_attention_heads * self.attention_head_dim


def flux_config(values: dict[str, Any], where: object) -> FluxConfig:
    """The configuration in a checkpoint's config.json. Raises WeightsError where a key is missing or not supported."""
    names = [f.name for f in fields(FluxConfig)]
    missing = [name for name in names if name not in values]
    if missing:
        raise WeightsError(f"lacks {', '.join(missing)}", where, "this is not the config.json of a FLUX transformer")
    if values.get("patch_size", 1) != 1 or values.get("out_channels") not in (None, values["in_channels"]):
        raise WeightsError("patch_size above 1 or another number of output channels is not supported", where)
    chosen: dict[str, Any] = {name: values[name] for name in names}
    chosen["axes_dims_rope"] = tuple(values["axes_dims_rope"])
    return FluxConfig(**chosen)


def linear_shapes(config: FluxConfig) -> dict[str, tuple[int, int]]:
    """Every linear layer of the checkpoint: name -> (out, in)."""
    width, mlp = config.width, 4 * config.width
    shapes = {
        "x_embedder": (width, config.in_channels),
        "context_embedder": (width, config.joint_attention_dim),
        "norm_out.linear": (2 * width, width),
        "proj_out": (config.in_channels, width),
    }
    embedders = {"timestep_embedder": TIME_CHANNELS, "text_embedder": config.pooled_projection_dim}
    if config.guidance_embeds:
        embedders["guidance_embedder"] = TIME_CHANNELS
    for name, channels in embedders.items():
        shapes[f"time_text_embed.{name}.linear_1"] = (width, channels)
        shapes[f"time_text_embed.{name}.linear_2"] = (width, width)
    for block in double_names(config):
        for norm in ("norm1", "norm1_context"):
            shapes[f"{block}.{norm}.linear"] = (6 * width, width)
        for part in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"):
            shapes[f"{block}.attn.{part}"] = (width, width)
        for part in ("ff", "ff_context"):
            shapes[f"{block}.{part}.net.0.proj"] = (mlp, width)
            shapes[f"{block}.{part}.net.2"] = (width, mlp)
    for block in single_names(config):
        shapes[f"{block}.norm.linear"] = (3 * width, width)
        shapes |= {f"{block}.attn.{part}": (width, width) for part in ("to_q", "to_k", "to_v")}
        shapes[f"{block}.proj_mlp"] = (mlp, width)
        shapes[f"{block}.proj_out"] = (width, width + mlp)
    return shapes


def tensor_shapes(config: FluxConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of the checkpoint: key -> shape."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (out, columns) in linear_shapes(config).items():
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, columns), (out,)
    norms = dict.fromkeys(double_names(config), ("norm_q", "norm_k", "norm_added_q", "norm_added_k"))
    norms |= dict.fromkeys(single_names(config), ("norm_q", "norm_k"))
    shapes |= {f"{b}.attn.{n}.weight": (config.attention_head_dim,) for b, parts in norms.items() for n in parts}
    return shapes


def double_names(config: FluxConfig) -> list[str]:
    return [f"transformer_blocks.{i}" for i in range(config.num_layers)]


def single_names(config: FluxConfig) -> list[str]:
    return [f"single_transformer_blocks.{i}" for i in range(config.num_single_layers)]


class Maker(Protocol):
    """Gives a network its layers, by their names in the checkpoint. fp8: whether they take their rows in e4m3."""

    fp8: bool

    def linear(self, *names: str, plain: bool = False) -> Any:
        """One layer with the outputs of all `names` one after the other. plain: never quantised."""
        ...

    def vector(self, name: str) -> Tensor: ...


@dataclass(frozen=True)
class Modulation:
    """What the timestep, the guidance and the prompt do to every block, for one timestep; D is the network's width.

    double: per double block [12,D]: shift, scale and gate of attention, then of the MLP, for the image, then the text.
    single: per single block [3,D]: shift, scale, gate. out: [2,D]: scale, shift.
    """

    double: tuple[Tensor, ...]
    single: tuple[Tensor, ...]
    out: Tensor


class DoubleBlock(nn.Module):
    """Image and text tokens through weights of their own, attending to each other."""

    def __init__(self, make: Maker, name: str, heads: int):
        super().__init__()
        attn = f"{name}.attn"
        self.heads, self.fp8 = heads, make.fp8
        self.qkv = make.linear(f"{attn}.to_q", f"{attn}.to_k", f"{attn}.to_v")
        self.text_qkv = make.linear(f"{attn}.add_q_proj", f"{attn}.add_k_proj", f"{attn}.add_v_proj")
        self.out, self.text_out = make.linear(f"{attn}.to_out.0"), make.linear(f"{attn}.to_add_out")
        self.up, self.down = make.linear(f"{name}.ff.net.0.proj"), make.linear(f"{name}.ff.net.2")
        self.text_up = make.linear(f"{name}.ff_context.net.0.proj")
        self.text_down = make.linear(f"{name}.ff_context.net.2")
        for norm in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            self.register_buffer(norm, make.vector(f"{attn}.{norm}.weight"))
        self.norm_q: Tensor
        self.norm_k: Tensor
        self.norm_added_q: Tensor
        self.norm_added_k: Tensor

    def forward(self, image: Stream, text: Stream, modulation: Tensor, rope: Rope) -> None:
        """Adds to T image and S text tokens. modulation [12,D], rope over S+T tokens."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation[:6]
        t_shift, t_scale, t_gate, t_mlp_shift, t_mlp_scale, t_mlp_gate = modulation[6:]
        qkv = self.qkv(image.modulated(shift, scale, self.fp8))
        t_qkv = self.text_qkv(text.modulated(t_shift, t_scale, self.fp8))
        parts = (t_qkv, self.norm_added_q, self.norm_added_k), (qkv, self.norm_q, self.norm_k)
        t_mixed, mixed = attend(parts, rope, self.heads).split([t_qkv.shape[1], qkv.shape[1]], dim=1)
        image.add(gate, *apart(self.out, mixed, self.fp8))
        text.add(t_gate, *apart(self.text_out, t_mixed, self.fp8))
        image.add(mlp_gate, self.down(rise(self.up, image.modulated(mlp_shift, mlp_scale, self.fp8))))
        text.add(t_mlp_gate, self.text_down(rise(self.text_up, text.modulated(t_mlp_shift, t_mlp_scale, self.fp8))))


class SingleBlock(nn.Module):
    """Text and image tokens together, attention and MLP side by side."""

    def __init__(self, make: Maker, name: str, heads: int):
        super().__init__()
        attn = f"{name}.attn"
        self.heads, self.fp8 = heads, make.fp8
        self.qkv = make.linear(f"{attn}.to_q", f"{attn}.to_k", f"{attn}.to_v")
        self.up, self.out = make.linear(f"{name}.proj_mlp"), make.linear(f"{name}.proj_out")
        for norm in ("norm_q", "norm_k"):
            self.register_buffer(norm, make.vector(f"{attn}.{norm}.weight"))
        self.norm_q: Tensor
        self.norm_k: Tensor

    def forward(self, tokens: Stream, modulation: Tensor, rope: Rope) -> None:
        """Adds to S+T tokens, text first. modulation [3,D]."""
        shift, scale, gate = modulation
        normed = tokens.modulated(shift, scale, self.fp8)
        mixed = attend([(self.qkv(normed), self.norm_q, self.norm_k)], rope, self.heads)
        if isinstance(normed, Rows):
            tokens.add(gate, self.out(rows(mixed, self.up(normed))))
        else:
            tokens.add(gate, self.out.joined(mixed, self.up.gelu(normed)))


class Flux(nn.Module):
    """The network. `text` is the prompt as the network embeds it, [S,D], a constant."""

    def __init__(self, config: FluxConfig, make: Maker, prompt: Tensor):
        super().__init__()
        self.config = config
        heads = config.num_attention_heads
        self.register_buffer("text", make.linear("context_embedder", plain=True)(prompt))
        self.text: Tensor
        self.x_embedder = make.linear("x_embedder", plain=True)
        self.proj_out = make.linear("proj_out", plain=True)
        self.double_blocks: Iterable = nn.ModuleList(DoubleBlock(make, name, heads) for name in double_names(config))
        self.single_blocks: Iterable = nn.ModuleList(SingleBlock(make, name, heads) for name in single_names(config))

    def forward(self, tokens: Tensor, modulation: Modulation, rope: Rope) -> Tensor:
        """tokens [B,T,C], packed latents in the precision of the weights; rope of `rope_table` -> [B,T,C]."""
        image, text = Stream(self.x_embedder(tokens)), Stream(self.text.expand(len(tokens), -1, -1))
        for block, vectors in zip(self.double_blocks, modulation.double, strict=True):
            block(image, text, vectors, rope)
        joint = Stream(torch.cat([text.whole(), image.whole()], dim=1))
        for block, vectors in zip(self.single_blocks, modulation.single, strict=True):
            block(joint, vectors, rope)
        scale, shift = modulation.out
        return self.proj_out(Stream(joint.whole()[:, len(self.text) :]).modulated(shift, scale, fp8=False))


def rope_table(rows: int, columns: int, text: int, axes: Sequence[int], device: torch.device) -> Rope:
    """Cosines and sines of the rotary position embedding, float32 [text+rows*columns, head/2] each.

    The position of a text token is (0,0,0), that of an image token (0, row, column); each axis turns its share of the
    pairs of channels, at frequencies that fall from 1 to 1/10000. Computed in float64, as published.
    """
    positions = torch.zeros(text + rows * columns, 3, dtype=torch.float64)
    positions[text:, 1] = torch.arange(rows).repeat_interleave(columns)
    positions[text:, 2] = torch.arange(columns).repeat(rows)
    angles = [
        torch.outer(positions[:, axis], ROPE_THETA ** (-torch.arange(0, size, 2, dtype=torch.float64) / size))
        for axis, size in enumerate(axes)
    ]
    turn = torch.cat(angles, dim=1)
    return turn.cos().float().to(device), turn.sin().float().to(device)


def pack(latent: Tensor) -> Tensor:
    """A latent [B,C,h,w] as tokens [B,(h/2)(w/2),4C], each a 2x2 patch, channel by channel."""
    patches = latent.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack`, for a latent of height x width."""
    patches = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
