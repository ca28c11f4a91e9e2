"""How steady a model is over time: frame by frame, smoothed, and smoothed with sharpened key frames, side by side.

    python benchmarks/temporal.py SEQUENCE_OR_VIDEO... [--model mini] [--preset default] [--sharpen 12] [--pictures OUT]
        [--keep FOLDER]

A sequence is a folder as sequences.py describes it; with poses it gives the temporal alignment error, with depth the
accuracy with one scale and shift for the clip and with one for each frame, the edges, and the drift of the scale; tae_exact
in the JSON line is what the exact depth itself has of the alignment error, at its edges and where it has holes. Every
sequence and every video gives the flow-warping error, in percent of the spread of the map. What is measured is what a user
gets: maps at the size of the picture, upsampled along its contours. Rendered clips (steady_clips.py makes them) also give
the accuracy on what moves by itself, what is left of jitter put into their exact depth, and by how much a slow true change is
missed. --loop runs every clip there and back over so many frames; --splice judges cuts in a film spliced from the videos.
Prints a table and, last, one JSON line; musts.py says of such lines which of the aims they reach.
--pictures writes an x-t slice of each: one row of the picture over time, in which flicker shows as stripes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import stress
from films import Clip, pictures, run
from sequences import Sequence, limits_of

from lotus2_video import ModelOptions, make_predictor
from lotus2_video.config import FoldConfig, fold_preset
from lotus2_video.frames import Maps
from lotus2_video.models import find_card
from lotus2_video.ops import metrics
from lotus2_video.ops.colour import apply_colormap
from lotus2_video.ops.geometry import between, project, transform, unproject
from lotus2_video.ops.resample import upsample

MOVES = 1.0  # pixels from where a scene at rest would be seen, above which something moves by itself


def measure(clip: Clip, name: str) -> dict[str, float]:
    """Every measure that the clip has the truth for, of one of its kinds of maps."""
    maps = clip.maps[name]
    score = {"opw": 100 * metrics.flow_warping_error(maps, clip.small, clip.flows) / float(np.std(maps))}
    if clip.truth is None:
        return score
    depth = np.stack([clip.truth.depth(i) for i in range(len(maps))])
    full = np.stack([_at(_full(m, p), depth.shape[1:]) for m, p in zip(maps, clip.rgb, strict=True)])
    limits = limits_of(depth)
    score["absrel_clip"] = metrics.score_clip(full, depth, limits).absrel
    score["absrel_frame"] = metrics.score_frames(full, depth, limits).absrel
    score["drift"] = float(np.nanstd(metrics.scale_drift(full, depth, limits)))
    if (moving := movers(clip.truth, depth, limits)).any():
        score["movers"] = _absrel_on(full, depth, moving, limits)
    if (depth > 0).all():
        score["boundary_f1"] = float(np.mean([_edges(d, z) for d, z in zip(full[::5], depth[::5], strict=True)]))
    if clip.truth.poses is not None and clip.truth.intrinsics is not None:
        intrinsics = _resized_intrinsics(clip.truth, depth.shape[1:])
        poses, known = clip.truth.poses[: len(maps)], np.maximum(depth, limits[0])
        score["tae"] = metrics.temporal_alignment_error(full, depth, poses, intrinsics, limits)
        exact = np.where(depth > 0, 1 / known, 0)
        score["tae_exact"] = metrics.temporal_alignment_error(exact, depth, poses, intrinsics, limits)
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


def _full(disparity: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    depth = upsample(Maps(disparity), rgb).depth
    assert depth is not None
    return depth


def _at(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(maps, size[::-1], interpolation=cv2.INTER_LINEAR)


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


HEADER = f"{'clip':22}{'maps':12}" + "".join(f"{column:>20}" for column in COLUMNS)


def row(clip: str, name: str, score: dict[str, float], base: dict[str, float]) -> str:
    cells = ["-" if c not in score else f"{score[c]:.4f} ({_change(score[c], base[c])})" for c in COLUMNS]
    return f"{clip[:21]:22}{name:12}" + "".join(f"{cell:>20}" for cell in cells)


def _change(value: float, before: float) -> str:
    return f"{100 * (value / before - 1):+.1f}%" if before else "-"


def options_given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("clips", nargs="+", type=Path, help="sequence folders or videos")
    add("--model", default="mini")
    add("--weights")
    add("--res", type=int)
    add("--device", default="auto")
    add("--preset", default="default", help="live, default or film")
    add("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fold parameters to change, lookahead=8 for one")
    add("--sharpen", type=int, default=12, help="key frames, where the model has a sharpener; 0 for none")
    add("--frames", type=int, default=300, help="at most, of each clip")
    add("--loop", type=int, default=0, metavar="FRAMES", help="there and back over so many frames")
    add("--splice", action="store_true", help="judge cuts in a film spliced from the videos")
    add("--pictures", type=Path)
    add("--keep", type=Path, metavar="FOLDER", help="keep what the network gave there, for runs with another fold")
    return parser.parse_args()


def fold_config(preset: str, changes: list[str]) -> FoldConfig:
    config = fold_preset(preset)
    named = dict(change.split("=") for change in changes)
    return replace(config, **{name: type(getattr(config, name))(value) for name, value in named.items()})


def report(clip: Clip) -> list[dict[str, float | str]]:
    """The rows of a clip, printed as they are found, so that a run that is stopped has told what it knew."""
    scores = {name: measure(clip, name) for name in clip.maps}
    for name, score in scores.items():
        print(row(clip.name, name, score, scores["per frame"]), flush=True)
    return [{"clip": clip.name, "maps": name, "pace": pace(clip)} | score for name, score in scores.items()]


def pace(clip: Clip) -> float:
    """How far the picture moves from frame to frame, in percent of its longer side: the mean of the flow that is valid."""
    lengths = [np.hypot(*flow.to_previous[flow.valid].T).mean() for flow in clip.flows if flow.valid.any()]
    return 100 * float(np.mean(lengths)) / max(clip.small[0].shape[:2])


def main() -> None:
    options = options_given()
    config = fold_config(options.preset, options.set)
    sharpen = options.sharpen if find_card(options.model).sharpener else 0
    made = ModelOptions(("depth",), options.weights, options.res, options.device, sharpen=sharpen > 0)
    predictor = make_predictor(options.model, made)
    scores, disturbed, costs = [], {}, []
    print(HEADER)
    for path in options.clips:
        clip = run(path, predictor, config, sharpen, options.frames, options.keep)
        scores += report(clip)
        costs += [] if clip.cost is None else [clip.cost]
        if found := disturb(clip, config, options.loop):
            disturbed[clip.name] = found
            print(_told(clip.name, found), flush=True)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            draw(clip, options.pictures / f"{clip.name}_xt.png")
    predictor.close()
    if options.splice:
        disturbed["spliced"] = stress.cuts([list(pictures(p, 2 * stress.SHOT)) for p in options.clips if p.is_file()])
        print(_told("spliced", disturbed["spliced"]))
    cost = round(float(np.median(costs)), 3) if costs else None
    print(f"flow and fold took {cost} of the network's time" if costs else "cost not measured: --keep had every clip")
    result = {"benchmark": "temporal", "model": options.model, "scores": scores, "disturbed": disturbed, "cost": cost}
    print(json.dumps(result))


def _told(name: str, found: dict[str, float]) -> str:
    return f"{name[:21]:22}" + "  ".join(f"{what} {value:.4f}" for what, value in found.items())


if __name__ == "__main__":
    main()
