"""What lies between the matrix products of the FLUX transformer, as plain functions of tensors.

On CUDA, where Triton is there, each is one pass over its data (`flux_triton`); anywhere else it is the same function in
torch. Operands of a matrix product come out as the layer wants them, a tensor or, for layers in fp8, rows with scales.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .fp8 import Rows, quantise

NORM_EPS = 1e-6
Rope = tuple[Tensor, Tensor]
Part = tuple[
    Tensor, Tensor, Tensor
]  # query, key and value [B,T,3D] side by side, and the norms' weights of query and key
HAS_TRITON = importlib.util.find_spec("triton") is not None


def fused(x: Tensor) -> bool:
    """Whether the Triton kernels take it."""
    return x.is_cuda and HAS_TRITON


class Stream:
    """The tokens [B,T,D] on their way through the blocks. What a block adds is put in only where the sum is read next, in the
    same pass over the tokens."""

    def __init__(self, tokens: Tensor):
        self._tokens = tokens.clone(memory_format=torch.contiguous_format)  # sums go in its place
        self._added: tuple[Tensor, Tensor, Tensor | None] | None = None

    def add(self, gate: Tensor, y: Tensor, bias: Tensor | None = None) -> None:
        """Adds gate * (y + bias), [D], [B,T,D] and [D]."""
        assert self._added is None
        self._added = (gate, y, bias)

    def modulated(self, shift: Tensor, scale: Tensor, fp8: bool) -> Tensor | Rows:
        """Layer normalisation, times 1 + scale, plus shift, [D] each. fp8: as rows with scales."""
        if fused(self._tokens):
            from .flux_triton import modulate

            added, self._added = self._added, None
            return modulate(self._tokens, added, shift, scale, NORM_EPS, fp8)
        x = self.whole()
        y = F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift
        return quantise(y) if fp8 else y

    def whole(self) -> Tensor:
        """The tokens [B,T,D]."""
        if self._added is not None:
            gate, y, bias = self._added
            self._tokens, self._added = self._tokens + gate * (y if bias is None else y + bias), None
        return self._tokens


def apart(layer: Any, x: Tensor, fp8: bool) -> tuple[Tensor, Tensor | None]:
    """What `layer` makes of x, a part of the tokens of each [B,T,D], and a bias that is still to be added to it: of rows that
    do not follow each other a product with a bias is two passes."""
    return (layer(rows(x, None)), None) if fp8 else (x @ layer.weight.t(), layer.bias)


def rise(up: Any, x: Tensor | Rows) -> Tensor | Rows:
    """GELU (by tanh) of what the layer `up` makes of [B,T,D], for the next layer."""
    return rows(None, up(x)) if isinstance(x, Rows) else up.gelu(x)


def rows(plain: Tensor | None, up: Tensor | None) -> Rows:
    """[B,T,D] as it is, then GELU (by tanh) of [B,T,M], in one row with a scale; either may be missing."""
    some = up if plain is None else plain
    assert some is not None
    if fused(some):
        from .flux_triton import join

        return join(plain, up)
    parts = [] if plain is None else [plain]
    return quantise(torch.cat(parts if up is None else [*parts, F.gelu(up, approximate="tanh")], dim=2))


def attend(parts: Sequence[Part], rope: Rope, heads: int) -> Tensor:
    """Attention of the tokens of all parts, one after the other, to each other: [B,S,D].

    Queries and keys are normalised (root mean square) for each head and turned by `rope`, float32 [S,D/heads/2] each.
    """
    q, k, v = (x.transpose(1, 2) for x in _heads(parts, rope, heads))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def _heads(parts: Sequence[Part], rope: Rope, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of all tokens, [B,S,heads,D/heads] each."""
    if fused(parts[0][0]):
        from .flux_triton import turned

        return turned(parts, rope, heads, NORM_EPS)
    split = [(qkv.unflatten(-1, (3, heads, -1)).unbind(2), norms) for qkv, *norms in parts]
    q, k = (torch.cat([_rms_norm(x[i], norms[i]) for x, norms in split], dim=1) for i in (0, 1))
    return _rotate(q, rope), _rotate(k, rope), torch.cat([x[2] for x, _ in split], dim=1)


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], weight, NORM_EPS)


def _rotate(x: Tensor, rope: Rope) -> Tensor:
    """Turns each pair of neighbouring channels of [B,T,heads,d] by its token's angle, in float32."""
    cos, sin = (table[:, None, :] for table in rope)
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2).to(x.dtype)
