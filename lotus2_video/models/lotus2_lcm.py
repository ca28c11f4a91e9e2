"""The local continuity module: two convolutions that smooth the seams between the transformer's patches."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import WeightsError
from .tensors import BROKEN, FileTensors, check_shapes

ZIP_MAGIC = b"PK\x03\x04"


class Lcm:
    """x + conv3x3(gelu(conv3x3(x))) over latents, in float32, C -> 2C -> C channels (arXiv 2512.01030, sec. 3)."""

    def __init__(self, weights: dict[str, Tensor]):
        self._first = weights["lcm.0.weight"], weights["lcm.0.bias"]
        self._second = weights["lcm.2.weight"], weights["lcm.2.bias"]

    def __call__(self, latent: Tensor) -> Tensor:
        """float32 [N,C,h,w] -> the same."""
        hidden = F.gelu(F.conv2d(latent, *self._first, padding=1))
        return latent + F.conv2d(hidden, *self._second, padding=1)


def lcm_shapes(channels: int) -> dict[str, tuple[int, ...]]:
    wide = 2 * channels
    return {
        "lcm.0.weight": (wide, channels, 3, 3),
        "lcm.0.bias": (wide,),
        "lcm.2.weight": (channels, wide, 3, 3),
        "lcm.2.bias": (channels,),
    }


def load_lcm(path: Path, channels: int, device: torch.device) -> Lcm:
    """The module in a file, which may be a torch archive or a safetensors file, whatever its name. Raises WeightsError."""
    weights = _read(path)
    check_shapes({key: tuple(t.shape) for key, t in weights.items()}, lcm_shapes(channels), path)
    return Lcm({key: tensor.to(device, torch.float32) for key, tensor in weights.items()})


def _is_zip(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _read(path: Path) -> dict[str, Tensor]:
    if not _is_zip(path):
        tensors = FileTensors([path], path)
        return {key: tensors.read(key, torch.device("cpu")) for key in tensors.shapes}
    try:  # from memory: given a name, torch would believe its suffix
        weights = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError("a torch archive that cannot be read", path, BROKEN.format(model="lotus-2")) from error
    if not isinstance(weights, dict) or not all(isinstance(t, Tensor) for t in weights.values()):
        raise WeightsError("a torch archive that is not a table of tensors", path, BROKEN.format(model="lotus-2"))
    return weights
