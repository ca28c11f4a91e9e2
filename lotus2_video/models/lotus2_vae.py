"""Pictures to latents and back: FLUX's autoencoder, deterministic, with the last layers in float32.

The layers and the wiring are those of diffusers' AutoencoderKL, whose modules hold the weights; the walk through them is
our own, so that on CUDA what lies between two convolutions is one pass over the activations.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flux_ops import fused
from .recorded import Recorded
from .tensors import FileTensors, Tensors, check_shapes

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

SCALE = 8  # pixels a side of one latent


class Vae:
    """The autoencoder on one device. config: its config.json; tensors: its weights, checked here (WeightsError).

    The decoder's last normalisation and convolution are in float32 whatever dtype is: a result rounded to bfloat16 has 385
    levels between 0 and 1.
    """

    def __init__(
        self, config: dict[str, Any], tensors: Tensors, where: object, device: torch.device, dtype: torch.dtype
    ):
        self.device, self.dtype = device, dtype
        self.shift, self.scaling = float(config.get("shift_factor") or 0.0), float(config["scaling_factor"])
        self._vae = _load(config, tensors, where, device, dtype)
        self._vae.decoder.conv_out.float()
        for conv in _enlarging(self._vae.decoder):
            conv.quarters = _quarters(conv.weight)
        self.last = torch.float32  # of the decoder's last normalisation and convolution
        pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._encoder, self._decoder = Recorded(self._encode, pool), Recorded(self._decode, pool)

    def encode(self, images: Tensor) -> Tensor:
        """[N,3,h,w] in [-1,1] -> the mode of the posterior, normalised: float32 [N,16,h/8,w/8]."""
        return self._encoder(images.to(self.device))

    def decode(self, latent: Tensor) -> Tensor:
        """A normalised latent float32 [N,16,h/8,w/8] -> float32 [N,3,h,w] in [0,1]."""
        return self._decoder(latent.to(self.device))

    def _encode(self, images: Tensor) -> Tensor:
        encoder: Any = self._vae.encoder
        x = encoder.conv_in(self._placed(images))
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                x = _resnet(resnet, x)
            if block.downsamplers is not None:
                x = block.downsamplers[0].conv(F.pad(x, (0, 1, 0, 1)))
        moments = encoder.conv_out(_norm_silu(_middle(encoder.mid_block, x), encoder.conv_norm_out))
        if self._vae.quant_conv is not None:
            moments = self._vae.quant_conv(moments)
        mode = moments.chunk(2, dim=1)[0]
        return ((mode - self.shift) * self.scaling).float()  # in the network's precision, as published

    def _decode(self, latent: Tensor) -> Tensor:
        decoder: Any = self._vae.decoder
        x = self._placed(latent / self.scaling + self.shift)
        if self._vae.post_quant_conv is not None:
            x = self._vae.post_quant_conv(x)
        x = _middle(decoder.mid_block, decoder.conv_in(x))
        for block in decoder.up_blocks:
            for resnet in block.resnets:
                x = _resnet(resnet, x)
            if block.upsamplers is not None:
                x = _enlarge(block.upsamplers[0].conv, x)
        x = decoder.conv_out(_norm_silu(x, decoder.conv_norm_out, dtype=self.last)).float()
        return (x / 2 + 0.5).clamp(0, 1)

    def _placed(self, x: Tensor) -> Tensor:
        layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        return x.to(self.device, self.dtype, memory_format=layout)


def load_vae(folder: Path, config: dict[str, Any], device: torch.device, dtype: torch.dtype) -> Vae:
    """The autoencoder in a diffusers folder. Raises WeightsError."""
    path = folder / "diffusion_pytorch_model.safetensors"
    return Vae(config, FileTensors([path], path), path, device, dtype)


def _load(
    config: dict[str, Any], tensors: Tensors, where: object, device: torch.device, dtype: torch.dtype
) -> AutoencoderKL:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        vae: Any = AutoencoderKL.from_config(config)
    check_shapes(tensors.shapes, {key: tuple(t.shape) for key, t in vae.state_dict().items()}, where)
    state = {key: tensors.read(key, device).to(dtype) for key in tensors.shapes}
    vae.load_state_dict(state, assign=True)
    vae.requires_grad_(False).eval()
    return vae.to(memory_format=torch.channels_last) if device.type == "cuda" else vae


def _middle(block: Any, x: Tensor) -> Tensor:
    x = _resnet(block.resnets[0], x)
    for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
        if attention is not None:
            x = _attend(attention, x)
        x = _resnet(resnet, x)
    return x


def _resnet(block: Any, x: Tensor) -> Tensor:
    """Twice normalisation, SiLU and convolution, beside x or a convolution of it; the biases are added with what follows."""
    hidden = _unbiased(block.conv1, _norm_silu(x, block.norm1))
    hidden = _unbiased(block.conv2, _norm_silu(hidden, block.norm2, block.conv1.bias))
    if block.conv_shortcut is None:
        return _add(x, hidden, block.conv2.bias)
    return _add(_unbiased(block.conv_shortcut, x), hidden, block.conv2.bias, block.conv_shortcut.bias)


def _attend(attention: Any, x: Tensor) -> Tensor:
    """Attention of all pixels to all pixels, one head."""
    normed = _norm_silu(x, attention.group_norm, silu=False).flatten(2).transpose(1, 2)
    q, k, v = (layer(normed) for layer in (attention.to_q, attention.to_k, attention.to_v))
    mixed = attention.to_out[0](_attention(q, k, v))
    return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of one head, [N,T,C] each. Heads this wide have no fast kernel on CUDA; whole, the products are fast, and fit."""
    if not q.is_cuda or q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    scores, scale = torch.bmm(q, k.transpose(1, 2), out_dtype=torch.float32), q.shape[-1] ** -0.5
    if fused(q):
        from .norm_triton import softmax

        return softmax(scores, scale, v.dtype) @ v
    return torch.softmax(scores.mul_(scale), dim=-1).to(v.dtype) @ v


def _unbiased(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding)  # pyright: ignore[reportArgumentType]


def _norm_silu(
    x: Tensor, norm: nn.GroupNorm, bias: Tensor | None = None, silu: bool = True, dtype: torch.dtype | None = None
) -> Tensor:
    """SiLU of the normalised x + bias, in `dtype` (that of x)."""
    dtype = dtype or x.dtype
    if _fused(x):
        from .norm_triton import norm_silu

        zero = torch.zeros_like(norm.weight) if bias is None else bias
        return norm_silu(x, zero, norm.weight, norm.bias, norm.num_groups, norm.eps, silu, dtype)
    x = (x if bias is None else x + bias[:, None, None]).to(dtype)
    y = F.group_norm(x, norm.num_groups, norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)
    return F.silu(y) if silu else y


def _add(a: Tensor, b: Tensor, bias: Tensor, other: Tensor | None = None) -> Tensor:
    """a + b, each with its bias; `other` is that of a."""
    if _fused(a):
        from .norm_triton import add_bias

        return add_bias(a, b, bias, torch.zeros_like(bias) if other is None else other)
    return (a if other is None else a + other[:, None, None]) + (b + bias[:, None, None])


def _enlarge(conv: Any, x: Tensor) -> Tensor:
    """The 3x3 convolution of the picture with every pixel four times: twice as high and wide."""
    if _fused(x):
        from .norm_triton import interleave

        return interleave(F.conv2d(x, conv.quarters, padding=1), conv.bias)
    return conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _enlarging(decoder: Any) -> list[Any]:
    """The convolutions that follow an enlargement, where the Triton kernels take them."""
    convs = [block.upsamplers[0].conv for block in decoder.up_blocks if block.upsamplers is not None]
    return [conv for conv in convs if fused(conv.weight)]


def _quarters(weight: Tensor) -> Tensor:
    """Of a 3x3 convolution [O,I,3,3] of a picture with every pixel four times: weights [4O,I,2,2] that make, from the picture
    as it is, each of the four pixels that one becomes.

    Of the three rows that a filter sees of the enlarged picture, two are one row of the picture: an upper pixel sees the
    row before its own, then its own twice; a lower one its own twice, then the one after. So it is with columns: 4/9 of
    the work.
    """
    sees = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float32, device=weight.device)
    made = torch.einsum("oiyx,aty,bux->aboitu", weight.float(), sees, sees)
    return made.flatten(0, 2).to(weight.dtype).contiguous(memory_format=torch.channels_last)


def _fused(x: Tensor) -> bool:
    """Whether the Triton kernels take it: channels last, a power of two of them."""
    channels = x.shape[1]
    return fused(x) and channels & (channels - 1) == 0 and x.is_contiguous(memory_format=torch.channels_last)
