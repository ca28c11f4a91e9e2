"""A function of tensors recorded once as a CUDA graph: hundreds of small kernels then cost the host a single launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST = 4  # sizes of pictures of which a recording is kept


@dataclass(frozen=True)
class _Take:
    graph: torch.cuda.CUDAGraph
    given: Tensor
    made: Tensor


class Recorded:
    """`function` of one tensor, whose kernels depend on nothing but its shape and dtype; on a CPU the function itself.

    pool: of `torch.cuda.graph_pool_handle`; functions that share one share their memory, and must not run at the same time.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], pool: Any):
        self._function, self._pool = function, pool
        self._takes: dict[tuple, _Take] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if not x.is_cuda:
            return self._function(x)
        key = (*x.shape, x.dtype)
        if key not in self._takes:
            if len(self._takes) == MOST:
                torch.cuda.synchronize(x.device)  # none of them may still run
                self._takes.clear()
            self._takes[key] = self._record(x)
        take = self._takes[key]
        take.given.copy_(x)
        take.graph.replay()
        return take.made.clone()

    def _record(self, x: Tensor) -> _Take:
        given, aside = x.clone(), torch.cuda.Stream(x.device)
        aside.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(aside):
            self._function(given)  # builds kernels and takes what workspace they need
        torch.cuda.current_stream(x.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            made = self._function(given)
        return _Take(graph, given, made)
