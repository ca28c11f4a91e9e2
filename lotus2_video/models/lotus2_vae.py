"""Pictures to latents and back: FLUX's autoencoder, deterministic, with the last layers in float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
        self._encoder, decoder = self._vae.encoder, self._vae.decoder
        self._body = [decoder.mid_block, *decoder.up_blocks]
        self._tail = [decoder.conv_norm_out.float(), decoder.conv_act, decoder.conv_out.float()]

    def encode(self, images: Tensor) -> Tensor:
        """[N,3,h,w] in [-1,1] -> the mode of the posterior, normalised: float32 [N,16,h/8,w/8]."""
        moments = self._encoder(self._placed(images))
        if self._vae.quant_conv is not None:
            moments = self._vae.quant_conv(moments)
        mode = moments.float().chunk(2, dim=1)[0]
        return (mode - self.shift) * self.scaling

    def decode(self, latent: Tensor) -> Tensor:
        """A normalised latent float32 [N,16,h/8,w/8] -> float32 [N,3,h,w] in [0,1]."""
        x = self._placed(latent / self.scaling + self.shift)
        if self._vae.post_quant_conv is not None:
            x = self._vae.post_quant_conv(x)
        x = self._vae.decoder.conv_in(x)
        for block in self._body:
            x = block(x)
        x = x.float()
        for layer in self._tail:
            x = layer(x)
        return (x / 2 + 0.5).clamp(0, 1)

    def compile(self) -> None:
        """Compiles the encoder and the blocks of the decoder; repays in long videos of one size only."""
        self._encoder.compile()
        for block in self._body:
            block.compile()

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
