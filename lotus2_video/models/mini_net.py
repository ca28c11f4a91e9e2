"""The mini's network, written once over a handful of operations, so that torch (training, GPU) and OpenVINO (CPU) run the
very same function from the same weights.

    picture ─┬─ trunk: a ViT on 28-pixel patches (layout, meaning) ── taps ─┐
             └─ pyramid: convolutions at 1/2, 1/4, 1/8, 1/16 (contours) ────┴─ decoder 1/16 -> 1/4 ─ head ─ unshuffle ─ LCM

It follows the first stage of Lotus-2 (arXiv 2512.01030) at small size: one deterministic pass whose output is the clean map
itself, never noise or velocity, then a local continuity module, `x + conv3x3(gelu(conv3x3(x)))`, that heals the seams which
unpacking 4x4 sub-pixels leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

STRIDE = 16  # picture sides must be multiples of this
PATCH = 28  # pixels a token of the trunk covers
HEADS = 6
TRUNK = 384  # channels of the trunk
WIDTHS = (16, 32, 64, 128)  # channels of the pyramid at 1/2, 1/4, 1/8, 1/16
TAPS = (2, 4, 6, 8)  # trunk blocks whose tokens the decoder sees; the last one ends the trunk
POSITIONS = 37  # side of the stored grid of position embeddings
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the trunk was trained


class Ops(Protocol):
    """What the network is made of. Tensors are the backend's own; images are [N,C,H,W], tokens [N,T,C]."""

    def conv(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any: ...
    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def gelu(self, x: Any) -> Any: ...
    def add(self, a: Any, b: Any) -> Any: ...
    def attention(self, qkv: Any, heads: int) -> Any:
        """[N,T,3C] -> [N,T,C], softmax attention of `heads` heads."""

    def resize(self, x: Any, size: tuple[int, int]) -> Any:
        """Bilinear, half-pixel centres, no antialiasing."""

    def tokens(self, x: Any) -> Any:
        """[N,C,h,w] -> [N,h*w,C]."""

    def picture(self, x: Any, size: tuple[int, int]) -> Any:
        """[N,h*w,C] -> [N,C,h,w]."""

    def prepend(self, token: Any, x: Any) -> Any:
        """One token [1,1,C] before those of each picture."""

    def drop_first(self, x: Any) -> Any: ...
    def concat(self, xs: list[Any], axis: int) -> Any: ...
    def unshuffle(self, x: Any, factor: int) -> Any:
        """[N,C*f*f,h,w] -> [N,C,h*f,w*f], channel-major as torch's pixel_shuffle."""


def depth(ops: Ops, w: Mapping[str, Any], x: Any, size: tuple[int, int]) -> Any:
    """Disparity [N,1,H,W], near = large, meant for [0,1] but not clipped.

    x: [N,3,H,W], normalised by MEAN and STD. size: (H, W), multiples of STRIDE. w: the weights by name.
    """
    features = decode(ops, w, trunk(ops, w, x, size), pyramid(ops, w, x), size)
    packed = _conv(ops, w, "depth.head", features)
    return lcm(ops, w, "depth.lcm", ops.unshuffle(packed, 4))


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of trunk tokens for a picture of `size`."""
    return max(1, round(size[0] / PATCH)), max(1, round(size[1] / PATCH))


def trunk(ops: Ops, w: Mapping[str, Any], x: Any, size: tuple[int, int]) -> Any:
    """The tapped tokens side by side, as a picture [N,WIDTHS[3],rows,columns]."""
    rows, columns = grid(size)
    patches = ops.resize(x, (rows * PATCH, columns * PATCH))
    t = ops.tokens(_conv(ops, w, "trunk.patch", patches, stride=PATCH, padding=0))
    t = ops.add(t, ops.tokens(ops.resize(w["trunk.positions"], (rows, columns))))
    t = ops.prepend(w["trunk.class"], t)
    taps = []
    for i in range(TAPS[-1] + 1):
        t = block(ops, w, f"trunk.{i}", t)
        if i in TAPS:
            taps.append(_norm(ops, w, "trunk.norm", t))
    merged = _linear(ops, w, "trunk.merge", ops.drop_first(ops.concat(taps, 2)))
    return ops.picture(merged, (rows, columns))


def block(ops: Ops, w: Mapping[str, Any], name: str, t: Any) -> Any:
    """A pre-norm transformer block."""
    qkv = _linear(ops, w, f"{name}.qkv", _norm(ops, w, f"{name}.norm1", t))
    t = ops.add(t, _linear(ops, w, f"{name}.proj", ops.attention(qkv, HEADS)))
    hidden = ops.gelu(_linear(ops, w, f"{name}.fc1", _norm(ops, w, f"{name}.norm2", t)))
    return ops.add(t, _linear(ops, w, f"{name}.fc2", hidden))


def pyramid(ops: Ops, w: Mapping[str, Any], x: Any) -> list[Any]:
    """Features at 1/4, 1/8 and 1/16 of the picture."""
    half = ops.gelu(_conv(ops, w, "pyramid.2", x, stride=2))
    quarter = _residual(ops, w, "pyramid.4r", ops.gelu(_conv(ops, w, "pyramid.4", half, stride=2)))
    eighth = _residual(ops, w, "pyramid.8r", ops.gelu(_conv(ops, w, "pyramid.8", quarter, stride=2)))
    return [quarter, eighth, _conv(ops, w, "pyramid.16", eighth, stride=2)]


def decode(ops: Ops, w: Mapping[str, Any], tokens: Any, levels: list[Any], size: tuple[int, int]) -> Any:
    """Features at 1/4: the trunk's layout brought up through the pyramid, one residual block a level."""
    quarter, eighth, sixteenth = levels
    y = ops.add(sixteenth, ops.resize(tokens, _part(size, 16)))
    y = _residual(ops, w, "decode.16", y)
    y = ops.add(eighth, ops.resize(_conv(ops, w, "decode.up8", y, padding=0), _part(size, 8)))
    y = _residual(ops, w, "decode.8", y)
    y = ops.add(quarter, ops.resize(_conv(ops, w, "decode.up4", y, padding=0), _part(size, 4)))
    return _residual(ops, w, "decode.4b", _residual(ops, w, "decode.4a", y))


def lcm(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    """The local continuity module of Lotus-2."""
    return _residual(ops, w, name, x)


def _residual(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.add(x, _conv(ops, w, f"{name}.b", ops.gelu(_conv(ops, w, f"{name}.a", x))))


def _conv(ops: Ops, w: Mapping[str, Any], name: str, x: Any, stride: int = 1, padding: int = 1) -> Any:
    return ops.conv(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)


def _linear(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _part(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return size[0] // stride, size[1] // stride


def shapes() -> dict[str, tuple[int, ...]]:
    """Every weight by name with its shape: what a checkpoint must hold, no more and no less."""
    w2, w4, w8, w16 = WIDTHS
    found: dict[str, tuple[int, ...]] = {
        "trunk.class": (1, 1, TRUNK),
        "trunk.positions": (1, TRUNK, POSITIONS, POSITIONS),
    }

    def add(name: str, *weight: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, weight[:1]

    def residual(name: str, inner: int, outer: int) -> None:
        add(f"{name}.a", inner, outer, 3, 3)
        add(f"{name}.b", outer, inner, 3, 3)

    add("trunk.patch", TRUNK, 3, PATCH, PATCH)
    add("trunk.norm", TRUNK)
    add("trunk.merge", w16, TRUNK * len(TAPS))
    for i in range(TAPS[-1] + 1):
        add(f"trunk.{i}.norm1", TRUNK)
        add(f"trunk.{i}.qkv", 3 * TRUNK, TRUNK)
        add(f"trunk.{i}.proj", TRUNK, TRUNK)
        add(f"trunk.{i}.norm2", TRUNK)
        add(f"trunk.{i}.fc1", 4 * TRUNK, TRUNK)
        add(f"trunk.{i}.fc2", TRUNK, 4 * TRUNK)
    add("pyramid.2", w2, 3, 3, 3)
    add("pyramid.4", w4, w2, 3, 3)
    add("pyramid.8", w8, w4, 3, 3)
    add("pyramid.16", w16, w8, 3, 3)
    for name, width in (("pyramid.4r", w4), ("pyramid.8r", w8), ("decode.16", w16), ("decode.8", w8)):
        residual(name, width, width)
    residual("decode.4a", w4, w4)
    residual("decode.4b", w4, w4)
    add("decode.up8", w8, w16, 1, 1)
    add("decode.up4", w4, w8, 1, 1)
    add("depth.head", 16, w4, 3, 3)
    residual("depth.lcm", 16, 1)
    return found
