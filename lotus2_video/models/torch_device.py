"""Choosing a device and moving frames there; for any model that runs in torch."""

from __future__ import annotations

import os
import re

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError

# Memory that one stage leaves in pieces of a wrong size for the next would be a sixth of what lotus-2 takes of a card.
# Read when the first CUDA tensor is made.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def pick_device(name: str) -> torch.device:
    """The device of "auto" (a CUDA card where there is one), "cpu", "cuda" or "cuda:N". Raises UsageError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise UsageError(f"got {name!r}, takes auto, cpu, cuda or cuda:N", "--device")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no {name} here ({torch.cuda.device_count()} CUDA devices)", "--device", "use cpu")
    return device


def upload(rgb: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [N,h,w,3] -> the same on the device, copied from pinned memory without waiting."""
    frames = torch.from_numpy(np.ascontiguousarray(rgb))
    return frames.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else frames
