"""`flux_ops` in Triton: one program for each token, its row read once and written once.

Values are rounded where torch, one operation after the other, would round them, so that the two give nearly the same bits.
"""

# A kernel is launched as `kernel[grid](...)`, which no type says; and a torch for CPUs comes without Triton.
# pyright: reportIndexIssue=false, reportMissingImports=false

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from .fp8 import E4M3_MAX, TINIEST, Rows

Added = tuple[Tensor, Tensor, Tensor | None]  # gate [D], y [B,T,D] and a bias [D] of y


def modulate(x: Tensor, added: Added | None, shift: Tensor, scale: Tensor, eps: float, fp8: bool) -> Tensor | Rows:
    """Adds gate * (y + bias), where there is one, to x in its place; then what `flux_ops.Stream.modulated` says."""
    gate, y, bias = added or (None, None, None)
    assert x.is_contiguous()
    assert y is None or y.is_contiguous()
    out, scales = _room(x, x.shape[2], fp8)
    width = triton.next_power_of_2(x.shape[2])
    _modulate[_tokens(x)](
        x, gate, y, bias, shift, scale, out, scales, eps, x.shape[2], width, y is not None, bias is not None, fp8
    )
    return Rows(out, scales) if fp8 else out


def join(plain: Tensor | None, up: Tensor | None) -> Rows:
    """See `flux_ops.rows`."""
    some = up if plain is None else plain
    assert some is not None
    assert up is None or up.is_contiguous()
    one, two = (0 if part is None else part.shape[2] for part in (plain, up))
    out, scales = _room(some, one + two, fp8=True)
    widths = (triton.next_power_of_2(max(n, 1)) for n in (one, two))
    _join[_tokens(some)](plain, up, out, scales, some.stride(0), some.stride(1), one, two, *widths, num_warps=8)
    return Rows(out, scales)


def turned(
    parts: Sequence[tuple[Tensor, Tensor, Tensor]], rope: tuple[Tensor, Tensor], heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    first, count = parts[0][0], sum(part[0].shape[1] for part in parts)
    channels, copied = first.shape[2] // 3 // heads, len(parts) > 1
    out = torch.empty(3 if copied else 2, len(first), count, heads, channels, device=first.device, dtype=first.dtype)
    start, rows = 0, triton.next_power_of_2(heads)
    for qkv, norm_q, norm_k in parts:
        assert qkv.is_contiguous()
        sizes = (qkv.shape[1], count, start, eps, heads, channels, rows, copied)
        _turn[_tokens(qkv)](qkv, norm_q, norm_k, *rope, out, *sizes)
        start += qkv.shape[1]
    return out[0], out[1], out[2] if copied else first.unflatten(-1, (3, heads, channels))[:, :, 2]


def _tokens(x: Tensor) -> tuple[int, int]:
    assert x.stride(2) == 1
    return x.shape[1], x.shape[0]


def _room(x: Tensor, columns: int, fp8: bool) -> tuple[Tensor, Tensor]:
    """Where the result goes, [B,T,columns], and its scales, float32 [B,T,1] (unused but in fp8)."""
    dtype = torch.float8_e4m3fn if fp8 else x.dtype
    out = torch.empty(*x.shape[:2], columns, device=x.device, dtype=dtype)
    return out, torch.empty(*x.shape[:2], 1, device=x.device, dtype=torch.float32)


@triton.jit
def _rounded(value, like):
    return value.to(like.dtype.element_ty).to(tl.float32)


@triton.jit
def _scale(largest, scales, row):
    """What a row whose largest magnitude is `largest` is divided by before it becomes e4m3; kept in `scales`."""
    scale = tl.maximum(largest, TINY) / MOST
    tl.store(scales + row, scale)
    return scale


@triton.jit
def _e4m3(value, scale):
    return tl.clamp(value * (1.0 / scale), -MOST, MOST).to(tl.float8e4nv)


@triton.jit
def _modulate(
    x, gate, y, bias, shift, scale, out, scales, eps,
    D: tl.constexpr, W: tl.constexpr, ADD: tl.constexpr, BIASED: tl.constexpr, FP8: tl.constexpr,
):  # fmt: skip
    token, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = batch * tl.num_programs(0) + token
    column = tl.arange(0, W)
    inside = column < D
    value = tl.load(x + row * D + column, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        new = tl.load(y + row * D + column, mask=inside, other=0.0).to(tl.float32)
        if BIASED:
            new = _rounded(new + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32), x)
        value += _rounded(tl.load(gate + column, mask=inside, other=0.0).to(tl.float32) * new, x)
        value = _rounded(value, x)
        tl.store(x + row * D + column, value, mask=inside)
    away = tl.where(inside, value - tl.sum(value) / D, 0.0)
    normed = _rounded(away * tl.rsqrt(tl.sum(away * away) / D + eps), x)
    factor = _rounded(1.0 + tl.load(scale + column, mask=inside, other=0.0).to(tl.float32), x)
    offset = tl.load(shift + column, mask=inside, other=0.0).to(tl.float32)
    made = _rounded(_rounded(normed * factor, x) + offset, x)
    if FP8:
        made = _e4m3(made, _scale(tl.max(tl.abs(made)), scales, row))
    tl.store(out + row * D + column, made, mask=inside)


@triton.jit
def _join(
    plain, up, out, scales, batches, tokens,
    ONE: tl.constexpr, TWO: tl.constexpr, W1: tl.constexpr, W2: tl.constexpr,
):  # fmt: skip
    token, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    row = batch * tl.num_programs(0) + token
    first, second = tl.arange(0, W1), tl.arange(0, W2)
    target = out + row * (ONE + TWO)
    one, two = tl.zeros([W1], tl.float32), tl.zeros([W2], tl.float32)
    if ONE > 0:
        one = tl.load(plain + batch * batches + token * tokens + first, mask=first < ONE, other=0.0).to(tl.float32)
    if TWO > 0:
        x = tl.load(up + row * TWO + second, mask=second < TWO, other=0.0).to(tl.float32)
        two = _rounded(x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)), up)  # 2 sqrt(2 / pi)
    scale = _scale(tl.maximum(tl.max(tl.abs(one)), tl.max(tl.abs(two))), scales, row)
    tl.store(target + first, _e4m3(one, scale), mask=first < ONE)
    tl.store(target + ONE + second, _e4m3(two, scale), mask=second < TWO)


@triton.jit
def _turn(
    qkv, norm_q, norm_k, cos, sin, out, tokens, count, start, eps,
    H: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr, COPIED: tl.constexpr,
):  # fmt: skip
    """One token's heads: query and key normalised and turned; the value copied where the parts are joined."""
    token, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    head, channel, pair = tl.arange(0, ROWS), tl.arange(0, C), tl.arange(0, C // 2)
    where, inside = head[:, None] * C + channel[None, :], (head < H)[:, None]
    source = qkv + (batch * tokens + token) * 3 * H * C + where
    target = out + (batch * count + start + token) * H * C + where
    whole = tl.num_programs(1).to(tl.int64) * count * H * C
    c = tl.load(cos + (start + token) * (C // 2) + pair)[None, :]
    s = tl.load(sin + (start + token) * (C // 2) + pair)[None, :]
    for i in tl.static_range(2):
        x = tl.load(source + i * H * C, mask=inside, other=0.0).to(tl.float32)
        weight = tl.load((norm_q if i == 0 else norm_k) + channel).to(tl.float32)[None, :]
        normed = _rounded(x * tl.rsqrt(tl.sum(x * x, axis=1) / C + eps)[:, None] * weight, qkv)
        even, odd = tl.split(tl.reshape(normed, [ROWS, C // 2, 2]))
        turned = tl.reshape(tl.join(even * c - odd * s, odd * c + even * s), [ROWS, C])
        tl.store(target + i * whole, turned, mask=inside)
    if COPIED:
        tl.store(target + 2 * whole, tl.load(source + 2 * H * C, mask=inside), mask=inside)


TINY, MOST = tl.constexpr(TINIEST), tl.constexpr(E4M3_MAX)
