"""Which precision and how many frames at once: decided before loading, explained in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from ..errors import UsageError
from .flux import FluxConfig, linear_shapes
from .flux_weights import Weights

GIB = 1 << 30
BYTES: dict[Weights, int] = {"fp32": 4, "bf16": 2, "fp8": 1}
# Beside the weights, estimates for FLUX.1-dev at 1024x576 (2,304 image tokens): the autoencoder, one frame at a time, and
# for each frame of a batch the widest activations of the transformer.
VAE_GIB, FRAME_GIB, WIDTH = 1.6, 0.45, 3072
STREAM_SLOTS = 4  # blocks on the card at a time when they are streamed, two of each kind
BATCH = 4


@dataclass(frozen=True)
class Card:
    """What a device offers: its kind and the bytes that are free on it."""

    kind: Literal["cpu", "cuda"]
    free: int


@dataclass(frozen=True)
class Plan:
    """How to run. why: one line for the log.

    weights: their precision. batch: frames at once. streamed: the blocks stay in host memory and pass through the card.
    """

    weights: Weights
    batch: int = 1
    streamed: bool = False
    why: str = ""


def look_at(device: torch.device) -> Card:
    if device.type == "cuda":
        return Card("cuda", torch.cuda.mem_get_info(device)[0])
    return Card("cpu", _host_memory())


def _host_memory() -> int:
    """Bytes that a program can still have: what Linux says, elsewhere all there is."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if found:
            return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def resident_bytes(config: FluxConfig, adapted: Sequence[Iterable[str]], weights: Weights) -> int:
    """The bytes of the transformers' weights when all are loaded.

    adapted: for each of them, the layers that its adapter changes; those are its own, all others are shared. The layers
    that only make modulation vectors are not kept.
    """
    linears = {n: o * i for n, (o, i) in linear_shapes(config).items() if "norm" not in n and "time_text" not in n}
    own = sum(linears[layer] for layers in adapted for layer in layers if layer in linears)
    changed_everywhere = set(linears).intersection(*adapted)
    shared = sum(size for name, size in linears.items() if name not in changed_everywhere)
    return (own + shared) * BYTES[weights]


@dataclass(frozen=True)
class Needs:
    """What a checkpoint needs. weights: `resident_bytes` for each precision. blocks: in the network. width: of a token."""

    weights: dict[Weights, int]
    blocks: int
    width: int

    def resident(self, weights: Weights, batch: int) -> int:
        """Bytes with everything on the device."""
        return self.weights[weights] + int((VAE_GIB + batch * FRAME_GIB) * GIB * self.width / WIDTH)

    def streamed(self, weights: Weights, batch: int) -> int:
        """Bytes with a few blocks at a time on the device; a double block is twice the mean."""
        slots = 2 * STREAM_SLOTS * self.weights[weights] // max(self.blocks, 2 * STREAM_SLOTS)
        return slots + self.resident(weights, batch) - self.weights[weights]


def make_plan(asked: str, card: Card, needs: Needs) -> Plan:
    """The plan for a device, or UsageError with the numbers and with what would fit.

    asked: auto, fp32, bf16 or fp8. auto is bf16 where it fits, else fp8, else
    fp8 with the blocks streamed; on the CPU fp32 where that fits, else bf16.
    """
    auto: tuple[Weights, ...] = ("fp32", "bf16") if card.kind == "cpu" else ("bf16", "fp8")
    tried = auto if asked == "auto" else (_known(asked),)
    for weights in tried:
        for batch in (BATCH, 1) if card.kind == "cuda" else (1,):
            if needs.resident(weights, batch) <= card.free:
                return _resident(weights, batch, needs.resident(weights, batch), card)
    streamed = needs.streamed("fp8", BATCH)
    if card.kind == "cuda" and tried[-1] == "fp8" and streamed <= card.free:
        why = f"fp8, {BATCH} frames at once, blocks streamed from host memory; needs {_gib(streamed)} of {_gib(card.free)} free"
        return Plan("fp8", BATCH, streamed=True, why=why)
    raise _does_not_fit(tried[-1], card, needs)


def _known(asked: str) -> Weights:
    for weights in get_args(Weights):
        if asked == weights:
            return weights
    raise UsageError(f"got {asked!r}, takes auto, {', '.join(get_args(Weights))}", "--precision")


def _resident(weights: Weights, batch: int, need: int, card: Card) -> Plan:
    numbers = f"needs {_gib(need)} of {_gib(card.free)} free"
    if card.kind == "cpu":
        return Plan(weights, batch, why=f"{weights} on the CPU, {numbers}")
    return Plan(weights, batch, why=f"{weights}, {batch} frames at once; {numbers}")


def _does_not_fit(weights: Weights, card: Card, needs: Needs) -> UsageError:
    smaller: tuple[Weights, ...] = ("bf16", "fp8")
    fits = [w for w in smaller if needs.resident(w, 1) <= card.free]
    what = (
        f"lotus-2 in {weights} needs {_gib(needs.resident(weights, 1))}, {_gib(card.free)} are free on the {card.kind}"
    )
    if fits:
        return UsageError(what, "--precision", f"{' or '.join(fits)} would fit")
    if card.kind == "cuda" and needs.streamed("fp8", BATCH) <= card.free:
        need = _gib(needs.streamed("fp8", BATCH))
        return UsageError(
            what, "--precision", f"fp8 would fit, slower, with its blocks streamed from host memory ({need})"
        )
    return UsageError(what, "--device", "free some memory, take a larger card, or use --model mini")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
