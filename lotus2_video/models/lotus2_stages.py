"""What the published Lotus-2 does around its network, as pure functions: sizes, time steps, conversions.

He et al., Lotus-2, arXiv 2512.01030; the released pipeline where the paper is silent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 1024  # px; longer pictures are shrunk to it
MULTIPLE = 16  # px; a token of the transformer is a 2x2 patch of a latent at 1/8 of the picture
STEPS = 10
CORE_TIMESTEP = 1.0
GUIDANCE = 3.5


def sizes(height: int, width: int, res: int | None = None) -> list[tuple[int, int]]:
    """The (height, width) in pixels of each resize, in turn, on the way from a picture to the network.

    Published: if the longer side exceeds 1024, shrink to 1024; then scale the short side down to a multiple of 16 and cut
    the long side to one. res: the short side to aim at, in place of the first rule. Pictures below 16 pixels, which the
    published rule cannot take, are enlarged to 16.
    """
    steps = []
    longer, shorter = max(height, width), min(height, width)
    first = res / shorter if res is not None else LONGEST / longer if longer > LONGEST else None
    if first is not None:
        height, width = max(1, int(height * first)), max(1, int(width * first))
        steps.append((height, width))
    shorter = min(height, width)
    scale = max(shorter // MULTIPLE, 1) * MULTIPLE / shorter
    steps.append((_down(height * scale), _down(width * scale)))
    return steps


def _down(side: float) -> int:
    return max(int(side) // MULTIPLE, 1) * MULTIPLE


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """[N,C,H,W] -> [N,C,*size], bilinear between pixel centres, without antialiasing, as published."""
    return image if image.shape[2:] == size else F.interpolate(image, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Schedule:
    """How far the time steps lean toward noise, by the number of tokens; names and defaults of FLUX.1-dev's scheduler."""

    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    base_shift: float = 0.5
    max_shift: float = 1.15

    @classmethod
    def of(cls, config: dict[str, Any]) -> Schedule:
        """From a scheduler_config.json."""
        return cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})

    def sigmas(self, tokens: int) -> list[float]:
        """The noise levels at the start of each sharpener step, and the 0 after the last: STEPS + 1 numbers, falling.

        The levels 1, 0.9, ... 0.1 shifted by exp(mu) / (exp(mu) + 1/sigma - 1), mu linear in the number of image tokens
        (Esser et al., arXiv 2403.03206, as diffusers' FlowMatchEulerDiscreteScheduler does it).
        """
        slope = (self.max_shift - self.base_shift) / (self.max_image_seq_len - self.base_image_seq_len)
        lean = math.exp(self.base_shift + slope * (tokens - self.base_image_seq_len))
        return [lean / (lean + STEPS / (STEPS - step) - 1) for step in range(STEPS)] + [0.0]

    def timesteps(self, tokens: int) -> list[float]:
        """The timestep of each sharpener step: the levels over a training schedule of STEPS steps."""
        return [sigma * STEPS for sigma in self.sigmas(tokens)[:-1]]


def gl_normals(image: Tensor) -> Tensor:
    """Published normals as a picture, [N,3,H,W] in [0,1], to unit normals in camera space, [N,H,W,3].

    Published axes: +X left, +Y up, +Z toward the viewer, (n+1)/2; ours: +X right. Where the picture is grey (no direction)
    the normal faces the camera.
    """
    raw = image.permute(0, 2, 3, 1) * 2 - 1
    normal = raw * raw.new_tensor([-1.0, 1.0, 1.0])
    length = normal.norm(dim=-1, keepdim=True)
    facing = normal.new_tensor([0.0, 0.0, 1.0])
    return torch.where(length > 1e-6, normal / length.clamp(min=1e-6), facing)
