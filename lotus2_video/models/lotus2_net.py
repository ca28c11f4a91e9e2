"""The published Lotus-2 function on one device, stage by stage: pictures, latents and tokens in and out as tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import Kind
from .flux import (
    Flux,
    FluxConfig,
    Modulation,
    Rope,
    flux_config,
    linear_shapes,
    pack,
    rope_table,
    tensor_shapes,
    unpack,
)
from .flux_stream import StreamedBlocks
from .flux_weights import DTYPES, Source, load_flux, load_modulations
from .lora import Adapter
from .lotus2_lcm import Lcm, load_lcm
from .lotus2_plan import Plan
from .lotus2_prompt import T5_TOKENS, Prompt, load_prompt
from .lotus2_stages import CORE_TIMESTEP, GUIDANCE, Schedule
from .lotus2_vae import Vae, load_vae
from .tensors import FileTensors, Tensors, check_shapes, read_json
from .weights import Lotus2Files, Part


@dataclass(frozen=True)
class Checkpoint:
    """Everything the function is made of, opened and checked, the large tensors not read yet."""

    config: FluxConfig
    tensors: Tensors
    adapters: dict[tuple[Part, Kind], Adapter]
    lcms: dict[Kind, Lcm]
    schedule: Schedule
    prompt: Prompt


def open_checkpoint(files: Lotus2Files, kinds: tuple[Kind, ...], device: torch.device) -> Checkpoint:
    """Opens the files and checks every key and shape. Raises WeightsError that names what is at fault."""
    path = files.config("transformer")
    config = flux_config(read_json(path), path)
    tensors = FileTensors(files.transformer, files.base / "transformer")
    check_shapes(tensors.shapes, tensor_shapes(config), tensors.where)
    linears = linear_shapes(config)
    parts: tuple[Part, ...] = ("core_predictor", "detail_sharpener")
    adapters: dict[tuple[Part, Kind], Adapter] = {
        (part, kind): Adapter(files.adapter(part, kind), linears) for part in parts for kind in kinds
    }
    lcms: dict[Kind, Lcm] = {
        kind: load_lcm(files.adapter("lcm", kind), config.in_channels // 4, device) for kind in kinds
    }
    schedule = Schedule.of(read_json(files.scheduler))
    prompt = load_prompt(files, config.joint_attention_dim, config.pooled_projection_dim)
    return Checkpoint(config, tensors, adapters, lcms, schedule, prompt)


def open_vae(files: Lotus2Files, device: torch.device, plan: Plan) -> Vae:
    return load_vae(files.base / "vae", read_json(files.config("vae")), device, DTYPES[plan.weights])


class Lotus2Net:
    """The core predictor and, loaded when first used, the detail sharpener, for each kind of map.

    Layers that no adapter changes are shared by all of them. The modulation vectors of the core step are computed while
    loading, those of the sharpener once for each size of picture.
    """

    def __init__(self, checkpoint: Checkpoint, vae: Vae, device: torch.device, plan: Plan):
        self.vae, self.device, self._checkpoint, self._plan = vae, device, checkpoint, plan
        self._shared: dict[tuple, nn.Module] = {}
        self._nets: dict[tuple[Part, Kind], Flux] = {}
        self._modulations: dict[tuple, list[Modulation]] = {}
        self._ropes: dict[tuple[int, int], Rope] = {}
        for kind in checkpoint.lcms:
            self._net("core_predictor", kind)
            self._modulation("core_predictor", kind, [CORE_TIMESTEP])
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what merging left behind

    def core(self, kind: Kind, latent: Tensor) -> Tensor:
        """The picture's latent, float32 [N,16,h,w], to the map's."""
        (modulation,) = self._modulation("core_predictor", kind, [CORE_TIMESTEP])
        tokens = self._run("core_predictor", kind, pack(latent), modulation, latent.shape[2:])
        clean = unpack(tokens, *latent.shape[2:])
        return torch.cat([self._checkpoint.lcms[kind](one) for one in clean.split(1)])

    def sharpen(self, kind: Kind, latent: Tensor) -> Tensor:
        """Ten deterministic Euler steps from the core's latent: float32 [N,16,h,w] -> the same."""
        tokens = pack(latent)
        schedule, count = self._checkpoint.schedule, tokens.shape[1]
        sigmas = schedule.sigmas(count)
        modulations = self._modulation("detail_sharpener", kind, schedule.timesteps(count))
        for modulation, now, after in zip(modulations, sigmas, sigmas[1:], strict=False):
            velocity = self._run("detail_sharpener", kind, tokens, modulation, latent.shape[2:])
            tokens = tokens + (after - now) * velocity
        return unpack(tokens, *latent.shape[2:])

    def _run(self, part: Part, kind: Kind, tokens: Tensor, modulation: Modulation, size: torch.Size) -> Tensor:
        """The network over float32 tokens [N,T,64], in batches of one size, so that a frame gets the same bits in each."""
        net, rope = self._net(part, kind), self._rope(size[0] // 2, size[1] // 2)
        done = []
        with _attention(self.device):
            for group in tokens.split(self._plan.batch):
                full = _filled(group, self._plan.batch).to(DTYPES[self._plan.weights])
                done.append(net(full, modulation, rope)[: len(group)].float())
        return torch.cat(done)

    def _net(self, part: Part, kind: Kind) -> Flux:
        if (part, kind) not in self._nets:
            self._nets[part, kind] = self._load(part, kind)
        return self._nets[part, kind]

    def _load(self, part: Part, kind: Kind) -> Flux:
        home = torch.device("cpu") if self._plan.streamed else self.device
        prompt, config = self._checkpoint.prompt.t5, self._checkpoint.config
        net = load_flux(config, self._source(part, kind), prompt, self._plan.weights, self._shared, home)
        if self._plan.streamed:
            net.double_blocks = StreamedBlocks(list(net.double_blocks), self.device)
            net.single_blocks = StreamedBlocks(list(net.single_blocks), self.device)
        return net

    def _source(self, part: Part, kind: Kind) -> Source:
        return Source(self._checkpoint.tensors, self._checkpoint.adapters[part, kind], self.device)

    def _modulation(self, part: Part, kind: Kind, timesteps: list[float]) -> list[Modulation]:
        source = self._source(part, kind)
        own = any("norm" in layer or "embed" in layer for layer in self._checkpoint.adapters[part, kind].layers)
        key = ((part, kind) if own else None, *timesteps)
        if key not in self._modulations:
            config, clip = self._checkpoint.config, self._checkpoint.prompt.clip
            made = load_modulations(config, source, clip, timesteps, GUIDANCE, self._plan.weights)
            self._modulations[key] = made
        return self._modulations[key]

    def _rope(self, rows: int, columns: int) -> Rope:
        if (rows, columns) not in self._ropes:
            axes = self._checkpoint.config.axes_dims_rope
            self._ropes[rows, columns] = rope_table(rows, columns, T5_TOKENS, axes, self.device)
        return self._ropes[rows, columns]


def _filled(group: Tensor, batch: int) -> Tensor:
    """One frame alone stays alone (a still, a key frame); else the last frame is repeated until the batch is full."""
    if len(group) in (1, batch):
        return group
    return torch.cat([group, group[-1:].expand(batch - len(group), -1, -1)])


@contextlib.contextmanager
def _attention(device: torch.device) -> Iterator[None]:
    """On CUDA prefers cuDNN's attention: 650 TFLOP/s against flash's 352 at this shape on an H200."""
    if device.type != "cuda":
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    order = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    with sdpa_kernel(order, set_priority=True):
        yield
