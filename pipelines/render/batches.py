"""Endless rendered training data: stills in batches, and clips with flow. Deterministic in the seed."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import cameras, tone
from .assets import Assets, load_assets
from .cast import FLOW, GEOMETRY, Quality, Renderer
from .kinds import KINDS, draw
from .looks import Looks
from .pack import View, pack
from .tone import Development, develop

Array = Any  # numpy.ndarray on the CPU, torch.Tensor on a GPU


GOOD = Quality(samples=4, ambient=2)


@dataclass(frozen=True, eq=False)
class Rendered:
    """Frames with exact geometry; in a clip N is time. On a GPU all arrays are tensors there.

    rgb: uint8 [N,h,w,3], display-referred. disparity: float32 [N,h,w], 1 / z-depth in 1/metres, 0 at infinity.
    normal: float32 [N,h,w,3], unit, camera space, +X right +Y up +Z toward the camera; 0 at infinity.
    object: int32 [N,h,w], which thing is seen, -1 at infinity. K: float32 [N,3,3], pixel centres at integers.
    pose: float32 [N,4,4], camera to world, OpenCV axes. kinds: the kind of scene of each frame.
    In clips also, else None: flow_forward, flow_backward: float32 [N,h,w,2], (dx, dy) pixels to the next / previous frame,
    0 where there is none. occluded_forward, occluded_backward: bool [N,h,w], True where that point is hidden or out of the
    picture there. seconds: float64 [N].
    """

    rgb: Array
    disparity: Array
    normal: Array
    object: Array
    K: np.ndarray
    pose: np.ndarray
    kinds: tuple[str, ...]
    flow_forward: Array = None
    flow_backward: Array = None
    occluded_forward: Array = None
    occluded_backward: Array = None
    seconds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rgb)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One scene ready to cast: tables of pack(), how to develop its frames, and what they are."""

    tables: dict[str, np.ndarray]
    developments: list[Development]
    K: np.ndarray
    pose: np.ndarray
    kind: str
    seconds: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What a worker needs to know to prepare any scene of a run."""

    seed: int
    size: tuple[int, int]
    frames: int
    clip: bool
    rate: float
    kinds: tuple[tuple[str, float], ...] | None
    photos: float


def prepare(plan: Plan, assets: Assets, number: int) -> Prepared:
    """Scene `number` of a plan: a pure function of its arguments."""
    rng = np.random.default_rng([plan.seed, number])
    kind = draw(rng, dict(plan.kinds) if plan.kinds else None)
    scene = KINDS[kind][0](Looks(rng, assets.textures, plan.photos, assets.objects, assets.scenes))
    if plan.clip:
        seconds = np.arange(plan.frames) / plan.rate
        taken = cameras.path(rng, scene, plan.size, seconds)
        neighbours = [(k - 1 if k else None, k + 1 if k + 1 < plan.frames else None) for k in range(plan.frames)]
    else:
        seconds = np.zeros(plan.frames)
        taken = cameras.stills(rng, scene, plan.size, plan.frames)
        neighbours = [(None, None)] * plan.frames
    seeds = rng.integers(0, 2**31, plan.frames)
    views = [View(c, float(t), int(s), *n) for c, t, s, n in zip(taken, seconds, seeds, neighbours, strict=True)]
    one = tone.random_development(rng)
    settings = [one if plan.clip else tone.random_development(rng) for _ in views]
    K, pose = np.stack([c.K for c in taken]), np.stack([c.pose for c in taken])
    return Prepared(pack(scene, views), settings, K.astype(np.float32), pose.astype(np.float32), kind, seconds)


def finish(renderer: Renderer, prepared: Prepared, size: tuple[int, int], clip: bool, quality: Quality) -> Rendered:
    """Casts a prepared scene and develops its frames."""
    want = ("radiance", *GEOMETRY, *(FLOW if clip else ()))
    out = renderer.cast_tables(prepared.tables, size, want, quality)
    flows = {k: out[k] for k in FLOW if k in out}
    flows |= {k: v > 0 for k, v in flows.items() if k.startswith("occluded")}
    return Rendered(
        develop(out["radiance"], prepared.developments, share=clip),
        1 / out["depth"],
        out["normal"],
        out["object"],
        prepared.K,
        prepared.pose,
        (prepared.kind,) * len(prepared.K),
        **flows,
        seconds=prepared.seconds if clip else None,
    )


_worker: dict[str, Any] = {}


def _start_worker(plan: Plan, assets: Assets) -> None:
    _worker.update(plan=plan, assets=assets)


def _work(number: int) -> Prepared:
    return prepare(_worker["plan"], _worker["assets"], number)


def prepared_scenes(plan: Plan, assets: Assets, first: int, count: int, workers: int) -> Iterator[Prepared]:
    """Scenes first .. first + count of a plan in order; with workers, made in as many processes, a few ahead."""
    if workers == 0:
        for number in range(first, first + count):
            yield prepare(plan, assets, number)
        return
    context = multiprocessing.get_context("spawn")  # fork would copy a CUDA context
    with ProcessPoolExecutor(workers, context, _start_worker, (plan, assets.without_pictures())) as pool:
        yield from _bounded(lambda n: pool.submit(_work, n), range(first, first + count), 2 * workers)


def _bounded(submit: Callable[[int], Any], numbers: range, ahead: int) -> Iterator[Prepared]:
    pending: deque[Any] = deque()
    try:
        for number in numbers:
            pending.append(submit(number))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def render_batches(
    seed: int,
    count: int,
    size: tuple[int, int] = (224, 384),
    *,
    batch: int = 32,
    frames_per_scene: int = 4,
    device: str = "cpu",
    kinds: Mapping[str, float] | None = None,
    assets: Assets | None = None,
    photos: float = 0.08,
    quality: Quality = GOOD,
    workers: int = 0,
    first: int = 0,
) -> Iterator[Rendered]:
    """Batches of stills, `frames_per_scene` views of each scene side by side; every scene is used once.

    Args:
        count: stills in all, a multiple of `batch`; batch: a multiple of frames_per_scene. size: (height, width).
        device: "cpu" (numpy) or "cuda[:N]" (torch tensors that never leave the GPU).
        kinds: name of kinds.KINDS -> weight; default all. assets: from load_assets(photos=..., meshes=...);
            default: procedural textures alone.
        photos: share of ordinary surfaces that wear a photograph. workers: processes that make scenes; 0: none but this.
        first: scenes to skip, to go on after a checkpoint: the batches from there on are the same as without a break.

    Raises ValueError for sizes that do not divide, CompilerError where the ray caster cannot be built.
    """
    if count % batch or batch % frames_per_scene:
        raise ValueError(
            f"count {count} must be a multiple of batch {batch}, and that of frames_per_scene {frames_per_scene}"
        )
    assets = assets or load_assets()
    plan = Plan(seed, size, frames_per_scene, False, 0.0, tuple(kinds.items()) if kinds else None, photos)
    renderer = Renderer(assets.textures, device)
    group: list[Rendered] = []
    for prepared in prepared_scenes(plan, assets, first, count // frames_per_scene, workers):
        group.append(finish(renderer, prepared, size, False, quality))
        if len(group) * frames_per_scene == batch:
            yield joined(group)
            group = []


def render_clips(
    seed: int,
    count: int,
    frames: int = 8,
    size: tuple[int, int] = (224, 384),
    *,
    rate: float = 24.0,
    device: str = "cpu",
    kinds: Mapping[str, float] | None = None,
    assets: Assets | None = None,
    photos: float = 0.08,
    quality: Quality = GOOD,
    workers: int = 0,
    first: int = 0,
) -> Iterator[Rendered]:
    """Short clips, one scene each: moving camera, moving things, flow, occlusion. Arguments as for render_batches;
    frames: in a clip; rate: frames a second."""
    assets = assets or load_assets()
    plan = Plan(seed, size, frames, True, rate, tuple(kinds.items()) if kinds else None, photos)
    renderer = Renderer(assets.textures, device)
    for prepared in prepared_scenes(plan, assets, first, count, workers):
        yield finish(renderer, prepared, size, True, quality)


def joined(parts: list[Rendered]) -> Rendered:
    """Several stills as one batch."""
    xp = tone.library_of(parts[0].rgb)
    whole = {k: xp.concatenate([getattr(p, k) for p in parts]) for k in ("rgb", "disparity", "normal", "object")}
    K, pose = (np.concatenate([getattr(p, k) for p in parts]) for k in ("K", "pose"))
    return Rendered(**whole, K=K, pose=pose, kinds=sum((p.kinds for p in parts), ()))
