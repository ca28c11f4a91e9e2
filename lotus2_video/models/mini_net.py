"""The mini's network, written once over a handful of operations, so that torch (training, GPU) and OpenVINO (CPU) run the
very same function from the same weights.

    picture ─┬─ trunk: a ViT on 28-pixel tokens, tapped four times ── neck: 1/2 to 4x the tokens' grid, fused upward ─┐
             └─ edges: two convolutions at 1/2 of the picture ────────────────────────────────────────────────────────┴─ a head
                                                                                        for each kind of map, unshuffle, LCM
It follows the first stage of Lotus-2 (arXiv 2512.01030) at small size: one deterministic pass whose output is the clean map
itself, never noise or velocity, then a local continuity module, `x + conv3x3(gelu(conv3x3(x)))`, that heals the seams which
unpacking 2x2 sub-pixels leaves. Trunk and neck have the shapes of DPT (Ranftl et al., ICCV 2021) as Depth Anything V2 uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..config import Kind

STRIDE = 16  # picture sides must be multiples of this
TOKEN = 28  # pixels a token of the trunk covers; it sees them at half size, through PATCH x PATCH weights
PATCH = 14
HEADS = 6
TRUNK = 384  # channels of the trunk
TAPS = (2, 5, 7, 10)  # trunk blocks whose tokens the neck sees; the last one ends the trunk
POSITIONS = 37  # side of the stored grid of position embeddings
NECK = (48, 96, 192, 384)  # channels of the tapped levels, finest first
FUSED, HEAD, EDGE = 64, 32, 16  # channels of the fused levels, of a head, and of what the picture adds to it
CHANNELS: dict[Kind, int] = {"depth": 1, "normal": 3}  # of the maps
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the trunk was trained


class Ops(Protocol):
    """What the network is made of. Tensors are the backend's own; images are [N,C,H,W], tokens [N,T,C]."""

    def conv(self, x: Any, weight: Any, bias: Any, stride: int = 1, padding: int = 0) -> Any: ...
    def linear(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def layer_norm(self, x: Any, weight: Any, bias: Any) -> Any: ...
    def gelu(self, x: Any) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def add(self, a: Any, b: Any) -> Any: ...
    def scale(self, x: Any, factor: Any) -> Any: ...
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

    def clip(self, x: Any) -> Any:
        """To [0,1]."""

    def unit(self, x: Any) -> Any:
        """[N,C,h,w], each pixel's channels divided by their length, or by 1e-4 where they are shorter."""


def core(ops: Ops, w: Mapping[str, Any], x: Any, size: tuple[int, int], kinds: Sequence[Kind]) -> list[Any]:
    """The maps of `kinds`, in one pass: disparity [N,1,H,W], near = large, meant for [0,1] but not clipped; normals
    [N,3,H,W], +X right, +Y up, +Z toward the viewer, not yet of length one.

    x: [N,3,H,W], normalised by MEAN and STD. size: (H, W), multiples of STRIDE. w: the weights by name.
    """
    fused, contours = neck(ops, w, trunk(ops, w, x, size), grid(size)), edges(ops, w, x)
    return [head(ops, w, kind, fused, contours, size) for kind in kinds]


def head(ops: Ops, w: Mapping[str, Any], kind: Kind, fused: Any, contours: Any, size: tuple[int, int]) -> Any:
    layout = ops.resize(_conv(ops, w, f"{kind}.in", fused), (size[0] // 2, size[1] // 2))
    features = ops.relu(_conv(ops, w, f"{kind}.mix", ops.add(layout, contours)))
    packed = _conv(ops, w, f"{kind}.out", features, padding=0)
    return lcm(ops, w, f"{kind}.lcm", ops.unshuffle(packed, 2))


def finished(ops: Ops, kind: Kind, x: Any) -> Any:
    """What `core` made, as it is given out: disparity clipped to [0,1], normals of length one."""
    return ops.clip(x) if kind == "depth" else ops.unit(x)


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of trunk tokens for a picture of `size`."""
    return max(1, round(size[0] / TOKEN)), max(1, round(size[1] / TOKEN))


def trunk(ops: Ops, w: Mapping[str, Any], x: Any, size: tuple[int, int]) -> list[Any]:
    """The tapped tokens as pictures [N,TRUNK,rows,columns], shallowest first."""
    rows, columns = grid(size)
    patches = ops.resize(x, (rows * PATCH, columns * PATCH))
    t = ops.tokens(_conv(ops, w, "trunk.patch", patches, stride=PATCH, padding=0))
    t = ops.add(t, ops.tokens(ops.resize(w["trunk.positions"], (rows, columns))))
    t = ops.prepend(w["trunk.class"], t)
    taps = []
    for i in range(TAPS[-1] + 1):
        t = block(ops, w, f"trunk.{i}", t)
        if i in TAPS:
            taps.append(ops.picture(ops.drop_first(_norm(ops, w, "trunk.norm", t)), (rows, columns)))
    return taps


def block(ops: Ops, w: Mapping[str, Any], name: str, t: Any) -> Any:
    """A pre-norm transformer block."""
    qkv = _linear(ops, w, f"{name}.qkv", _norm(ops, w, f"{name}.norm1", t))
    t = ops.add(t, _linear(ops, w, f"{name}.proj", ops.attention(qkv, HEADS)))
    hidden = ops.gelu(_linear(ops, w, f"{name}.fc1", _norm(ops, w, f"{name}.norm2", t)))
    return ops.add(t, _linear(ops, w, f"{name}.fc2", hidden))


def neck(ops: Ops, w: Mapping[str, Any], taps: list[Any], tokens: tuple[int, int]) -> Any:
    """The taps at 4, 2, 1 and 1/2 times the tokens' grid, fused from the coarsest up: [N,FUSED,8*rows,8*columns]."""
    levels = [_conv(ops, w, f"neck.{i}.in", tap, padding=0) for i, tap in enumerate(taps)]
    levels[0] = ops.unshuffle(_conv(ops, w, "neck.0.up", levels[0], padding=0), 4)
    levels[1] = ops.unshuffle(_conv(ops, w, "neck.1.up", levels[1], padding=0), 2)
    levels[3] = _conv(ops, w, "neck.3.down", levels[3], stride=2)
    levels = [_conv(ops, w, f"neck.{i}.out", level) for i, level in enumerate(levels)]
    fused = None
    for i in (3, 2, 1, 0):
        y = levels[i] if fused is None else ops.add(fused, _unit(ops, w, f"fuse.{i}.lateral", levels[i]))
        y = _conv(ops, w, f"fuse.{i}.out", _unit(ops, w, f"fuse.{i}.unit", y), padding=0)
        scale = 8 >> i
        fused = ops.resize(y, (tokens[0] * scale, tokens[1] * scale))
    return fused


def _unit(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    """A pre-activation residual unit."""
    return ops.add(x, _conv(ops, w, f"{name}.b", ops.relu(_conv(ops, w, f"{name}.a", ops.relu(x)))))


def edges(ops: Ops, w: Mapping[str, Any], x: Any) -> Any:
    """What the picture itself says about contours: [N,HEAD,H/2,W/2]."""
    return _conv(ops, w, "edges.b", ops.gelu(_conv(ops, w, "edges.a", x, stride=2)))


def lcm(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    """The local continuity module of Lotus-2."""
    return ops.add(x, _conv(ops, w, f"{name}.b", ops.gelu(_conv(ops, w, f"{name}.a", x))))


def _conv(ops: Ops, w: Mapping[str, Any], name: str, x: Any, stride: int = 1, padding: int = 1) -> Any:
    return ops.conv(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding)


def _linear(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(ops: Ops, w: Mapping[str, Any], name: str, x: Any) -> Any:
    return ops.layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"])


def kinds_of(names: Iterable[str]) -> tuple[Kind, ...]:
    """The maps that a checkpoint with weights of these names makes; every one makes depth."""
    parts = {name.partition(".")[0] for name in names}
    return tuple(kind for kind in CHANNELS if kind == "depth" or kind in parts)


def shapes(kinds: Sequence[Kind]) -> dict[str, tuple[int, ...]]:
    """Every weight by name with its shape: what a checkpoint of these maps holds, no more and no less."""
    found: dict[str, tuple[int, ...]] = {
        "trunk.class": (1, 1, TRUNK),
        "trunk.positions": (1, TRUNK, POSITIONS, POSITIONS),
    }

    def add(name: str, *weight: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, weight[:1]

    def pair(name: str, channels: int, inner: int) -> None:
        add(f"{name}.a", inner, channels, 3, 3)
        add(f"{name}.b", channels, inner, 3, 3)

    add("trunk.patch", TRUNK, 3, PATCH, PATCH)
    add("trunk.norm", TRUNK)
    for i in range(TAPS[-1] + 1):
        add(f"trunk.{i}.norm1", TRUNK)
        add(f"trunk.{i}.qkv", 3 * TRUNK, TRUNK)
        add(f"trunk.{i}.proj", TRUNK, TRUNK)
        add(f"trunk.{i}.norm2", TRUNK)
        add(f"trunk.{i}.fc1", 4 * TRUNK, TRUNK)
        add(f"trunk.{i}.fc2", TRUNK, 4 * TRUNK)
    for i, channels in enumerate(NECK):
        add(f"neck.{i}.in", channels, TRUNK, 1, 1)
        add(f"neck.{i}.out", FUSED, channels, 3, 3)
        pair(f"fuse.{i}.unit", FUSED, FUSED)
        add(f"fuse.{i}.out", FUSED, FUSED, 1, 1)
        if i < 3:
            pair(f"fuse.{i}.lateral", FUSED, FUSED)
    add("neck.0.up", NECK[0] * 16, NECK[0], 1, 1)
    add("neck.1.up", NECK[1] * 4, NECK[1], 1, 1)
    add("neck.3.down", NECK[3], NECK[3], 3, 3)
    add("edges.a", EDGE, 3, 3, 3)
    add("edges.b", HEAD, EDGE, 3, 3)
    for kind in kinds:
        channels = CHANNELS[kind]
        add(f"{kind}.in", HEAD, FUSED, 3, 3)
        add(f"{kind}.mix", HEAD, HEAD, 3, 3)
        add(f"{kind}.out", 4 * channels, HEAD, 1, 1)
        pair(f"{kind}.lcm", channels, 8)
    return found
