"""lotus-2: the published model as a predictor. Frames in, maps out, at the frames' own size."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..config import Kind
from ..errors import UsageError
from ..frames import Maps
from . import ModelOptions
from .flux_weights import Weights
from .lotus2_net import Checkpoint, Lotus2Net, open_checkpoint, open_vae
from .lotus2_plan import BYTES, Needs, look_at, make_plan, resident_bytes
from .lotus2_stages import gl_normals, resize, sizes
from .torch_device import pick_device, upload
from .weights import find

FUNCTION = "lotus-2/1"  # changes with anything here that changes bits
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stages:
    """What the published pipeline computes for one frame, in its own axes and ranges.

    core_latent, final_latent: float32 [1,16,h/8,w/8], normalised latents after the core and after the sharpener.
    core_image, image: the same decoded, float32 [3,H,W] in [0,1], at the frame's size.
    """

    core_latent: np.ndarray
    core_image: np.ndarray
    final_latent: np.ndarray
    image: np.ndarray


class Lotus2Predictor:
    """The published Lotus-2 function, on the device of its network. res: short side in pixels, not the published rule."""

    def __init__(self, net: Lotus2Net, kinds: tuple[Kind, ...], fingerprint: str, res: int | None = None):
        self.kinds, self.fingerprint = kinds, fingerprint
        self._net: Lotus2Net | None = net
        self._device, self._res = net.device, res

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The source's own size: the published resize is part of the function."""
        return height, width

    @torch.no_grad()
    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        """uint8 [N,H,W,3] -> N Maps of H x W, in our axes. sharpen: with the ten steps of the detail sharpener."""
        with _on(self._device):
            latent = self._encode(rgb)
            found = {kind: self._maps(kind, latent, rgb.shape[1:3], sharpen) for kind in self.kinds}
        empty: list[None] = [None] * len(rgb)
        return [Maps(*pair) for pair in zip(found.get("depth", empty), found.get("normal", empty), strict=True)]

    @torch.no_grad()
    def stages(self, rgb: np.ndarray, kind: Kind) -> Stages:
        """Every stage for one frame, uint8 [H,W,3]: for tests and for looking inside."""
        with _on(self._device):
            core = self._ready.core(kind, self._encode(rgb[None]))
            final = self._ready.sharpen(kind, core)
            images = [resize(self._ready.vae.decode(latent), rgb.shape[:2])[0] for latent in (core, final)]
        return Stages(*(t.cpu().numpy() for pair in zip((core, final), images, strict=True) for t in pair))

    def close(self) -> None:
        """Lets the weights go. Idempotent."""
        self._net = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def _ready(self) -> Lotus2Net:
        assert self._net is not None, "the predictor was closed"
        return self._net

    def _encode(self, rgb: np.ndarray) -> Tensor:
        """uint8 [N,H,W,3] -> latents float32 [N,16,h/8,w/8], frame by frame: a batch gains nothing here and costs memory."""
        frames = upload(rgb, self._device)
        return torch.cat([self._ready.vae.encode(self._prepared(frame)) for frame in frames])

    def _prepared(self, frame: Tensor) -> Tensor:
        """uint8 [H,W,3] -> float32 [1,3,h,w] in [-1,1], at the size of the network."""
        image = frame.permute(2, 0, 1)[None].float() / 127.5 - 1
        for size in sizes(frame.shape[0], frame.shape[1], self._res):
            image = resize(image, size)
        return image

    def _maps(self, kind: Kind, latent: Tensor, size: tuple[int, ...], sharpen: bool) -> list[np.ndarray]:
        latent = self._ready.core(kind, latent)
        if sharpen:
            latent = self._ready.sharpen(kind, latent)
        maps = [self._map(kind, self._ready.vae.decode(one), (size[0], size[1])) for one in latent.split(1)]
        return list(torch.cat(maps).cpu().numpy())  # at once, so that the card never waits for a copy

    def _map(self, kind: Kind, image: Tensor, size: tuple[int, int]) -> Tensor:
        """One decoded picture [1,3,h,w] in [0,1] to our map at `size`, [1,H,W] or [1,H,W,3], float32 throughout."""
        if kind == "depth":
            return resize(image.mean(dim=1, keepdim=True), size)[0]
        return gl_normals(resize(image, size))


def make(rest: str, options: ModelOptions) -> Lotus2Predictor:
    """For the registry: from the files. Raises WeightsError for missing or wrong files, UsageError for what does not fit."""
    if rest:
        raise UsageError(f"lotus-2 takes nothing after a colon, got {rest!r}", "--model")
    files, device = find(options.weights), pick_device(options.device)
    checkpoint = open_checkpoint(files, options.kinds, device)
    plan = make_plan(options.precision, look_at(device), needs(checkpoint, options.sharpen))
    _log.info("lotus-2: %s", plan.why)
    with torch.no_grad(), _on(device):
        net = Lotus2Net(checkpoint, open_vae(files, device, plan), device, plan)
    made = (FUNCTION, files.digest(options.kinds), plan.weights, device.type, str(options.res), *options.kinds)
    return Lotus2Predictor(net, options.kinds, " ".join(made), options.res)


def needs(checkpoint: Checkpoint, sharpen: bool) -> Needs:
    """What a checkpoint needs on the device, with the sharpeners or without."""
    wanted = [a.layers for (part, _), a in checkpoint.adapters.items() if sharpen or part == "core_predictor"]
    sizes_: dict[Weights, int] = {w: resident_bytes(checkpoint.config, wanted, w) for w in BYTES}
    config = checkpoint.config
    return Needs(sizes_, config.num_layers + config.num_single_layers, config.width)


@contextlib.contextmanager
def _on(device: torch.device) -> Iterator[None]:
    """Kernels and graphs go to this card, be it the first or not. One that ran full is an error a user can act on."""
    try:
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            yield
    except torch.OutOfMemoryError as error:
        hint = "use --precision fp8, a smaller --res, or close what else is using the card"
        raise UsageError("the card's memory ran full", str(device), hint) from error
