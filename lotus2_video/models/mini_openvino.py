"""The mini's operations in OpenVINO: for running on a CPU without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from openvino import AsyncInferQueue, CompiledModel, Core, InferRequest, Model, Node, Output, Type
from openvino import opset13 as op

from ..config import Kind
from ..frames import Maps
from . import mini_net, mini_sharpen

Size = tuple[int, int]  # (height, width) in pixels

# Where matrices are int8, so are the activations before them, a scale for so many channels of a token; 0 is never. With one
# scale for all of a token it is a tenth faster still, but the maps' own flicker grows by up to an eighth.
_SETTINGS = {
    "fp32": {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"},
}


class OpenVinoOps:
    """See `mini_net.Ops`. Weights come as numpy arrays and become constants of the graph. int8: the matrices, a scale a row,
    which is how most of them are kept, so that nothing is lost."""

    def __init__(self, int8: bool = False):
        self._int8 = int8

    def conv(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any:
        pads = [padding, padding]
        y = op.convolution(x, op.constant(weight), [stride, stride], pads, pads, [1, 1])
        return op.add(y, op.constant(bias.reshape(1, -1, 1, 1)))

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return op.add(op.matmul(x, self._matrix(weight), False, True), op.constant(bias))

    def _matrix(self, weight: np.ndarray) -> Any:
        if not self._int8:
            return op.constant(weight)
        scale = np.maximum(np.abs(weight).max(1, keepdims=True), np.float32(1e-12)) / np.float32(127)
        return op.multiply(op.convert(op.constant(np.round(weight / scale).astype(np.int8)), "f32"), op.constant(scale))

    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any:
        unit = op.mvn(x, op.constant(np.array([2], np.int64)), True, 1e-6, "inside_sqrt")
        return op.add(op.multiply(unit, op.constant(weight)), op.constant(bias))

    def gelu(self, x: Any) -> Any:
        return op.gelu(x, "erf")

    def relu(self, x: Any) -> Any:
        return op.relu(x)

    def add(self, a: Any, b: Any) -> Any:
        return op.add(a, b)

    def scale(self, x: Any, factor: Any) -> Any:
        return op.multiply(_node(x), factor if isinstance(factor, Node | Output) else op.constant(np.float32(factor)))

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

    def clip(self, x: Any) -> Any:
        return op.clamp(x, 0.0, 1.0)

    def unit(self, x: Any) -> Any:
        """In plain steps: `normalize_l2` falls to OpenVINO's reference kernel here, 1 ms slower at 288x512 on two cores."""
        return op.divide(x, op.maximum(op.reduce_l2(x, _ints(1), True), op.constant(np.float32(1e-4))))


_core = cache(Core)  # one: each loads its plugins anew


@cache
def native_bf16() -> bool:
    """Whether this machine's CPU computes in bfloat16 itself."""
    return _core().get_property("CPU", "INFERENCE_PRECISION_HINT") == Type.bf16


class OpenVinoMini:
    """The mini on a CPU: a picture to itself, so that a map cannot depend on its neighbours; compiled once for each size. Of
    several pictures, as many are under way at once as OpenVINO thinks best, each on fewer cores: an eighth faster, same bits.

    weights: float32 by name. kinds: of the maps it makes. precision: "fp32"; "bf16", which is bfloat16 with the trunk's
    matrix products in int8, at more than twice the speed on a CPU that has the instructions; "auto": bf16 on such a CPU.
    """

    def __init__(self, weights: Mapping[str, np.ndarray], kinds: Sequence[Kind], precision: str):
        self._weights, self._kinds = weights, kinds
        self.precision = precision if precision != "auto" else "bf16" if native_bf16() else "fp32"
        self._ops = OpenVinoOps(int8=self.precision == "bf16")
        self._ready = cache(self._compile)
        self._queues: dict[tuple[Size, tuple[Kind, ...]], AsyncInferQueue] = {}

    def maps(self, rgb: np.ndarray, kinds: Sequence[Kind] | None = None) -> list[Maps]:
        """uint8 [N,h,w,3], sides multiples of the network's stride -> N Maps of that size, of `kinds` or those it was made
        for."""
        kinds, size = tuple(kinds or self._kinds), rgb.shape[1:3]
        queue = self._queues.get((size, kinds))
        if queue is None and len(rgb) == 1:  # once there is a queue, a last picture is not worth compiling anew
            request = self._ready(self._whole, size, kinds)
            return [_given(kinds, request.infer([rgb]).values())]
        if queue is None:
            queue = AsyncInferQueue(self._compiled(self._whole(size, kinds), "THROUGHPUT"))
            self._queues[size, kinds] = queue
        made: dict[int, Maps] = {}
        queue.set_callback(lambda request, i: made.update({i: _given(kinds, (t.data for t in request.output_tensors))}))
        for i, frame in enumerate(rgb):
            queue.start_async([frame[None]], i)
        queue.wait_all()
        return [made[i] for i in range(len(rgb))]

    def sharpened(self, start: np.ndarray, rgb: np.ndarray) -> np.ndarray:
        """float32 [MAPS,H,W], as `mini_sharpen.follow` ends. rgb: uint8 [H,W,3], sides multiples of the sharpener's stride.
        start: float32 [MAPS,H,W], the core's disparity and unit normals at that size."""
        size, start = rgb.shape[:2], start[None]

        def velocity(tile: mini_sharpen.Tile, maps: np.ndarray, t: float) -> np.ndarray:
            pieces = [rgb[None, tile.rows, tile.columns], tile.of(start), tile.of(maps), np.array([t], np.float32)]
            return self._ready(self._velocity, tile.size).infer([np.ascontiguousarray(p) for p in pieces])[0]

        return mini_sharpen.follow(velocity, start, mini_sharpen.tiles(size))[0]

    def _whole(self, size: Size, kinds: tuple[Kind, ...]) -> Model:
        """uint8 [1,H,W,3] -> for each kind float32, disparity [1,H,W,1] in [0,1], unit normals [1,H,W,3]."""
        rgb = _picture(size)
        maps = mini_net.core(self._ops, self._weights, _normalised(rgb), size, kinds)
        done = [mini_net.finished(self._ops, kind, x) for kind, x in zip(kinds, maps, strict=True)]
        return _model([op.transpose(x, _ints(0, 2, 3, 1)) for x in done], [rgb])

    def _velocity(self, size: Size) -> Model:
        """uint8 [1,H,W,3], start and maps float32 [1,MAPS,H,W], time float32 [1] -> velocity float32 [1,MAPS,H,W]."""
        rgb, t = _picture(size), op.parameter([1], np.float32)
        start, maps = (op.parameter([1, mini_sharpen.MAPS, *size], np.float32) for _ in range(2))
        moved = mini_sharpen.velocity(self._ops, self._weights, _normalised(rgb), start, maps, t, size)
        return _model([moved], [rgb, start, maps, t])

    def _compile(self, make: Callable[..., Model], *how: object) -> InferRequest:
        return self._compiled(make(*how), "LATENCY").create_infer_request()

    def _compiled(self, model: Model, hint: str) -> CompiledModel:
        settings = {"PERFORMANCE_HINT": hint} | _SETTINGS[self.precision]
        if threads := os.environ.get("OMP_NUM_THREADS"):  # which OpenVINO does not know; it changes no bit of a map
            settings["INFERENCE_NUM_THREADS"] = threads
        return _core().compile_model(model, "CPU", settings)


def _given(kinds: Sequence[Kind], found: Iterable[np.ndarray]) -> Maps:
    """Copies: the arrays are the request's own."""
    arrays = {kind: x[0].copy() for kind, x in zip(kinds, found, strict=True)}
    return Maps(arrays["depth"][..., 0] if "depth" in arrays else None, arrays.get("normal"))


def _picture(size: Size) -> Any:
    return op.parameter([1, *size, 3], np.uint8, name="rgb")


def _normalised(rgb: Any) -> Any:
    """uint8 [1,H,W,3] -> float32 [1,3,H,W], as the trunk was trained."""
    mean, std = (255 * np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))
    x = op.transpose(op.convert(rgb, "f32"), _ints(0, 3, 1, 2))
    return op.multiply(op.subtract(x, op.constant(mean)), op.constant(1 / std))


def _model(results: Sequence[Any], inputs: Sequence[Any]) -> Model:
    return Model([op.result(x) for x in results], [*inputs], "mini")  # pyright: ignore[reportGeneralTypeIssues]


def _ints(*values: int) -> Any:
    return op.constant(np.array(values, np.int64))


def _node(x: Any) -> Any:
    return op.constant(x) if isinstance(x, np.ndarray) else x
