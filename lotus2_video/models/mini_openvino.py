"""The mini's operations in OpenVINO: for running on a CPU without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from openvino import Model
from openvino import opset13 as op

from . import mini_net


class OpenVinoOps:
    """See `mini_net.Ops`. Weights come as numpy arrays and become constants of the graph."""

    def conv(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any:
        pads = [padding, padding]
        y = op.convolution(x, op.constant(weight), [stride, stride], pads, pads, [1, 1])
        return op.add(y, op.constant(bias.reshape(1, -1, 1, 1)))

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return op.add(op.matmul(x, op.constant(weight), False, True), op.constant(bias))

    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any:
        unit = op.mvn(x, op.constant(np.array([2], np.int64)), True, 1e-6, "inside_sqrt")
        return op.add(op.multiply(unit, op.constant(weight)), op.constant(bias))

    def gelu(self, x: Any) -> Any:
        return op.gelu(x, "erf")

    def relu(self, x: Any) -> Any:
        return op.relu(x)

    def add(self, a: Any, b: Any) -> Any:
        return op.add(a, b)

    def scale(self, x: Any, factor: float) -> Any:
        return op.multiply(_node(x), op.constant(np.float32(factor)))

    def attention(self, qkv: Any, heads: int) -> Any:
        split = op.reshape(qkv, _ints(0, 0, 3, heads, mini_net.TRUNK // heads), True)
        parts = op.split(op.transpose(split, _ints(2, 0, 3, 1, 4)), op.constant(np.int64(0)), 3)
        q, k, v = (op.squeeze(parts.output(i), _ints(0)) for i in range(3))
        mixed = op.transpose(op.scaled_dot_product_attention(q, k, v), _ints(0, 2, 1, 3))
        return op.reshape(mixed, _ints(0, 0, mini_net.TRUNK), True)

    def resize(self, x: Any, size: tuple[int, int]) -> Any:
        return op.interpolate(_node(x), _ints(*size), "linear", "sizes", axes=_ints(2, 3))

    def tokens(self, x: Any) -> Any:
        return op.transpose(op.reshape(x, _ints(0, 0, -1), True), _ints(0, 2, 1))

    def picture(self, x: Any, size: tuple[int, int]) -> Any:
        return op.reshape(op.transpose(x, _ints(0, 2, 1)), _ints(0, 0, *size), True)

    def prepend(self, token: Any, x: Any) -> Any:
        return op.concat([_node(token), x], 1)

    def drop_first(self, x: Any) -> Any:
        return op.slice(x, _ints(1), _ints(2**31 - 1), _ints(1), _ints(1))

    def concat(self, xs: list[Any], axis: int) -> Any:
        return op.concat(xs, axis)

    def unshuffle(self, x: Any, factor: int) -> Any:
        return op.depth_to_space(x, "depth_first", factor)


def build(weights: Mapping[str, np.ndarray], size: tuple[int, int]) -> Model:
    """The network for one picture: uint8 [1,H,W,3] -> disparity float32 [1,1,H,W], clipped to [0,1]."""
    rgb = op.parameter([1, *size, 3], np.uint8, name="rgb")
    mean, std = (255 * np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))
    x = op.transpose(op.convert(rgb, "f32"), _ints(0, 3, 1, 2))
    x = op.multiply(op.subtract(x, op.constant(mean)), op.constant(1 / std))
    depth = op.clamp(mini_net.core(OpenVinoOps(), weights, x, size, ("depth",))[0], 0.0, 1.0)
    return Model([op.result(depth)], [rgb], "mini")  # pyright: ignore[reportGeneralTypeIssues]


def _ints(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def _node(x: Any) -> Any:
    return op.constant(x) if isinstance(x, np.ndarray) else x
