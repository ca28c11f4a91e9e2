"""Rendered frames with exact geometry, several picture shapes side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from render import Assets, Quality, Rendered, render_batches

from .views import Size, Views

# Shapes are rendered as they are, not cropped from one another: a crop off the optical axis has other normals than the
# picture it looks like. Each with its share of the frames, in sixteenths: so many processes make its scenes.
STILLS: dict[Size, int] = {(360, 640): 6, (360, 480): 3, (480, 360): 2, (640, 360): 2, (360, 360): 1, (216, 648): 2}
HIGH: dict[Size, int] = {(576, 1024): 16}
# For the sharpener thin things count most.
FINE_KINDS = {
    "thin": 4.0,
    "room": 3.0,
    "tabletop": 1.5,
    "street": 2.0,
    "terrain": 0.5,
    "floating": 0.7,
    "corridor": 0.5,
}
VIEWS_A_SCENE = 4


@dataclass(frozen=True)
class Recipe:
    """count: frames of all sizes together, about. scale: of the sizes. workers: processes that make scenes."""

    count: int
    sizes: Mapping[Size, int]
    kinds: Mapping[str, float] | None
    quality: Quality
    seed: int
    scale: float = 1.0
    workers: int = 14


def render_stills(recipe: Recipe, assets: Assets, device: torch.device) -> list[Views]:
    """A set of views for each size, scene by scene. Sizes are rendered in turn, each with processes of its own, so that
    none waits for another to start."""
    total = sum(recipe.sizes.values())
    shares = {size: max(1, round(recipe.count * n / total / VIEWS_A_SCENE)) for size, n in recipe.sizes.items()}
    streams = {
        size: _stream(recipe, scenes, i, size, assets, device) for i, (size, scenes) in enumerate(shares.items())
    }
    parts: dict[Size, list[Views]] = {size: [] for size in streams}
    for size in cycle([size for size, n in recipe.sizes.items() for _ in range(n)]):
        if size in streams and (frames := next(streams[size], None)) is not None:
            parts[size].append(_kept(frames, device))
        else:
            streams.pop(size, None)
        if not streams:
            break
    return [joined(views) for views in parts.values()]


def _stream(
    recipe: Recipe, scenes: int, number: int, size: Size, assets: Assets, device: torch.device
) -> Iterator[Rendered]:
    share = recipe.sizes[size] / sum(recipe.sizes.values())
    return render_batches(
        recipe.seed + number,
        scenes * VIEWS_A_SCENE,
        (round(size[0] * recipe.scale / 16) * 16, round(size[1] * recipe.scale / 16) * 16)
        if recipe.scale != 1
        else size,
        batch=VIEWS_A_SCENE,
        frames_per_scene=VIEWS_A_SCENE,
        device=str(device),
        kinds=recipe.kinds,
        assets=assets,
        quality=recipe.quality,
        workers=max(1, round(recipe.workers * share)) if recipe.workers else 0,
    )


def _kept(frames: Rendered, device: torch.device) -> Views:
    rgb, disparity, normal = (torch.as_tensor(x, device=device) for x in (frames.rgb, frames.disparity, frames.normal))
    whole = (127 * normal.permute(0, 3, 1, 2)).round().to(torch.int8).contiguous()
    return Views(rgb.permute(0, 3, 1, 2).contiguous(), disparity.clamp(0, 6e4).half(), whole, list(frames.kinds))


def joined(parts: Sequence[Views]) -> Views:
    """Rendered views of one size as one set."""
    normals = [part.normal for part in parts if part.normal is not None]
    labels = [label for part in parts for label in part.labels]
    return Views(
        torch.cat([part.rgb for part in parts]),
        torch.cat([part.disparity for part in parts]),
        torch.cat(normals),
        labels,
    )


def split(views: Views, held: int) -> tuple[Views, Views]:
    """(to train on, held out): the last `held` frames, rounded to whole scenes, but at most half."""
    held = min(held, len(views) // 2) // VIEWS_A_SCENE * VIEWS_A_SCENE
    at = len(views) - held
    return _slice(views, slice(None, at)), _slice(views, slice(at, None))


def _slice(views: Views, part: slice) -> Views:
    normal = None if views.normal is None else views.normal[part]
    return Views(views.rgb[part], views.disparity[part], normal, views.labels[part])
