"""The published Lotus-2 path, written anew from its description, to measure ours against; and random weights for both.

Published (repository EnVision-Research/Lotus-2 at b05bf90): diffusers' own classes in bf16, eager, one frame at a time, the
adapters not merged but beside the layers, by peft, the posterior sampled, ten sharpener steps after the core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lotus2_video.models.flux import FluxConfig, linear_shapes, pack, tensor_shapes, unpack
from lotus2_video.models.lotus2_lcm import Lcm
from lotus2_video.models.lotus2_prompt import Prompt
from lotus2_video.models.lotus2_stages import GUIDANCE, Schedule
from lotus2_video.models.tensors import Shape, Tensors


class RandomTensors:
    """Tensors that exist only while they are read: the same numbers for a key each time on one kind of device.

    Weights have the spread that torch gives a new layer, 1/sqrt(3 inputs), times `gain`; biases are zero.
    """

    def __init__(self, shapes: dict[str, Shape], dtype: torch.dtype = torch.bfloat16, gain: float = 1.0):
        self._shapes, self._dtype, self._gain = shapes, dtype, gain

    @property
    def shapes(self) -> dict[str, Shape]:
        return self._shapes

    def read(self, key: str, device: torch.device) -> Tensor:
        shape = self._shapes[key]
        if len(shape) == 1:  # a norm's weight, or a bias
            return torch.full(shape, float("norm" in key and key.endswith("weight")), dtype=self._dtype, device=device)
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "little")
        random = torch.Generator(device).manual_seed(seed)
        scale = self._gain * (3 * torch.tensor(shape[1:]).prod().item()) ** -0.5
        return torch.randn(shape, generator=random, device=device, dtype=self._dtype) * scale


def adapter_tensors(config: FluxConfig, rank: int, name: str) -> RandomTensors:
    """A random adapter on the published targets. name: so that two adapters differ."""
    shapes: dict[str, Shape] = {}
    for layer, (rows, columns) in linear_shapes(config).items():
        if is_target(layer):
            shapes[f"transformer.{layer}.lora_A.weight"] = (rank, columns)
            shapes[f"transformer.{layer}.lora_B.weight"] = (rows, rank)
    return _Named(shapes, name)


class _Named(RandomTensors):
    def __init__(self, shapes: dict[str, Shape], name: str):
        super().__init__(shapes, gain=0.3)
        self._name = name

    def read(self, key: str, device: torch.device) -> Tensor:
        tensor = super().read(key, device)
        return tensor if self._name == "core_predictor" else tensor.flip(0)


def is_target(layer: str) -> bool:
    """Whether the published adapters change this layer."""
    ends = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
    return "_blocks" in layer and layer.endswith((*ends, "net.0.proj", "net.2"))


def vae_config(tiny: bool) -> dict[str, Any]:
    """FLUX.1's autoencoder, or one of the same wiring with few channels."""
    wide = [8, 8, 16, 16] if tiny else [128, 256, 512, 512]
    return {
        "block_out_channels": wide,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "latent_channels": 16,
        "layers_per_block": 1 if tiny else 2,
        "norm_num_groups": 4 if tiny else 32,
        "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }


def vae_tensors(config: dict[str, Any]) -> RandomTensors:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    with torch.device("meta"):
        state = AutoencoderKL.from_config(config).state_dict()
    return _UnitLatents({key: tuple(t.shape) for key, t in state.items()})


class _UnitLatents(RandomTensors):
    """Latents of about unit spread, as FLUX.1's are: ones seven times smaller would drown in the transformer's rounding."""

    def read(self, key: str, device: torch.device) -> Tensor:
        tensor = super().read(key, device)
        return 7 * tensor if key == "encoder.conv_out.weight" else tensor


class Published:
    """The published pipeline on random weights, one frame at a time."""

    def __init__(
        self, config: FluxConfig, base: Tensors, adapters: dict[str, Tensors], vae: Tensors, prompt: Prompt, lcm: Lcm,
        device: torch.device, dtype: torch.dtype, tiny: bool,
    ):  # fmt: skip
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

        self.device, self.dtype, self._lcm, self._prompt = device, dtype, lcm, prompt
        self._schedule = Schedule()
        self.flux = _diffusers_flux(config, base, device, dtype)
        self._adapted = _adapt(self.flux, adapters, device, dtype)
        self._active = None
        with torch.device("meta"):
            self.vae: Any = AutoencoderKL.from_config(vae_config(tiny))
        self.vae.load_state_dict({key: vae.read(key, device).to(dtype) for key in vae.shapes}, assign=True)
        self.vae.eval().requires_grad_(False)

    def merge(self, adapter: str) -> None:
        """Puts one adapter into the weights, as peft does it. Nothing else is to be run afterwards."""
        for layer in self._adapted:
            layer.set_adapter(adapter)
            layer.merge(adapter_names=[adapter])
        self._active = adapter

    def encode(self, image: Tensor, sample: bool = True) -> Tensor:
        """[1,3,h,w] in [-1,1] -> latent. sample: as published; the mode, to compare with ours."""
        found = self.vae.encode(image.to(self.dtype)).latent_dist
        z = found.sample() if sample else found.mode()
        return (z - self.vae.config.shift_factor) * self.vae.config.scaling_factor

    def core(self, latent: Tensor) -> Tensor:
        tokens = self.step("core_predictor", pack(latent), 1.0, latent.shape[2:])
        return self._lcm(unpack(tokens, *latent.shape[2:]).float()).to(self.dtype)

    def sharpen(self, latent: Tensor) -> Tensor:
        tokens = pack(latent)
        sigmas = self._schedule.sigmas(tokens.shape[1])
        for time, now, after in zip(self._schedule.timesteps(tokens.shape[1]), sigmas, sigmas[1:], strict=False):
            velocity = self.step("detail_sharpener", tokens, time, latent.shape[2:])
            tokens = (tokens.float() + (after - now) * velocity.float()).to(self.dtype)
        return unpack(tokens, *latent.shape[2:])

    def decode(self, latent: Tensor) -> Tensor:
        z = latent / self.vae.config.scaling_factor + self.vae.config.shift_factor
        return (self.vae.decode(z.to(self.dtype), return_dict=False)[0] / 2 + 0.5).clamp(0, 1)

    def step(self, adapter: str, tokens: Tensor, time: float, size: Iterable[int]) -> Tensor:
        if adapter != self._active:
            self._active = adapter
            for layer in self._adapted:
                layer.set_adapter(adapter)
        height, width = size
        ids = torch.zeros(height // 2, width // 2, 3, device=self.device)
        ids[..., 1], ids[..., 2] = torch.arange(height // 2)[:, None], torch.arange(width // 2)
        one = torch.ones(1, device=self.device, dtype=self.dtype)
        return self.flux(
            hidden_states=tokens,
            encoder_hidden_states=self._prompt.t5[None].to(self.device, self.dtype),
            pooled_projections=self._prompt.clip[None].to(self.device, self.dtype),
            timestep=one * time / 1000,
            guidance=torch.full((1,), GUIDANCE, device=self.device),
            img_ids=ids.flatten(0, 1),
            txt_ids=torch.zeros(len(self._prompt.t5), 3, device=self.device),
            return_dict=False,
        )[0]


def _diffusers_flux(config: FluxConfig, base: Tensors, device: torch.device, dtype: torch.dtype) -> Any:
    from dataclasses import asdict

    from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

    with torch.device("meta"):
        flux: Any = FluxTransformer2DModel(**asdict(config))
    assert {key: tuple(t.shape) for key, t in flux.state_dict().items()} == tensor_shapes(config)
    flux.load_state_dict({key: base.read(key, device).to(dtype) for key in base.shapes}, assign=True)
    return flux.eval().requires_grad_(False)


def _adapt(flux: Any, adapters: dict[str, Tensors], device: torch.device, dtype: torch.dtype) -> list[Any]:
    """Puts the adapters beside the layers, not merged, with peft, as the published pipeline does. Returns those layers."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    for name, tensors in adapters.items():
        layers = [
            key.removeprefix("transformer.").removesuffix(".lora_A.weight") for key in tensors.shapes if "_A" in key
        ]
        rank = tensors.shapes[f"transformer.{layers[0]}.lora_A.weight"][0]
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers, init_lora_weights=False)
        inject_adapter_in_model(config, flux, name)
        for layer in layers:
            for side in "AB":
                weight = tensors.read(f"transformer.{layer}.lora_{side}.weight", device).to(dtype)
                part = getattr(flux.get_submodule(layer), f"lora_{side}")[name]
                part.weight = nn.Parameter(weight, requires_grad=False)
    return [module for module in flux.modules() if isinstance(module, LoraLayer)]
