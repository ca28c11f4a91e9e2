"""How steady a model is over time: frame by frame, smoothed, and smoothed with sharpened key frames, side by side.

    python benchmarks/temporal.py SEQUENCE_OR_VIDEO... [--model mini] [--preset default] [--sharpen 12] [--pictures OUT]

A sequence is a folder as sequences.py describes it; with poses it gives the temporal alignment error, with depth the
accuracy with one scale and shift for the clip and with one for each frame, the edges, and the drift of the scale. Every
sequence and every video gives the flow-warping error, in percent of the spread of the map. What is measured is what a user
gets: maps at the size of the picture, upsampled along its contours. Rendered clips (steady_clips.py makes them) also give
the accuracy on what moves by itself, what is left of jitter put into their exact depth, and by how much a slow true change is
missed. --loop runs every clip there and back over so many frames; --splice judges cuts in a film spliced from the videos.
Prints a table and, last, one JSON line.
--pictures writes an x-t slice of each: one row of the picture over time, in which flicker shows as stripes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import stress
from sequences import Sequence, load

from lotus2_video import ModelOptions, make_predictor, open_source
from lotus2_video.config import FoldConfig, fold_preset
from lotus2_video.fold.keyframes import CarriedDetail, KeyframePlan
from lotus2_video.fold.smooth import Smooth
from lotus2_video.frames import Flow, Maps
from lotus2_video.models import Predictor, find_card
from lotus2_video.ops import metrics
from lotus2_video.ops.colour import apply_colormap
from lotus2_video.ops.flow import dense_flow
from lotus2_video.ops.geometry import between, project, transform, unproject
from lotus2_video.ops.resample import shrink, upsample

WIDEST = 640  # pixels that pictures are reduced to before anything is measured
OUTDOOR = (1e-3, 80.0)  # metres, for clips that are mostly farther away than rooms are
MOVES = 1.0  # pixels from where a scene at rest would be seen, above which something moves by itself


@dataclass
class Clip:
    """A film with all its maps: rgb uint8 [T,H,W,3] at the size measured, small and flows at the network's, maps [T,h,w]."""

    name: str
    rgb: list[np.ndarray]
    small: list[np.ndarray]
    flows: list[Flow]
    maps: dict[str, list[np.ndarray]]
    seconds: dict[str, float]
    truth: Sequence | None


def pictures(path: Path, most: int) -> Iterator[np.ndarray]:
    """uint8 [H,W,3], at most `most` of a sequence or a video."""
    if path.is_dir():
        sequence = load(path)
        yield from (_reduced(sequence.picture(i)) for i in range(min(most, len(sequence.rgb))))
        return
    with open_source(str(path)) as source:
        for number, frame in enumerate(source):
            if number == most:
                return
            yield _reduced(frame.rgb)


def _reduced(rgb: np.ndarray) -> np.ndarray:
    scale = min(1.0, WIDEST / max(rgb.shape[:2]))
    return shrink(rgb, (round(rgb.shape[0] * scale), round(rgb.shape[1] * scale)))


def run(path: Path, predictor: Predictor, config: FoldConfig, sharpen: int, most: int) -> Clip:
    """The film through the network and the fold, with what each took. sharpen: every how many frames, 0 for never."""
    rgb = list(pictures(path, most))
    small = [shrink(p, predictor.input_size(*p.shape[:2])) for p in rgb]
    clip = Clip(
        path.stem, rgb, [], [], {}, {"network": 0.0, "flow": 0.0, "fold": 0.0}, load(path) if path.is_dir() else None
    )
    fold, plan, carried = Smooth(config), KeyframePlan(sharpen or 1), CarriedDetail()
    for p in small:
        maps = _timed(clip, "network", lambda p=p: predictor.predict(p[None])[0])
        picture = shrink(p, maps.size)
        before = clip.small[-1] if clip.small else None
        flow = None if before is None else _timed(clip, "flow", lambda b=before, p=picture: dense_flow(b, p))
        steady = _timed(clip, "fold", lambda p=picture, m=maps, f=flow: fold.step(p, m, f)[0])
        made = {"per frame": maps, "smoothed": steady}
        if sharpen:
            sharp = predictor.predict(p[None], sharpen=True)[0]
            key = (maps, sharp, fold.scale) if plan.step(picture, flow) else None
            made |= {"sharpened": sharp, "carried": carried.step(picture, steady, flow, key)}
        clip.small.append(picture)
        clip.flows += [] if flow is None else [flow]
        for name, each in made.items():
            clip.maps.setdefault(name, []).append(_depth(each))
    return clip


def _timed(clip: Clip, what: str, work):
    start = time.perf_counter()
    result = work()
    clip.seconds[what] += time.perf_counter() - start
    return result


def _depth(maps: Maps) -> np.ndarray:
    assert maps.depth is not None
    return maps.depth


def measure(clip: Clip, name: str) -> dict[str, float]:
    """Every measure that the clip has the truth for, of one of its kinds of maps."""
    maps = clip.maps[name]
    score = {"opw": 100 * metrics.flow_warping_error(maps, clip.small, clip.flows) / float(np.std(maps))}
    if clip.truth is None:
        return score
    depth = np.stack([clip.truth.depth(i) for i in range(len(maps))])
    full = np.stack([_at(upsample(Maps(m), p), depth.shape[1:]) for m, p in zip(maps, clip.rgb, strict=True)])
    limits = OUTDOOR if np.median(depth[depth > 0]) > metrics.INDOOR[1] else metrics.INDOOR
    score["absrel_clip"] = metrics.score_clip(full, depth, limits).absrel
    score["absrel_frame"] = metrics.score_frames(full, depth, limits).absrel
    score["drift"] = float(np.nanstd(metrics.scale_drift(full, depth, limits)))
    if (moving := movers(clip.truth, depth, limits)).any():
        score["movers"] = _absrel_on(full, depth, moving, limits)
    if (depth > 0).all():
        score["boundary_f1"] = float(np.mean([_edges(d, z) for d, z in zip(full[::5], depth[::5], strict=True)]))
    if clip.truth.poses is not None and clip.truth.intrinsics is not None:
        intrinsics = _resized_intrinsics(clip.truth, depth.shape[1:])
        score["tae"] = metrics.temporal_alignment_error(full, depth, clip.truth.poses[: len(maps)], intrinsics, limits)
    return score


def movers(truth: Sequence, depth: np.ndarray, limits: metrics.Limits) -> np.ndarray:
    """bool [T,h,w]: what is not where the camera alone would show it in the frame before, by the clip's exact flow."""
    moving = np.zeros(depth.shape, bool)
    file = truth.rgb[0].parents[1] / "flow.npz"
    if not file.exists() or truth.poses is None or truth.intrinsics is None:
        return moving
    exact, pixels = np.load(file), np.indices(depth.shape[1:])[::-1].transpose(1, 2, 0)
    for t in range(1, len(depth)):
        there = transform(unproject(depth[t], truth.intrinsics), between(truth.poses[t], truth.poses[t - 1]))
        apart = np.abs(project(there, truth.intrinsics) - pixels - exact["flow_backward"][t]).max(axis=2)
        known = (depth[t] > limits[0]) & (depth[t] < limits[1]) & ~exact["occluded_backward"][t]
        moving[t] = known & (np.nan_to_num(apart, posinf=0) > MOVES)
    return moving


def _absrel_on(maps: np.ndarray, depth: np.ndarray, chosen: np.ndarray, limits: metrics.Limits) -> float:
    """Mean over frames, each with the scale and shift of its whole picture."""
    errors = []
    for m, z, on in zip(maps, depth, chosen, strict=True):
        if np.count_nonzero(on) > 50:
            found = metrics.to_depth(m, *metrics.align_least_squares_disparity(m, z, limits), limits)
            errors.append(np.mean(np.abs(found - z)[on] / z[on]))
    return float(np.mean(errors)) if errors else 0.0


def disturb(clip: Clip, config: FoldConfig, loop: int) -> dict[str, float]:
    """The fold on this clip against what is known exactly; see stress.py."""
    score: dict[str, float] = {}
    if clip.truth is not None:
        folder, size = clip.truth.rgb[0].parents[1], clip.small[0].shape[:2]
        exact = stress.exact_maps(folder, len(clip.small), size)
        if exact is not None:
            score |= stress.jitter(exact, clip.small, clip.flows, config)
            score |= stress.followed(exact, clip.small, clip.flows, config)
    if loop:
        maps = np.stack(clip.maps["per frame"])
        score["loop_drift"] = stress.loop(maps, clip.small, clip.flows, config, loop)
    return score


def _at(maps: Maps, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(_depth(maps), size[::-1], interpolation=cv2.INTER_LINEAR)


def _edges(disparity: np.ndarray, depth: np.ndarray) -> float:
    fit = metrics.align_least_squares_disparity(disparity, depth)
    return metrics.boundary_f1(metrics.to_depth(disparity, *fit), depth)


def _resized_intrinsics(truth: Sequence, size: tuple[int, int]) -> np.ndarray:
    """K of the pictures, for maps of another size; pixel centres at integers."""
    assert truth.intrinsics is not None
    height, width = truth.picture(0).shape[:2]
    intrinsics = truth.intrinsics.copy()
    for axis, scale in ((0, size[1] / width), (1, size[0] / height)):
        intrinsics[axis] *= scale
        intrinsics[axis, 2] += 0.5 * scale - 0.5
    return intrinsics


def draw(clip: Clip, path: Path) -> None:
    """The middle row of the picture over time (down), beside that of each kind of map."""
    height, width = clip.small[0].shape[:2]
    slices = [np.stack([p[height // 2] for p in clip.small])]
    for maps in clip.maps.values():
        top = float(np.quantile(maps, 0.99))
        rows = np.stack([m[height // 2] for m in maps]) / max(top, 1e-3)
        slices.append(apply_colormap(np.clip(rows, 0, 1).astype(np.float32), "spectral"))
    tall = [cv2.resize(s, (width, 3 * len(s)), interpolation=cv2.INTER_NEAREST) for s in slices]
    cv2.imwrite(str(path), np.hstack(tall)[:, :, ::-1])


COLUMNS = ("tae", "absrel_clip", "absrel_frame", "movers", "boundary_f1", "opw", "drift")


def table(rows: list[tuple[str, str, dict[str, float]]]) -> str:
    lines = [f"{'clip':22}{'maps':12}" + "".join(f"{column:>20}" for column in COLUMNS)]
    base: dict[str, float] = {}
    for clip, name, score in rows:
        base = score if name == "per frame" else base
        cells = ["-" if c not in score else f"{score[c]:.4f} ({_change(score[c], base[c])})" for c in COLUMNS]
        lines.append(f"{clip[:21]:22}{name:12}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _change(value: float, before: float) -> str:
    return f"{100 * (value / before - 1):+.1f}%" if before else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path, help="sequence folders or videos")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--weights")
    parser.add_argument("--res", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--preset", default="default", help="live, default or film")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fold parameters to change")
    parser.add_argument(
        "--sharpen", type=int, default=12, help="key frames, where the model has a sharpener; 0 for none"
    )
    parser.add_argument("--frames", type=int, default=300, help="at most, of each clip")
    parser.add_argument("--loop", type=int, default=0, metavar="FRAMES", help="there and back over so many frames")
    parser.add_argument("--splice", action="store_true", help="judge cuts in a film spliced from the videos")
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    config = replace(fold_preset(options.preset), **{k: float(v) for k, v in (s.split("=") for s in options.set)})
    sharpen = options.sharpen if find_card(options.model).sharpener else 0
    made = ModelOptions(("depth",), options.weights, options.res, options.device, sharpen=sharpen > 0)
    predictor = make_predictor(options.model, made)
    rows: list[tuple[str, str, dict[str, float]]] = []
    seconds = {"network": 0.0, "flow": 0.0, "fold": 0.0}
    disturbed: dict[str, dict[str, float]] = {}
    for path in options.clips:
        clip = run(path, predictor, config, sharpen, options.frames)
        if found := disturb(clip, config, options.loop):
            disturbed[clip.name] = found
        rows += [(clip.name, name, measure(clip, name)) for name in clip.maps]
        seconds = {what: spent + clip.seconds[what] for what, spent in seconds.items()}
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            draw(clip, options.pictures / f"{clip.name}_xt.png")
    predictor.close()
    cost = (seconds["flow"] + seconds["fold"]) / seconds["network"]
    if options.splice:
        disturbed["spliced"] = stress.cuts([list(pictures(p, 2 * stress.SHOT)) for p in options.clips if p.is_file()])
    print(table(rows))
    for name, found in disturbed.items():
        print(f"{name[:21]:22}" + "  ".join(f"{what} {value:.4f}" for what, value in found.items()))
    print(f"flow and fold took {cost:.2f} of the network's time")
    report = [{"clip": c, "maps": n} | s for c, n, s in rows]
    result = {"benchmark": "temporal", "model": options.model, "scores": report, "disturbed": disturbed}
    print(json.dumps(result | {"cost": round(cost, 3)}))


if __name__ == "__main__":
    main()
