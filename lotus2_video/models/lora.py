"""Low-rank adapters: checked against the network they change, and merged into its weights one layer at a time.

W + B A, alpha = rank. Hu et al., LoRA, arXiv 2106.09685. Key names as diffusers writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from .tensors import FileTensors, Shape, Tensors

_KEY = re.compile(r"transformer\.(?P<layer>.+)\.lora_(?P<side>[AB])\.weight")
_BLOCK = re.compile(r"\.\d+\.")
_HINT = "this is not an adapter for this base model"


class Adapter:
    """One adapter file. `layers` maps each layer that it changes to its rank.

    linears: the base's linear layers, name -> (out, in). Raises WeightsError that names the key at fault.
    """

    def __init__(self, path: Path, linears: Mapping[str, tuple[int, int]]):
        self._init(FileTensors([path], path), path, linears)

    @classmethod
    def of(cls, tensors: Tensors, where: object, linears: Mapping[str, tuple[int, int]]) -> Adapter:
        """An adapter whose tensors are not in a file."""
        adapter = cls.__new__(cls)
        adapter._init(tensors, where, linears)
        return adapter

    def _init(self, tensors: Tensors, where: object, linears: Mapping[str, tuple[int, int]]) -> None:
        self._tensors, self.where = tensors, where
        self.layers = _ranks(tensors.shapes, linears, where)

    def delta(self, layer: str, device: torch.device) -> Tensor:
        """What is added to the layer's weight: float32 [out,in]."""
        a, b = (self._tensors.read(f"transformer.{layer}.lora_{side}.weight", device).float() for side in "AB")
        return b @ a


def _ranks(shapes: Mapping[str, Shape], linears: Mapping[str, tuple[int, int]], where: object) -> dict[str, int]:
    sides: dict[str, dict[str, Shape]] = {}
    for key, shape in shapes.items():
        match = _KEY.fullmatch(key)
        if match is None or match["layer"] not in linears:
            raise WeightsError(f"{key} is not expected", where, _HINT)
        sides.setdefault(match["layer"], {})[match["side"]] = shape
    if not sides:
        raise WeightsError("holds no adapter", where, _HINT)
    for layer in _same_in_every_block(sides, linears):
        for side in "AB":
            if side not in sides.get(layer, {}):
                raise WeightsError(f"transformer.{layer}.lora_{side}.weight is missing", where, _HINT)
    return {layer: _rank(layer, found, linears[layer], where) for layer, found in sides.items()}


def _same_in_every_block(sides: Mapping[str, object], linears: Mapping[str, object]) -> list[str]:
    """The layers that an adapter must hold: those it names, in every block of their kind."""
    targets = {_BLOCK.sub(".*.", layer, count=1) for layer in sides}
    return [layer for layer in linears if layer in sides or _BLOCK.sub(".*.", layer, count=1) in targets]


def _rank(layer: str, found: Mapping[str, Shape], linear: tuple[int, int], where: object) -> int:
    rank = found["A"][0] if len(found["A"]) == 2 else 0
    for side, wanted in (("A", (rank, linear[1])), ("B", (linear[0], rank))):
        if found[side] != wanted:
            got = f"transformer.{layer}.lora_{side}.weight has shape {list(found[side])}, expected {list(wanted)}"
            raise WeightsError(got, where, _HINT)
    return rank
