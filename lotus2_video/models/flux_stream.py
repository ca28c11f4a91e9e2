"""Blocks that stay in host memory and pass through two places on the card, the next one copied while one works."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn


class StreamedBlocks(nn.Module):
    """Iterates `blocks`, all of one kind, each on the device when its turn comes; a block is valid until the next is asked for.

    The blocks are pinned where they are, in host memory. On a device that is no CUDA card the copies are plain.
    """

    def __init__(self, blocks: list[nn.Module], device: torch.device):
        super().__init__()
        self._cuda = device.type == "cuda"
        self._blocks = blocks  # a plain list: these must not follow `to`
        self._places = nn.ModuleList(copy.deepcopy(block).to(device) for block in blocks[:2])
        if self._cuda:
            for block in blocks:
                block._apply(torch.Tensor.pin_memory)
            self._copying = torch.cuda.Stream(device)
            self._arrived = [torch.cuda.Event() for _ in self._places]
            self._worked = [torch.cuda.Event() for _ in self._places]

    def __len__(self) -> int:
        return len(self._blocks)

    def __iter__(self) -> Iterator[nn.Module]:
        self._send(0)
        for number in range(len(self)):
            if number + 1 < len(self):
                self._send(number + 1)
            place = number % 2
            if self._cuda:
                torch.cuda.current_stream().wait_event(self._arrived[place])
            yield self._places[place]
            if self._cuda:
                self._worked[place].record()

    def _send(self, number: int) -> None:
        """Copies a block to its place, after the block before it there has worked."""
        place = number % 2
        if not self._cuda:
            self._copy(number, place)
            return
        with torch.cuda.stream(self._copying):
            self._copying.wait_event(self._worked[place])
            self._copy(number, place)
            self._arrived[place].record()

    def _copy(self, number: int, place: int) -> None:
        for here, there in zip(self._blocks[number].buffers(), self._places[place].buffers(), strict=True):
            there.copy_(here, non_blocking=True)
