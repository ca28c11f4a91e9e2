"""Group normalisation with SiLU, sums with a bias, and enlarging, on channels-last tensors of a CUDA device, in Triton.

A full-size autoencoder spends more time moving its activations than multiplying them: torch's group normalisation leaves
channels-last and comes back, and each bias, SiLU and sum is a pass of its own. Here a normalisation reads twice and writes
once, the bias of the convolution before it and the SiLU after it included.

Values are rounded where torch, one operation after the other, would round them: an autoencoder in bfloat16 is 2 % away from
one in float32, and ours shall be the published one.
"""

# A kernel is launched as `kernel[grid](...)`, which no type says; and a torch for CPUs comes without Triton.
# pyright: reportIndexIssue=false, reportMissingImports=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra import libdevice

BLOCK = 8192  # numbers that a program holds at a time
PARTS = 264  # programs a frame at most in the first pass
LINES = 32  # of their sums that are added at a time


def norm_silu(
    x: Tensor, bias: Tensor, weight: Tensor, shift: Tensor, groups: int, eps: float, silu: bool, dtype: torch.dtype
) -> Tensor:
    """SiLU (or not) of the group normalisation (Wu and He, 2018) of x + bias.

    x: [N,C,h,w], channels last, C a power of two. bias, weight, shift: [C]. Returns `dtype` of the same layout.
    """
    frames, channels, height, width = x.shape
    pixels, rows = height * width, BLOCK // channels
    turns = triton.cdiv(pixels, rows * PARTS)
    parts = triton.cdiv(pixels, rows * turns)
    sums = torch.empty(frames, parts, 2, channels, device=x.device, dtype=torch.float32)
    _sum[(frames, parts)](x, bias, sums, pixels, turns, channels, rows)
    out = torch.empty_like(x, dtype=dtype)  # keeps the layout
    line = torch.empty(frames, 2, channels, device=x.device, dtype=torch.float32)
    lines = triton.cdiv(parts, LINES)
    _to_line[(frames,)](sums, weight, shift, line, out, parts, lines, pixels, eps, channels, groups, LINES, num_warps=8)
    _apply[(frames, triton.cdiv(pixels, rows))](x, bias, line, out, pixels, channels, rows, silu)
    return out


def add_bias(a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
    """a + (b + bias), [N,C,h,w] channels last and [C], in the dtype of a."""
    out = torch.empty_like(a)
    channels, rows = a.shape[1], BLOCK // a.shape[1]
    pixels = a.numel() // channels
    _add[(triton.cdiv(pixels, rows),)](a, b, bias, out, pixels, channels, rows)
    return out


def upsample(x: Tensor) -> Tensor:
    """Twice as high and wide, each pixel four times: [N,C,h,w] channels last -> [N,C,2h,2w] channels last."""
    frames, channels, height, width = x.shape
    layout = torch.channels_last
    out = torch.empty(frames, channels, 2 * height, 2 * width, device=x.device, dtype=x.dtype, memory_format=layout)
    pixels, rows = frames * height * width, BLOCK // channels
    _upsample[(triton.cdiv(pixels, rows),)](x, out, pixels, width, channels, rows)
    return out


@triton.jit
def _block(pixels, first, C: tl.constexpr, ROWS: tl.constexpr):
    row = first + tl.arange(0, ROWS)
    return row.to(tl.int64)[:, None] * C + tl.arange(0, C)[None, :], (row < pixels)[:, None]


@triton.jit
def _rounded(value, like):
    return value.to(like.dtype.element_ty).to(tl.float32)


@triton.jit
def _sum(x, bias, sums, pixels, turns, C: tl.constexpr, ROWS: tl.constexpr):
    """Of each channel over a part of a frame: its sum and its sum of squares."""
    frame, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    channel = tl.arange(0, C)
    offset = tl.load(bias + channel).to(tl.float32)[None, :]
    one, two = tl.zeros([C], tl.float32), tl.zeros([C], tl.float32)
    for turn in range(turns):
        where, inside = _block(pixels, (part * turns + turn) * ROWS, C, ROWS)
        value = tl.load(x + frame * pixels * C + where, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, _rounded(value + offset, x), 0.0)
        one += tl.sum(value, axis=0)
        two += tl.sum(value * value, axis=0)
    target = sums + (frame * tl.num_programs(1) + part) * 2 * C + channel
    tl.store(target, one)
    tl.store(target + C, two)


@triton.jit
def _to_line(
    sums,
    weight,
    shift,
    line,
    like,
    parts,
    turns,
    pixels,
    eps,
    C: tl.constexpr,
    GROUPS: tl.constexpr,
    LINES: tl.constexpr,
):
    """What normalisation does to each channel of a frame, as x * factor + offset. Mean and deviation are rounded to the
    dtype of `like`, as torch keeps them."""
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, C)
    ones, twos = tl.zeros([LINES, C], tl.float32), tl.zeros([LINES, C], tl.float32)
    for turn in range(turns):
        part = turn * LINES + tl.arange(0, LINES)
        source = sums + (frame * parts + part[:, None]) * 2 * C + channel[None, :]
        ones += tl.load(source, mask=(part < parts)[:, None], other=0.0)
        twos += tl.load(source + C, mask=(part < parts)[:, None], other=0.0)
    one, two = tl.sum(ones, axis=0), tl.sum(twos, axis=0)
    count = pixels * (C // GROUPS)
    mean = tl.sum(tl.reshape(one, [GROUPS, C // GROUPS]), axis=1) / count
    square = tl.sum(tl.reshape(two, [GROUPS, C // GROUPS]), axis=1) / count
    inverse = _rounded(1.0 / tl.sqrt(tl.maximum(square - mean * mean, 0.0) + eps), like)
    mean = _rounded(mean, like)
    means = tl.reshape(tl.broadcast_to(mean[:, None], [GROUPS, C // GROUPS]), [C])
    inverses = tl.reshape(tl.broadcast_to(inverse[:, None], [GROUPS, C // GROUPS]), [C])
    factor = inverses * tl.load(weight + channel).to(tl.float32)
    offset = tl.load(shift + channel).to(tl.float32) - means * factor
    tl.store(line + frame * 2 * C + channel, factor)
    tl.store(line + frame * 2 * C + C + channel, offset)


@triton.jit
def _apply(x, bias, line, out, pixels, C: tl.constexpr, ROWS: tl.constexpr, SILU: tl.constexpr):
    frame = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, C)
    factor = tl.load(line + frame * 2 * C + channel)[None, :]
    offset = tl.load(line + frame * 2 * C + C + channel)[None, :]
    where, inside = _block(pixels, tl.program_id(1) * ROWS, C, ROWS)
    where += frame * pixels * C
    before = tl.load(bias + channel).to(tl.float32)[None, :]
    value = _rounded(tl.load(x + where, mask=inside, other=0.0).to(tl.float32) + before, x) * factor + offset
    if SILU:
        value = _rounded(value, out)
        value = tl.div_rn(value, 1.0 + libdevice.exp(-value))  # as exact as torch's: its faster kin flip last bits
    tl.store(out + where, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _add(a, b, bias, out, pixels, C: tl.constexpr, ROWS: tl.constexpr):
    where, inside = _block(pixels, tl.program_id(0) * ROWS, C, ROWS)
    value = tl.load(b + where, mask=inside, other=0.0).to(tl.float32)
    value = _rounded(value + tl.load(bias + tl.arange(0, C)).to(tl.float32)[None, :], b)
    value += tl.load(a + where, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + where, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _upsample(x, out, pixels, width, C: tl.constexpr, ROWS: tl.constexpr):
    where, inside = _block(pixels, tl.program_id(0) * ROWS, C, ROWS)
    value = tl.load(x + where, mask=inside)
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    corner = pixel // width * 4 * width + pixel % width * 2
    target = out + corner[:, None] * C + tl.arange(0, C)[None, :]
    for row in tl.static_range(2):
        for column in tl.static_range(2):
            tl.store(target + (row * 2 * width + column) * C, value, mask=inside)
