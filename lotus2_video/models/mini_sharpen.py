"""The mini's detail sharpener: Lotus-2's second stage at small size, over the same operations as `mini_net`.

A rectified flow without noise (Lotus-2, arXiv 2512.01030, section 3.3): straight lines lead from the core's maps x0 to clean
maps x1, `x_t = x0 + t (x1 - x0)`; the network says the velocity x1 - x0 from the picture, x0, x_t and t, and a few Euler
steps follow it. It is convolutional throughout, so that it runs at any size and, large pictures in tiles that overlap by
REACH, gives the same everywhere.

    picture, x0, x_t ── 1/2 ──────────────────────── + ── 1/2 ── unshuffle ── velocity at full size
                         └── 1/4 ─────────── + ── 1/4 ─┘
                              └── 1/8 ── 1/8 ┘
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .mini_net import CHANNELS, Ops

STEPS = 4  # Euler steps from the core's maps to the sharpened ones
MAPS = sum(CHANNELS.values())  # channels of all maps together: disparity first, then normals
WIDTHS = (32, 64, 96)  # channels at 1/2, 1/4 and 1/8
STRIDE = 8  # picture sides must be multiples of this
REACH = 96  # pixels; no further does one pixel of the picture change the maps in one step


def sharpen(ops: Ops, w: Mapping[str, Any], x: Any, start: Any, size: tuple[int, int], steps: int = STEPS) -> Any:
    """The sharpened maps [N,MAPS,H,W], neither clipped nor normalised.

    x: the picture [N,3,H,W], normalised by MEAN and STD. start: the core's maps [N,MAPS,H,W] at that size. size: (H, W),
    multiples of STRIDE. w: the weights by name.
    """
    maps = start
    for i in range(steps):
        maps = ops.add(maps, ops.scale(velocity(ops, w, x, start, maps, i / steps, size), 1 / steps))
    return maps


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
