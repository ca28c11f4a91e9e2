"""Trains the mini: Lotus-2's first stage at small size, distilled from a teacher on photographs and video frames.

    python pipelines/train_mini.py DATA --out CHECKPOINT --minutes 10            # on a GPU; runs on from CHECKPOINT if there
    python pipelines/train_mini.py DATA --out CHECKPOINT --steps 4 --limit 8 --batch 2 --device cpu       # a smoke run
    python pipelines/train_mini.py DATA --out CHECKPOINT --steps 0 --export lotus2_video/models/mini.safetensors

DATA holds `photos/*.tar`, `rgbd/*.tar` (only their pictures are used), `frames/*.jpg` (any video frames; optional) and
`teacher/depth-anything-v2-small`. The schedule, in one leg:

1. Every picture is cut into views (crops, small rotations, flips) of several aspect ratios; the teacher labels each once.
2. The student starts as the teacher itself, seeing pictures at half size, with only the blocks KEPT of its twelve; what sees
   the picture at full size starts random and silent.
3. AdamW, cosine over the whole time given, weights averaged (EMA). The student sees the views recoloured, blurred and
   noisy, and must say what the teacher said of the clean ones, up to scale and shift, with a mild pull to a fixed range.
"""

from __future__ import annotations

import argparse
import math
import re
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from lotus2_video.models import mini, mini_net, mini_torch

KEPT = (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11)  # blocks of the teacher's encoder that become the trunk
SHAPES = {(224, 400): 0.34, (224, 304): 0.26, (256, 256): 0.1, (384, 224): 0.12, (176, 528): 0.1, (336, 592): 0.08}
VIEWS = {"lidar": 60, "camvid": 12, "marigold_page": 16, "tiefling": 16, "frames": 12}  # a picture; other sources 8
NEAR = 2.0  # what the teacher's raw disparity is at the near end of a typical picture: measured on the photographs
MARGIN = 1.15  # views are kept this much larger than the student's picture, for a random crop at every step


@dataclass
class Views:
    """Labelled views of one shape: rgb uint8 [N,3,h,w], disparity float16 [N,h,w], 1 = the near end of the view."""

    rgb: Tensor
    disparity: Tensor


# ---------------------------------------------------------------------------------------------------------------- pictures


def read_pictures(data: Path, limit: int | None) -> Iterator[tuple[str, np.ndarray]]:
    """(source, RGB uint8 [H,W,3]) of every training picture."""
    for tar in sorted([*data.glob("photos/*.tar"), *data.glob("rgbd/*.tar")]):
        yield from _first(_from_tar(tar), limit)
    frames = ((path, path.read_bytes()) for path in sorted((data / "frames").glob("*.jpg")))
    yield from _first((("frames", _decode(blob)) for _, blob in frames), limit)


def _from_tar(tar: Path) -> Iterator[tuple[str, np.ndarray]]:
    with tarfile.open(tar) as archive:
        for member in archive:
            name = member.name
            if name.endswith(".jpg"):
                file = archive.extractfile(member)
                assert file is not None
                source = tar.stem if "photos" not in tar.stem else re.split(r"[_/]", Path(name).name)[0]
                yield source, _decode(file.read())


def _first(items: Iterator[tuple[str, np.ndarray]], limit: int | None) -> Iterator[tuple[str, np.ndarray]]:
    for i, item in enumerate(items):
        if limit is not None and i >= limit:
            return
        yield item


def _decode(blob: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


# ------------------------------------------------------------------------------------------------------------------- views


def label(options: argparse.Namespace, teacher: Path, rng: np.random.Generator, device: torch.device) -> list[Views]:
    """The labelled views, from `options.views` where that file is there already, else made and kept in it."""
    if options.views and options.views.exists():
        return [Views(**views) for views in torch.load(options.views, map_location=device)]
    begin = time.monotonic()
    pictures = list(read_pictures(options.data, options.limit))
    sets = cut_views(pictures, Teacher(teacher, device, options.label_short), options.density, rng)
    print(f"{sum(len(v.rgb) for v in sets)} views labelled in {time.monotonic() - begin:.0f} s", flush=True)
    if options.views:
        torch.save([vars(views) for views in sets], options.views)
    return sets


def cut_views(
    pictures: list[tuple[str, np.ndarray]], teacher: Teacher, density: float, rng: np.random.Generator
) -> list[Views]:
    """Labelled views of every picture, a set for each of SHAPES; `density` scales how many a picture."""
    device = teacher.device
    plans: dict[tuple[int, int], list[Tensor]] = {shape: [] for shape in SHAPES}
    for source, picture in pictures:
        image = torch.from_numpy(picture).to(device).permute(2, 0, 1)[None].float()
        for shape in _pick_shapes(source, math.ceil(VIEWS.get(source, 8) * density), rng):
            size = tuple(round(side * MARGIN / 2) * 2 for side in shape)
            theta = torch.tensor([_crop(picture.shape[:2], size, rng)], dtype=torch.float32, device=device)
            where = F.affine_grid(theta, [1, 3, *size], align_corners=False)
            view = F.grid_sample(image, where, "bicubic", "reflection", align_corners=False)
            plans[shape].append(view.round().clamp(0, 255).byte()[0])
    sets = [torch.stack(views) for views in plans.values() if views]
    return [Views(rgb, torch.cat([teacher(part) for part in rgb.split(64)])) for rgb in sets]


def _pick_shapes(source: str, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    shapes, odds = list(SHAPES), np.array(list(SHAPES.values()))
    if source in ("lidar", "camvid"):
        odds = np.where([shape in ((176, 528), (224, 400)) for shape in shapes], odds + 0.3, odds)
    return [shapes[i] for i in rng.choice(len(shapes), count, p=odds / odds.sum())]


def _crop(full: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> list[list[float]]:
    """The affine map (2x3, in coordinates from -1 to 1) of a random crop of the aspect of `size`, turned a little, flipped
    half the time."""
    height, width = full
    zoom = min(height / size[0], width / size[1]) * rng.uniform(0.55, 1.0) ** 0.7
    half_h, half_w = size[0] * zoom / 2, size[1] * zoom / 2
    x, y = rng.uniform(half_w, width - half_w), rng.uniform(half_h, height - half_h)
    angle = math.radians(float(np.clip(rng.normal(0, 4), -12, 12)))
    cos, sin, flip = math.cos(angle), math.sin(angle), rng.choice([-1.0, 1.0])
    return [
        [2 * flip * half_w * cos / width, -2 * half_h * sin / width, 2 * x / width - 1],
        [2 * flip * half_w * sin / height, 2 * half_h * cos / height, 2 * y / height - 1],
    ]


class Teacher:
    """The network to learn from: uint8 [N,3,h,w] -> disparity float16 [N,h,w], the near end of each view at 1."""

    def __init__(self, folder: Path, device: torch.device, short: int):
        from transformers import AutoModelForDepthEstimation

        self.device, self._short = device, short
        self._net = AutoModelForDepthEstimation.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mini_net.MEAN, mini_net.STD))

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        height, width = rgb.shape[-2:]
        short = self._short * 2 / 3 if width > 2.2 * height else self._short
        scale = short / min(height, width)
        size = [round(side * scale / 14) * 14 for side in (height, width)]
        x = F.interpolate(rgb.float() / 255, size, mode="bicubic", align_corners=False)
        disparity = self._net(((x - self._mean) / self._std).bfloat16()).predicted_depth.float()
        disparity = F.interpolate(disparity[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
        near = torch.quantile(disparity.flatten(1)[:, ::16], 0.98, dim=1).clamp(min=1e-3)
        return (disparity / near[:, None, None]).half()


# ------------------------------------------------------------------------------------------------------------ augmentation


def draw(views: Views, shape: tuple[int, int], count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch: the student's pictures [N,3,h,w] in [0,1] and the disparities [N,h,w]."""
    device = views.rgb.device
    index = torch.randint(len(views.rgb), (count,), generator=generator, device=device)
    scale = _uniform(count, 1 / MARGIN**1.3, 1.0, generator, device)
    shift = (torch.rand(count, 2, generator=generator, device=device) * 2 - 1) * (1 - scale)[:, None]
    flip = torch.where(torch.rand(count, generator=generator, device=device) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flip, scale, shift
    where = F.affine_grid(theta, [count, 1, *shape], align_corners=False)
    rgb = F.grid_sample(views.rgb[index].float() / 255, where, padding_mode="border", align_corners=False)
    disparity = F.grid_sample(
        views.disparity[index].float()[:, None], where, padding_mode="border", align_corners=False
    )
    return disturb(rgb, generator), disparity[:, 0]


def _uniform(count: int, low: float, high: float, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, device=device) * (high - low) + low


def disturb(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """What cameras do, different for each picture [N,3,h,w] in [0,1]: exposure, colour, blur, noise."""
    n, device = len(rgb), rgb.device

    def some(low: float, high: float) -> Tensor:
        return _uniform(n, low, high, generator, device).view(n, 1, 1, 1)

    def often(odds: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator, device=device) < odds

    moved = math.ceil(n / 5)  # views come in random order
    rgb = torch.cat([_motion_blur(rgb[:moved], generator), rgb[moved:]])
    low_res = F.interpolate(F.avg_pool2d(rgb, 2), rgb.shape[-2:], mode="bilinear", align_corners=False)
    rgb = torch.where(often(0.1), low_res, rgb)
    rgb = rgb.clamp(1e-4, 1) ** torch.exp(some(-0.3, 0.3))
    rgb = rgb * torch.exp(some(-0.3, 0.2)) * (1 + 0.05 * torch.randn(n, 3, 1, 1, generator=generator, device=device))
    mean = rgb.mean((1, 2, 3), keepdim=True)
    rgb = (rgb - mean) * some(0.8, 1.2) + mean
    grey = rgb.mean(1, keepdim=True)
    rgb = grey + (rgb - grey) * torch.where(often(0.06), torch.zeros_like(grey[:, :, :1, :1]), some(0.6, 1.4))
    noise = torch.randn(rgb.shape, generator=generator, device=device) * some(0, 0.04) * often(0.3)
    return (rgb + noise).clamp(0, 1)


def _motion_blur(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Each picture smeared along a line of its own, up to 14 pixels long."""
    n, height, width = len(rgb), *rgb.shape[-2:]
    angle = _uniform(n, 0, math.pi, generator, rgb.device)
    reach = _uniform(n, 0, 7, generator, rgb.device)
    theta = torch.eye(2, 3, device=rgb.device).repeat(n, 1, 1)
    smeared = torch.zeros_like(rgb)
    for at in np.linspace(-1, 1, 9):
        theta[:, 0, 2], theta[:, 1, 2] = at * reach * angle.cos() * 2 / width, at * reach * angle.sin() * 2 / height
        where = F.affine_grid(theta, list(rgb.shape), align_corners=False)
        smeared += F.grid_sample(rgb, where, padding_mode="reflection", align_corners=False) / 9
    return smeared


# -------------------------------------------------------------------------------------------------------------------- loss


def loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch, for maps [N,h,w]: the map and its gradients at four scales as they stand, so that the range is
    learned too; and, up to scale and shift, the error relative to the disparity, so that far things count as AbsRel counts
    them. (Only up to scale and shift, a constant map would be a trap: nothing in it says which way is nearer.)"""
    spread = _spread(target)
    direct = (prediction - target).abs() / spread
    scale, shift = align(prediction, target)
    away = (prediction * scale + shift - target).abs()
    relative = away / (target + 0.12 * target.mean((1, 2), keepdim=True) + 1e-3)
    gradients = sum(_gradient_error(prediction, target, 2**i) for i in range(4))
    return (direct + 0.5 * relative.clamp(max=3)).mean() + 0.5 * (gradients / spread[:, 0, 0]).mean()


def align(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift [N,1,1] from each prediction to its target, drawn a little towards a scale of 1."""
    p, t = (x - x.mean((1, 2), keepdim=True) for x in (prediction, target))
    ridge = 0.02 * (t * t).mean((1, 2), keepdim=True) + 1e-5
    scale = ((p * t).mean((1, 2), keepdim=True) + ridge) / ((p * p).mean((1, 2), keepdim=True) + ridge)
    return scale, target.mean((1, 2), keepdim=True) - scale * prediction.mean((1, 2), keepdim=True)


def correlation(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of the correlation of each prediction with its target: 0 is a constant map."""
    p, t = (x - x.mean((1, 2), keepdim=True) for x in (prediction, target))
    return ((p * t).mean((1, 2)) / ((p * p).mean((1, 2)) * (t * t).mean((1, 2)) + 1e-9).sqrt()).mean()


def _spread(target: Tensor) -> Tensor:
    median = target.flatten(1).median(1).values[:, None, None]
    return (target - median).abs().mean((1, 2), keepdim=True).clamp(min=0.02)


def _gradient_error(a: Tensor, b: Tensor, step: int) -> Tensor:
    d = F.avg_pool2d((a - b)[:, None], step)[:, 0] if step > 1 else a - b
    return (d[:, 1:] - d[:, :-1]).abs().mean((1, 2)) + (d[:, :, 1:] - d[:, :, :-1]).abs().mean((1, 2))


# ---------------------------------------------------------------------------------------------------------------- weights


def fresh_weights(teacher: Path, seed: int = 0) -> dict[str, Tensor]:
    """The weights to start from: the teacher's own, less the blocks not KEPT, working at half size (its layer scales folded
    into the layers before them); what the teacher has nothing of starts random and silent."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: _initial(name, shape, generator) for name, shape in mini_net.shapes(("depth",)).items()}
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


def _initial(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if name.endswith("bias") or name in ("edges.b.weight", "depth.lcm.b.weight"):
        return torch.zeros(shape)
    return (
        torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    )


def export(weights: Mapping[str, Tensor], path: Path, about: Mapping[str, object]) -> None:
    """The weights as the package ships them: large matrices int8 with one scale a row, the rest in half precision."""
    state: dict[str, Tensor] = {}
    for name, weight in weights.items():
        weight = weight.detach().float().cpu()
        if weight.numel() > 30_000 and weight.shape[0] > 1:
            scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            rows = scale.view(-1, *[1] * (weight.ndim - 1))
            state[name], state[name + mini.ROWS] = (weight / rows).round().to(torch.int8).contiguous(), scale
        else:
            state[name] = weight.half().contiguous()
    save_file(state, path, {k: str(v) for k, v in about.items()})


# --------------------------------------------------------------------------------------------------------------- training


class Run:
    """The state of training: weights, their average, the optimizer and the count of samples; saved and loaded whole."""

    def __init__(self, weights: dict[str, Tensor], device: torch.device, frozen: int = 0):
        still = ("trunk.patch", "trunk.class", "trunk.positions", *(f"trunk.{i}." for i in range(frozen)))
        self.weights = {
            k: v.to(device).requires_grad_(not frozen or not k.startswith(still)) for k, v in weights.items()
        }
        self.average = {k: v.detach().clone() for k, v in self.weights.items()}
        self.samples = 0
        self.progress = 0.0  # of the schedule, 0 to 1
        learning = {k: v for k, v in self.weights.items() if v.requires_grad}
        trunk = [v for k, v in learning.items() if k.startswith("trunk.")]
        head = [v for k, v in learning.items() if not k.startswith("trunk.") and not _is_new(k)]
        new = [v for k, v in learning.items() if _is_new(k)]
        groups = [{"params": trunk, "peak": 1e-5}, {"params": head, "peak": 5e-5}, {"params": new, "peak": 5e-4}]
        self.optimizer = torch.optim.AdamW(
            groups, lr=0.0, weight_decay=0.03, betas=(0.9, 0.98), fused=device.type == "cuda"
        )

    def step(self, value: Tensor, samples: int, progress: float, rate: float) -> None:
        warm = min(1.0, (self.samples + samples) / (300 * samples))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["peak"] * warm * (0.5 + 0.5 * math.cos(math.pi * min(1.0, progress)))
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimizer.step()
        self.samples, self.progress = self.samples + samples, progress
        keep = min(0.999, 1 - 10 / (10 + self.samples / samples))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - keep)

    def save(self, path: Path) -> None:
        state = {f"weights.{k}": v.detach() for k, v in self.weights.items()}
        state |= {f"average.{k}": v for k, v in self.average.items()}
        for name, weight in self.weights.items():
            for key, value in self.optimizer.state.get(weight, {}).items():
                state[f"{key}.{name}"] = value
        save_file(state, path.with_suffix(".part"), {"samples": str(self.samples), "progress": str(self.progress)})
        path.with_suffix(".part").replace(path)

    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        self.samples, self.progress = int(about["samples"]), float(about["progress"])
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state[f"weights.{name}"])
                self.average[name].copy_(state[f"average.{name}"])
                if f"step.{name}" in state:
                    kept = {k: state[f"{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
                    self.optimizer.state[weight] = {k: v.to(weight.device) for k, v in kept.items()}


def _is_new(name: str) -> bool:
    return name.startswith(("edges.", "depth.lcm."))


def train(run: Run, sets: list[Views], options: argparse.Namespace, device: torch.device) -> None:
    """Trains until the time or the steps are used up; the schedule goes from where it stands to `options.until`."""
    generator = torch.Generator(device).manual_seed(options.seed + run.samples)
    rng = np.random.default_rng(options.seed + run.samples)
    odds = np.array([len(views.rgb) for views in sets], float)
    begin, start, step, recent = time.monotonic(), run.progress, 0, []
    while (done := _done(step, time.monotonic() - begin, options)) < 1:
        views = sets[rng.choice(len(sets), p=odds / odds.sum())]
        shape = tuple(round(side * options.scale / MARGIN / 16) * 16 for side in views.rgb.shape[-2:])
        count = max(1, round(options.batch * 224 * 400 * options.scale**2 / math.prod(shape)))
        rgb, target = draw(views, shape, count, generator)
        with torch.autocast(device.type, torch.bfloat16):
            prediction = mini_torch.core(run.weights, rgb.to(memory_format=torch.channels_last), ("depth",))[0][:, 0]
        prediction = prediction.float()
        value = loss(prediction, target)
        run.step(value, count, start + (options.until - start) * done, options.rate)
        recent.append(torch.stack([value.detach(), correlation(prediction.detach(), target)]))
        step += 1
        if step % options.report == 0:
            ms = 1000 * (time.monotonic() - begin) / step
            value, alike = torch.stack(recent).mean(0).tolist()
            print(f"{run.samples} samples, loss {value:.4f}, correlation {alike:.4f}, {ms:.0f} ms", flush=True)
            recent = []


def _done(step: int, seconds: float, options: argparse.Namespace) -> float:
    return step / max(1, options.steps) if options.steps is not None else seconds / (60 * options.minutes)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint, read first if it is there")
    parser.add_argument("--export", type=Path, help="also write the averaged weights as the package ships them")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, help="instead of --minutes")
    parser.add_argument("--until", type=float, default=1.0, help="how far along the schedule this leg goes, 0 to 1")
    parser.add_argument("--batch", type=int, default=160, help="pictures of 224x400 a step, or as many pixels")
    parser.add_argument("--limit", type=int, help="pictures of each source")
    parser.add_argument("--views", type=Path, help="a file that keeps the labelled views")
    parser.add_argument("--density", type=float, default=1.0, help="how many views a picture, over the usual")
    parser.add_argument("--label-short", type=int, default=420, help="short side at which the teacher labels")
    parser.add_argument("--scale", type=float, default=1.0, help="of the student's picture sizes; below 1 is cheaper")
    parser.add_argument("--rate", type=float, default=1.0, help="of the learning rates; less for small batches")
    parser.add_argument(
        "--freeze", type=int, default=0, help="keep the patch embedding and the first N blocks as they are"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=int, default=200)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    folder = options.data / "teacher" / "depth-anything-v2-small"
    run = Run(fresh_weights(folder), device, options.freeze)
    if options.out.exists():
        run.load(options.out)
    if options.steps != 0:
        sets = label(options, folder, np.random.default_rng(options.seed + run.samples), device)
        train(run, sets, options, device)
        run.save(options.out)
    if options.export:
        export(run.average, options.export, {"samples": run.samples, "progress": run.progress})


if __name__ == "__main__":
    main()
