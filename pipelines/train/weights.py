"""The weights: where training starts from, and how they are handed on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lotus2_video.config import Kind
from lotus2_video.models import mini, mini_net, mini_sharpen, mini_torch

KINDS: tuple[Kind, ...] = ("depth", "normal")
KEPT = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)  # blocks of the teacher's encoder that become the trunk
NEAR = 2.0  # what the teacher's raw disparity is at the near end of a typical picture: measured on the photographs
PART_BYTES = 14 << 20  # of a part of the averaged weights
WHOLE = ("edges.", "depth.", "normal.", "sharpen.")  # never as int8: what makes the maps themselves


def start_weights(start: Path | None, teacher: Path, seed: int = 0) -> dict[str, Tensor]:
    """All weights, float32: of `start` (a packaged file, or a folder of parts), else made from the teacher's; what neither
    has starts random, and silent or, the normals, facing the viewer."""
    generator = torch.Generator().manual_seed(seed)
    shapes = mini_net.shapes(KINDS) | mini_sharpen.shapes()
    known = read_weights(start) if start else from_teacher(teacher)
    unknown = sorted(known.keys() - shapes.keys())
    wrong = [name for name, weight in known.items() if name in shapes and tuple(weight.shape) != shapes[name]]
    if unknown or wrong:
        raise ValueError(f"{start or teacher}: {(unknown + wrong)[0]} is not a weight of this version of the mini")
    return {
        name: known[name].contiguous() if name in known else _initial(name, shape, generator)
        for name, shape in shapes.items()
    }


def _initial(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name == "normal.out.bias":
        return torch.tensor([0.0, 0.0, 1.0]).repeat_interleave(4)
    silent = ("edges.b.weight", "depth.lcm.b.weight", "normal.lcm.b.weight", "sharpen.out.weight")
    if name.endswith(("bias", ".time")) or name in silent:
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    gain = 0.1 if name == "normal.out.weight" else 1.0
    return gain * torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))


def from_teacher(teacher: Path) -> dict[str, Tensor]:
    """What the teacher has of the weights: all its own, less the blocks not KEPT, working at half size (its layer scales
    folded into the layers before them)."""
    weights = {}
    t = {k.removeprefix("backbone."): v.float() for k, v in load_file(teacher / "model.safetensors").items()}
    positions = t["embeddings.position_embeddings"]
    weights["trunk.class"] = t["embeddings.cls_token"] + positions[:, :1]
    weights["trunk.positions"] = positions[:, 1:].transpose(1, 2).unflatten(2, [mini_net.POSITIONS] * 2)
    for i, kept in enumerate(KEPT):
        weights |= _block(t, f"encoder.layer.{kept}", f"trunk.{i}")
    for kind in ("weight", "bias"):
        weights[f"trunk.patch.{kind}"] = t[f"embeddings.patch_embeddings.projection.{kind}"]
        weights[f"trunk.norm.{kind}"] = t[f"layernorm.{kind}"]
        weights |= _neck(t, kind)
        weights[f"depth.in.{kind}"], weights[f"depth.mix.{kind}"] = t[f"head.conv1.{kind}"], t[f"head.conv2.{kind}"]
        weights[f"depth.out.{kind}"] = t[f"head.conv3.{kind}"].repeat_interleave(4, 0) / NEAR
    return {name: weight.contiguous() for name, weight in weights.items()}


def _neck(t: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Its transposed convolutions, whose stride is their size, become 1x1 ones before an unshuffle."""
    made, stages = {}, "neck.reassemble_stage.layers"
    for i in range(4):
        made[f"neck.{i}.in.{kind}"] = t[f"{stages}.{i}.projection.{kind}"]
        if kind == "weight":
            made[f"neck.{i}.out.weight"] = t[f"neck.convs.{i}.weight"]
        fuse = f"neck.fusion_stage.layers.{3 - i}"
        made[f"fuse.{i}.out.{kind}"] = t[f"{fuse}.projection.{kind}"]
        for part, layer in (("lateral", "residual_layer1"), ("unit", "residual_layer2"))[i // 3 :]:
            made[f"fuse.{i}.{part}.a.{kind}"] = t[f"{fuse}.{layer}.convolution1.{kind}"]
            made[f"fuse.{i}.{part}.b.{kind}"] = t[f"{fuse}.{layer}.convolution2.{kind}"]
    made[f"neck.3.down.{kind}"] = t[f"{stages}.3.resize.{kind}"]
    for i, factor in ((0, 4), (1, 2)):
        resize = t[f"{stages}.{i}.resize.{kind}"]
        if kind == "weight":
            made[f"neck.{i}.up.weight"] = resize.permute(1, 2, 3, 0).flatten(0, 2)[:, :, None, None]
        else:
            made[f"neck.{i}.up.bias"] = resize.repeat_interleave(factor**2)
    return made


def _block(t: Mapping[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    scale1, scale2 = t[f"{old}.layer_scale1.lambda1"], t[f"{old}.layer_scale2.lambda1"]
    heads = [f"{old}.attention.attention.{part}" for part in ("query", "key", "value")]
    made = {}
    for kind in ("weight", "bias"):
        made[f"{new}.norm1.{kind}"], made[f"{new}.norm2.{kind}"] = t[f"{old}.norm1.{kind}"], t[f"{old}.norm2.{kind}"]
        made[f"{new}.qkv.{kind}"] = torch.cat([t[f"{head}.{kind}"] for head in heads])
        made[f"{new}.fc1.{kind}"] = t[f"{old}.mlp.fc1.{kind}"]
        proj, fc2 = t[f"{old}.attention.output.dense.{kind}"], t[f"{old}.mlp.fc2.{kind}"]
        made[f"{new}.proj.{kind}"] = torch.einsum("i,i...->i...", scale1, proj)
        made[f"{new}.fc2.{kind}"] = torch.einsum("i,i...->i...", scale2, fc2)
    return made


def working(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights as the network runs on them, gradients flowing back: in `dtype` but for those of the maps themselves."""
    fine = (*mini_torch.FINE, "sharpen.out.")
    return {k: v if k.startswith(fine) else v.to(dtype) for k, v in weights.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Float32 weights of a packaged file, or of a folder of parts."""
    files = sorted(path.glob("part_*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} holds no part_*.safetensors")
    found = {name: weight for file in files for name, weight in load_file(file).items()}
    scales = {name: found.pop(name + mini.ROWS) for name in [*found] if name + mini.ROWS in found}
    weights = {name: weight.float() for name, weight in found.items()}
    for name, scale in scales.items():
        weights[name] *= scale.float().view(-1, *[1] * (weights[name].ndim - 1))
    return weights


def mixed(weights: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of the core that a run started from and the rest of what it learned, weight by weight; the sharpener as it is.

    What a run gains on pictures like its own it may lose on others; halfway there, most of the gain is had and less of the
    loss (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022)."""
    return {
        name: weight if name.startswith("sharpen.") else weight.lerp(start[name].to(weight.device), share)
        for name, weight in weights.items()
    }


def save_parts(weights: Mapping[str, Tensor], folder: Path, about: Mapping[str, object]) -> None:
    """The weights in half precision, in files part_N.safetensors of less than 15 MiB each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, names in enumerate(_parts(weights)):
        state = {name: weights[name].detach().half().cpu().contiguous() for name in names}
        _save(state, folder / f"part_{number}.safetensors", about)


def _parts(weights: Mapping[str, Tensor]) -> Iterable[list[str]]:
    names, size = [], 0
    for name, weight in weights.items():
        if names and size + 2 * weight.numel() > PART_BYTES:
            yield names
            names, size = [], 0
        names.append(name)
        size += 2 * weight.numel()
    yield names


def export(weights: Mapping[str, Tensor], path: Path, about: Mapping[str, object], sharpener: bool = True) -> None:
    """The weights as the package ships them: large matrices int8 with one scale a row, the rest in half precision."""
    state: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach().float().cpu()
        if name.startswith("sharpen.") and not sharpener:
            continue
        if weight.numel() > 30_000 and weight.shape[0] > 1 and not name.startswith(WHOLE):
            scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            rows = scale.view(-1, *[1] * (weight.ndim - 1))
            state[name], state[name + mini.ROWS] = (weight / rows).round().to(torch.int8).contiguous(), scale
        else:
            state[name] = weight.half().contiguous()
    _save(state, path, about)


def _save(state: Mapping[str, Tensor], path: Path, about: Mapping[str, object]) -> None:
    """Under another name first: a run that is cut off leaves the last whole file."""
    part = path.with_name(path.name + ".new")
    save_file(dict(state), part, {k: str(v) for k, v in about.items()})
    part.replace(path)
