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

BLOCK = 8192  # numbers that a program holds at a time
PARTS = 264  # programs a frame at most in the first pass


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
    _sum[(frames, parts)](x, bias, sums, pixels, turns, channels, rows, num_warps=8)
    out = torch.empty_like(x, dtype=dtype)  # keeps the layout
    line = torch.empty(frames, 2, channels, device=x.device, dtype=torch.float32)
    sizes = channels, channels // groups, triton.next_power_of_2(parts)
    _to_line[(frames, groups)](sums, weight, shift, line, out, parts, pixels, eps, *sizes)
    _apply[(frames, triton.cdiv(pixels, rows))](x, bias, line, out, pixels, channels, rows, silu, num_warps=8)
    return out


def add_bias(a: Tensor, b: Tensor, bias: Tensor, other: Tensor) -> Tensor:
    """(a + other) + (b + bias), [N,C,h,w] channels last and [C], in the dtype of a."""
    out = torch.empty_like(a)
    channels, rows = a.shape[1], BLOCK // a.shape[1]
    pixels = a.numel() // channels
    _add[(triton.cdiv(pixels, rows),)](a, b, bias, other, out, pixels, channels, rows)
    return out


def interleave(x: Tensor, bias: Tensor) -> Tensor:
    """Four pictures as one twice as high and wide, plus bias.

    x: [N,4C,h+1,w+1] channels last; of its four times C channels, those of number 2a + b hold, from row a and column b on,
    the pixels of rows a, a + 2, ... and columns b, b + 2, ... of the result, [N,C,2h,2w] channels last. bias: [C].
    """
    assert x.is_contiguous(memory_format=torch.channels_last)
    frames, height, width = x.shape[0], 2 * (x.shape[2] - 1), 2 * (x.shape[3] - 1)
    channels, layout = x.shape[1] // 4, torch.channels_last
    out = torch.empty(frames, channels, height, width, device=x.device, dtype=x.dtype, memory_format=layout)
    rows = BLOCK // channels
    _interleave[(triton.cdiv(height * width, rows), frames)](x, bias, out, height, width, channels, rows)
    return out


def softmax(x: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """Of the rows of float32 [N,T,S], times `scale`, in `dtype`."""
    out = torch.empty_like(x, dtype=dtype)
    _softmax[(x.numel() // x.shape[-1],)](x, out, scale, x.shape[-1], triton.next_power_of_2(x.shape[-1]), num_warps=16)
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
    one, two = tl.zeros([ROWS, C], tl.float32), tl.zeros([ROWS, C], tl.float32)
    for turn in range(turns):
        where, inside = _block(pixels, (part * turns + turn) * ROWS, C, ROWS)
        value = tl.load(x + frame * pixels * C + where, mask=inside, other=0.0).to(tl.float32)
        value = tl.where(inside, _rounded(value + offset, x), 0.0)
        one += value
        two += value * value
    target = sums + (frame * tl.num_programs(1) + part) * 2 * C + channel
    tl.store(target, tl.sum(one, axis=0))
    tl.store(target + C, tl.sum(two, axis=0))


@triton.jit
def _to_line(sums, weight, shift, line, like, parts, pixels, eps, C: tl.constexpr, EACH: tl.constexpr, P: tl.constexpr):
    """What normalisation does to each of the EACH channels of a group of a frame, as x * factor + offset. Mean and deviation
    are rounded to the dtype of `like`, as torch keeps them."""
    frame, channel = tl.program_id(0).to(tl.int64), tl.program_id(1) * EACH + tl.arange(0, EACH)
    part = tl.arange(0, P)[:, None]
    source = sums + (frame * parts + part) * 2 * C + channel[None, :]
    one = tl.sum(tl.load(source, mask=part < parts, other=0.0))
    two = tl.sum(tl.load(source + C, mask=part < parts, other=0.0))
    mean, square = one / (pixels * EACH), two / (pixels * EACH)
    inverse = _rounded(1.0 / tl.sqrt(tl.maximum(square - mean * mean, 0.0) + eps), like)
    factor = inverse * tl.load(weight + channel).to(tl.float32)
    offset = tl.load(shift + channel).to(tl.float32) - _rounded(mean, like) * factor
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
        value = value / (1.0 + tl.exp(-value))
    tl.store(out + where, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _biased(x, bias, where, inside, C: tl.constexpr):
    value = tl.load(x + where, mask=inside, other=0.0).to(tl.float32)
    return _rounded(value + tl.load(bias + tl.arange(0, C)).to(tl.float32)[None, :], x)


@triton.jit
def _add(a, b, bias, other, out, pixels, C: tl.constexpr, ROWS: tl.constexpr):
    where, inside = _block(pixels, tl.program_id(0) * ROWS, C, ROWS)
    value = _biased(b, bias, where, inside, C) + _biased(a, other, where, inside, C)
    tl.store(out + where, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _interleave(x, bias, out, height, width, C: tl.constexpr, ROWS: tl.constexpr):
    frame, channel = tl.program_id(1).to(tl.int64), tl.arange(0, C)[None, :]
    pixel = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = (pixel < height * width)[:, None]
    row, column = pixel // width, pixel % width
    a, b = row % 2, column % 2
    there = (frame * (height // 2 + 1) + row // 2 + a) * (width // 2 + 1) + column // 2 + b
    source = there[:, None] * 4 * C + (2 * a + b)[:, None] * C + channel
    target = (frame * height * width + pixel)[:, None] * C + channel
    value = _biased(x, bias, source, inside, C)
    tl.store(out + target, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _softmax(x, out, scale, S: tl.constexpr, W: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, W)
    value = tl.load(x + row * S + column, mask=column < S, other=float("-inf")) * scale
    grown = tl.exp(value - tl.max(value))
    tl.store(out + row * S + column, (grown / tl.sum(grown)).to(out.dtype.element_ty), mask=column < S)
