"""One run from start to finish: data, core, sharpener, files."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from render import Quality, load_assets
from torch import Tensor

from .check import Figures, check_core, check_sharp
from .core import CoreLeg, Diet
from .measure import check_sequence
from .pictures import Picture, count, read_pictures
from .run import Pace, Run
from .sharp import Cut, SharpLeg
from .stills import FINE_KINDS, HIGH, STILLS, Recipe, joined, render_stills, split
from .views import LARGE, SHARP_SHAPES, Teacher, Views, cut_views
from .weights import export, mixed, save_parts, start_weights

T = TypeVar("T")
# What the last layer says is a hundredth of what goes into it: at the rate of the others it would only be noise.
SHARPEN_RATES = {"sharpen.": 1.5e-3, "sharpen.out.": 1e-4}
PORTION = 4000  # rendered frames that join the training at once
HELD = 64  # rendered frames of each shape, at most, that are kept for checking


@dataclass
class Data:
    """Sets of views to train on, and those held out. photos of the teacher, rendered exactly; later: more rendered ones; high:
    larger rendered frames, and sharp: larger photographs, for the sharpener. What are futures come while the core trains."""

    photos: list[Views]
    held_photos: list[Views]
    rendered: list[Views]
    held_rendered: list[Views]
    later: list[Future[list[Views]]]
    high: Future[list[Views]]
    sharp: list[Views]


def run(options: argparse.Namespace) -> None:
    """See `train_mini.py` for the options."""
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = True
    options.out.parent.mkdir(parents=True, exist_ok=True)
    weights = start_weights(options.start, options.data / "teacher" / "depth-anything-v2-small", options.seed)
    training = _trains(options)
    sharpening = options.sharpen_steps != 0 and options.sharpen_minutes > 0
    with ThreadPoolExecutor(1) as background:
        learning = training or bool(options.compare)
        data = make_data(options, device, background, learning, sharpening) if learning or sharpening else None
        run = Run(weights, _rates(options), device)
        if options.out.exists():
            run.load(options.out)
        if data and options.compare:
            compare(data, options)
        if data and training:
            train_core(run, data, options)
        weights = mixed(run.average, weights, options.keep_start) if training else run.average
        if data and sharpening:
            weights = train_sharpener(weights, data, options)
    hand_on(weights, options)


def make_data(
    options: argparse.Namespace, device: torch.device, background: ThreadPoolExecutor, learning: bool, sharpening: bool
) -> Data:
    """Renders in the background while the teacher labels; of what is not asked for, nothing. learning: whether the core learns,
    be it to compare only."""
    tars = sorted((options.data / "photos").glob("*.tar"))
    assets = timed("textures", lambda: load_assets(photos=tars, meshes=options.meshes))
    scale, workers, seed = options.scale, options.workers, options.seed

    def render(name: str, recipe: Recipe, wanted: bool) -> Future[list[Views]]:
        return background.submit(timed, name, lambda: render_stills(recipe, assets, device) if wanted else [])

    stills = Recipe(options.stills, STILLS, None, Quality(4, 1), 1000 + seed, scale, workers)
    coming = render("stills", stills, learning and "rendered" not in options.without)
    pictures = timed("pictures", lambda: read_pictures(options.data, options.limit))
    print(count(pictures), flush=True)
    photos, held_photos, sharp = label(options, pictures, device, learning, sharpening)
    parts = [split(views, HELD) for views in timed("the rest of the stills", coming.result)]
    rendered, held = [part for part, _ in parts], [part for _, part in parts]
    wanted = options.later if _trains(options) and "rendered" not in options.without else 0
    portions = [min(PORTION, wanted - done) for done in range(0, wanted, PORTION)]
    more = [
        Recipe(n, STILLS, None, Quality(4, 1), 5000 + 100 * i + seed, scale, workers) for i, n in enumerate(portions)
    ]
    later = [render("later stills", recipe, True) for recipe in more]
    high = Recipe(options.high, HIGH, FINE_KINDS, Quality(8, 1), 2000 + seed, scale, workers)
    data = Data(photos, held_photos, rendered, held, later, render("high", high, sharpening), sharp)
    for name in ("photos", "rendered", "sharp"):
        sets = [(len(views), *views.size) for views in getattr(data, name)]
        print(f"{name}: {sum(n for n, *_ in sets)} views, {sets}", flush=True)
    return data


def label(
    options: argparse.Namespace, pictures: list[Picture], device: torch.device, training: bool, sharpening: bool
) -> tuple[list[Views], list[Views], list[Views]]:
    """Photographs to train on, those held out, and views for the sharpener, all labelled by the teacher."""
    teacher = options.data / "teacher" / "depth-anything-v2-small"
    rng = np.random.default_rng(options.seed)
    usual = Teacher(teacher, device, options.label_short)

    def cut(chosen: list[Picture], density: float) -> list[Views]:
        return cut_views(chosen, usual, density, rng, scale=options.scale)

    seen = [p for p in pictures if not p.held_out and p.group not in options.without]
    photos = timed("labels", lambda: cut(seen, options.density)) if training else []
    held = cut([p for p in pictures if p.held_out], 0.25) if training else []
    large = [p for p in seen if min(p.rgb.shape[:2]) >= LARGE] if sharpening else []
    often = options.sharp_photos / (12 * max(1, len(large)))  # most of the large ones are video frames
    fine = Teacher(teacher, device, round(1.8 * options.label_short))
    views = timed("fine labels", lambda: cut_views(large, fine, often, rng, SHARP_SHAPES, options.scale))
    return photos, held, views


def train_core(run: Run, data: Data, options: argparse.Namespace) -> None:
    leg = CoreLeg(run, data.photos, data.rendered, _diet(options), options.seed)

    coming = [*data.later]

    def grow() -> None:
        if coming and coming[0].done() and (more := coming.pop(0).result()):
            for i, views in enumerate(leg.rendered):  # one by one: only one set is there twice
                leg.rendered[i] = joined([views, more.pop(0)])

    def check() -> None:
        report(checked(run, data, options))

    def save() -> None:
        run.save(options.out)
        hand_on(run.average, options)

    check()
    pace = Pace(options.minutes, options.steps, options.until, options.report)
    timed("core", lambda: run.fit(leg, pace, [(10, grow), (options.check_every, check), (120, save)]))


def train_sharpener(weights: dict[str, Tensor], data: Data, options: argparse.Namespace) -> dict[str, Tensor]:
    """Returns all the weights, the sharpener's averaged."""
    parts = [split(views, 2 * HELD) for views in timed("waiting for high frames", data.high.result)]
    held = parts[0][1]
    thin = held.only([i for i, kind in enumerate(held.labels) if kind == "thin"][:12] or [0])
    run = Run(weights, {k: options.rate * v for k, v in SHARPEN_RATES.items()}, torch.device(options.device))
    path = options.out.with_name(options.out.name + ".sharpen")
    if path.exists():
        run.load(path)
    cut = Cut(options.sharpen_batch, photos=options.sharpen_photos, side=options.crop, scale=options.scale)
    leg = SharpLeg(run, [part for part, _ in parts], data.sharp, cut, options.seed)

    def check() -> None:
        report(check_sharp(run.average, thin))

    def save() -> None:
        run.save(path)
        hand_on(run.average, options)

    check()
    pace = Pace(options.sharpen_minutes, options.sharpen_steps, 1.0, options.report)
    timed("sharpener", lambda: run.fit(leg, pace, [(options.check_every, check), (120, save)]))
    return run.average


def compare(data: Data, options: argparse.Namespace) -> None:
    """What each source brings: the core trained alike from the teacher with all of them and without each, nothing of it kept.
    A JSON line each."""
    weights = start_weights(None, options.data / "teacher" / "depth-anything-v2-small", options.seed)
    for left in ("nothing", "photos", "rgbd", "frames", "rendered"):
        run = Run(weights, _rates(options), torch.device(options.device))
        photos = [views for views in (v.without([left]) for v in data.photos) if len(views)]
        leg = CoreLeg(run, photos, [] if left == "rendered" else data.rendered, _diet(options), options.seed)
        run.fit(leg, Pace(0, options.compare, 1.0, options.report, warm=max(1, options.compare // 4)))
        print(json.dumps({"without": left, "steps": run.steps} | checked(run, data, options)), flush=True)


def checked(run: Run, data: Data, options: argparse.Namespace) -> Figures:
    with torch.backends.cudnn.flags(
        enabled=True, benchmark=False, allow_tf32=True
    ):  # sizes of its own: not worth a search
        found = check_core(run.average, data.held_photos, data.held_rendered, options.scale)
        for folder in options.measure:
            found |= check_sequence(run.average, folder, torch.device(options.device), options.scale)
    return found


def report(figures: Figures) -> None:
    print("  held out:", ", ".join(f"{name} {value:.4f}" for name, value in figures.items()), flush=True)


def _diet(options: argparse.Namespace) -> Diet:
    weights = options.normal_weight, options.consistency
    return Diet(options.batch, options.rendered, options.scale, *weights, compile=options.compile)


def _trains(options: argparse.Namespace) -> bool:
    """Whether the core is trained for good."""
    return options.steps != 0 and options.minutes > 0


def hand_on(weights: dict[str, Tensor], options: argparse.Namespace) -> None:
    about = {"seed": options.seed, "without": ",".join(options.without)}
    if options.save_parts:
        save_parts(weights, options.save_parts, about)
    if options.export:
        export(weights, options.export, about)


def timed(name: str, work: Callable[[], T]) -> T:
    begin = time.monotonic()
    result = work()
    print(f"{name}: {time.monotonic() - begin:.1f} s", flush=True)
    return result


def _rates(options: argparse.Namespace) -> dict[str, float]:
    """Peak learning rate by name prefix. The core leaves the sharpener alone."""
    rate = options.rate
    core = ("neck.", "fuse.", "edges.", "depth.")
    return {
        "trunk.": rate * options.trunk_rate,
        **dict.fromkeys(core, rate * options.head_rate),
        "normal.": rate * options.new_rate,
    }
