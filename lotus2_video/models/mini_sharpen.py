"""The mini's detail sharpener: Lotus-2's second stage at small size, over the same operations as `mini_net`.

A rectified flow without noise (Lotus-2, arXiv 2512.01030, section 3.3): straight lines lead from the core's maps x0 to clean
maps x1, `x_t = x0 + t (x1 - x0)`; the network says the velocity x1 - x0 from the picture, x0, x_t and t, and a few Euler
steps follow it. It is convolutional throughout, so that it runs at any size and, large pictures in tiles that overlap by
REACH after every step, gives the same everywhere.

    picture, x0, x_t ── 1/2 ──────────────────────── + ── 1/2 ── unshuffle ── velocity at full size
                         └── 1/4 ─────────── + ── 1/4 ─┘
                              └── 1/8 ── 1/8 ┘
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from .mini_net import CHANNELS, Ops

STEPS = 4  # Euler steps from the core's maps to the sharpened ones
MAPS = sum(CHANNELS.values())  # channels of all maps together: disparity first, then normals
WIDTHS = (32, 64, 96)  # channels at 1/2, 1/4 and 1/8
STRIDE = 8  # picture sides must be multiples of this
REACH = 96  # pixels; no further does one pixel of the picture change the maps in one step
FADE = 32  # pixels over which one tile gives way to the next
MOST = 1152  # pixels of a tile's side: 1920 x 1080 is two tiles
LONGEST = 1080  # pixels of the short side of what is sharpened; what is larger than that is enlarged


@dataclass(frozen=True)
class Tile:
    """A part of a picture. weight: [1,1,rows,columns] in [0,1]; those of all tiles sum to one everywhere."""

    rows: slice
    columns: slice
    weight: Any

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def of(self, x: Any) -> Any:
        """The part of [N,C,H,W]."""
        return x[..., self.rows, self.columns]


def follow(velocity: Callable[[Tile, Any, float], Any], start: Any, tiles: Sequence[Tile], steps: int = STEPS) -> Any:
    """Euler's way from `start` [N,MAPS,H,W], at whose end the maps are neither clipped nor normalised. Arrays or tensors.

    velocity: of a tile, from the maps [N,MAPS,H,W] so far and the time in [0,1]. Tiles meet after every step, so that one of
    them never has to reach further than a step does, and the result is that of one tile.
    """
    maps = start
    for i in range(steps):
        moved = 1 * maps
        for tile in tiles:
            part = tile.of(moved)
            part += tile.weight * velocity(tile, maps, i / steps) / steps
        maps = moved
    return maps


def tiles(size: tuple[int, int], most: int = MOST) -> list[Tile]:
    """Tiles of one size that cover a picture of `size` (multiples of STRIDE), no side longer than `most` (above 2 REACH).

    They overlap by 2 REACH or more, and in the middle of that, where both see all that they reach, one fades into the other.
    """
    rows, columns = (_spans(length, most) for length in size)
    return [Tile(y, x, a[:, None] * b) for y, a in rows for x, b in columns]


def _spans(length: int, most: int) -> list[tuple[slice, np.ndarray]]:
    """Along one axis: where the tiles are, and their weights."""
    if length <= most:
        return [(slice(0, length), np.ones(length, np.float32))]
    count = math.ceil((length - 2 * REACH) / (most - 2 * REACH))
    side = math.ceil(((length - 2 * REACH) / count + 2 * REACH) / STRIDE) * STRIDE
    starts = [round(i * (length - side) / (count - 1) / STRIDE) * STRIDE for i in range(count)]
    borders = [-math.inf, *((after + before + side) / 2 for before, after in pairwise(starts)), math.inf]
    spans = []
    for start, (left, right) in zip(starts, pairwise(borders), strict=True):
        x = np.arange(start, start + side, dtype=np.float32) + np.float32(0.5)
        spans.append((slice(start, start + side), _beyond(x, left) - _beyond(x, right)))
    return spans


def _beyond(x: np.ndarray, border: float) -> np.ndarray:
    """0 before the border, 1 after it, and between them FADE pixels long a slope."""
    return np.clip((x - np.float32(border)) / np.float32(FADE) + np.float32(0.5), 0, 1)


def velocity(ops: Ops, w: Mapping[str, Any], x: Any, start: Any, maps: Any, t: Any, size: tuple[int, int]) -> Any:
    """Where the maps are going at time t: [N,MAPS,H,W]. t: in [0,1], a number or, in training, a tensor [N,1,1,1]."""
    level = ops.concat([x, start, maps], 1)
    kept = []
    for i in range(len(WIDTHS)):
        level = _timed(ops, w, f"sharpen.{i}.down", level, t)
        level = _unit(ops, w, f"sharpen.{i}.unit", level)
        kept.append(level)
    for i in reversed(range(len(WIDTHS) - 1)):
        level = ops.resize(_conv(ops, w, f"sharpen.{i}.up", level, padding=0), (size[0] >> i + 1, size[1] >> i + 1))
        level = _unit(ops, w, f"sharpen.{i}.join", ops.add(kept[i], level))
    return ops.unshuffle(_conv(ops, w, "sharpen.out", ops.gelu(level)), 2)


def _timed(ops: Ops, w: Mapping[str, Any], name: str, x: Any, t: Any) -> Any:
    """A convolution to half the size whose bias moves with time."""
    return ops.add(_conv(ops, w, name, x, stride=2), ops.scale(w[f"{name}.time"], t))


def _unit(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.add(x, _conv(ops, w, f"{name}.b", ops.gelu(_conv(ops, w, f"{name}.a", ops.gelu(x)))))


def _conv(ops: Ops, w: Mapping[str, Any], name: str, x: Any, stride: int = 1, padding: int = 1) -> Any:
    return ops.conv(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)


def shapes() -> dict[str, tuple[int, ...]]:
    """Every weight by name with its shape."""
    found: dict[str, tuple[int, ...]] = {}

    def add(name: str, *weight: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, weight[:1]

    before = 3 + 2 * MAPS
    for i, width in enumerate(WIDTHS):
        add(f"sharpen.{i}.down", width, before, 4, 4)
        found[f"sharpen.{i}.down.time"] = (1, width, 1, 1)
        for part in ("unit", "join")[: 1 if i == len(WIDTHS) - 1 else 2]:
            add(f"sharpen.{i}.{part}.a", width, width, 3, 3)
            add(f"sharpen.{i}.{part}.b", width, width, 3, 3)
        if i:
            add(f"sharpen.{i - 1}.up", WIDTHS[i - 1], width, 1, 1)
        before = width
    add("sharpen.out", 4 * MAPS, WIDTHS[0], 3, 3)
    return found
