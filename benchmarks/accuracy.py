"""How right a model is, frame by frame, on sequences with known geometry, and beside a peer in the same run.

    python benchmarks/accuracy.py SEQUENCE... [--model mini] [--maps depth,normal] [--sharpen] [--peer FOLDER] [--every N]
        [--pictures OUT]

Each frame's disparity is fitted to the truth by a scale and a shift of its own, as in the published Lotus-2 evaluation.
Prints a table and, last, one JSON line. --sharpen measures the model with its detail sharpener too, beside itself without;
--peer is a depth-estimation model of transformers, run at its own default size.
--pictures writes a contact sheet a sequence: picture, truth, the model (sharpened, if asked for), its error, its normals.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from peers import Estimate, ours, transformers_model
from sequences import Sequence, limits_of, load

from lotus2_video import ModelOptions
from lotus2_video.ops import metrics
from lotus2_video.ops.colour import apply_colormap, encode_normal


def resized(prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(prediction, size[::-1], interpolation=cv2.INTER_LINEAR)


def measure(estimate: Estimate, sequence: Sequence) -> dict[str, Any]:
    """The mean scores of a model on a sequence."""
    depth, sharp, normals = [], [], []
    for i in range(len(sequence.rgb)):
        found, truth = estimate(sequence.picture(i)), sequence.depth(i)
        disparity = resized(found["depth"], truth.shape)
        limits = limits_of(truth)
        if ((truth > limits[0]) & (truth < limits[1])).any():
            depth.append(asdict(metrics.score_frame(disparity, truth, limits)))
        if (truth > 0).all():  # boundaries need truth everywhere
            fit = metrics.align_least_squares_disparity(disparity, truth, limits)
            sharp.append(metrics.boundary_f1(metrics.to_depth(disparity, *fit, limits), truth.clip(*limits)))
        true_normal = sequence.normal(i)
        if "normal" in found and true_normal is not None:
            score = metrics.score_normals(resized(found["normal"], true_normal.shape[:2]), true_normal)
            normals.append({"normal_mean": score.mean, "normal_median": score.median}
                           | {f"normal_within_{limit:g}": share for limit, share in score.within.items()})  # fmt: skip
    return _mean(depth) | ({"boundary_f1": float(np.mean(sharp))} if sharp else {}) | _mean(normals)


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]} if rows else {}


def draw(estimate: Estimate, sequence: Sequence, path: Path, count: int = 6) -> None:
    """A sheet with one row a frame: picture, true disparity, the model's, and where it is off (white: 25 % or more)."""
    rows = []
    for i in np.linspace(0, len(sequence.rgb) - 1, count).round().astype(int):
        picture, truth = sequence.picture(i), sequence.depth(i)
        found = estimate(picture)
        disparity = resized(found["depth"], truth.shape)
        limits = limits_of(truth)
        scale, shift = metrics.align_least_squares_disparity(disparity, truth, limits)
        known = truth > 0
        true_disparity = np.where(known, 1 / np.maximum(truth, 1e-3), 0)
        top = float(np.percentile(true_disparity[known], 99))
        error = np.abs(metrics.to_depth(disparity, scale, shift, limits) / np.maximum(truth, 1e-3) - 1) * 4
        cells = [cv2.resize(picture, truth.shape[::-1], interpolation=cv2.INTER_AREA),
                 *(apply_colormap(np.clip(m / top, 0, 1).astype(np.float32), "spectral")
                   for m in (true_disparity, scale * disparity + shift)),
                 apply_colormap(np.clip(np.where(known, error, 0), 0, 1).astype(np.float32), "gray")]  # fmt: skip
        if "normal" in found:
            cells.append(np.round(encode_normal(resized(found["normal"], truth.shape)) * 255).astype(np.uint8))
        rows.append(np.hstack(cells))
    sheet = np.vstack(rows)
    scale = min(1.0, 1800 / sheet.shape[1])
    cv2.imwrite(str(path), cv2.resize(sheet, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:, :, ::-1])


def table(rows: list[tuple[str, str, dict[str, float]]]) -> str:
    lines = [
        f"{'sequence':18}{'model':18}{'AbsRel':>8}{'delta1':>8}{'delta2':>8}{'delta3':>8}{'edge F1':>9}"
        f"{'normal':>8}{'in 11':>8}"
    ]
    for sequence, model, score in rows:
        cells = [score[k] for k in ("absrel", "delta1", "delta2", "delta3")]
        line = f"{sequence:18}{model:18}" + "".join(f"{cell:8.4f}" for cell in cells)
        rest = (("boundary_f1", "9.4f"), ("normal_mean", "8.2f"), ("normal_within_11.25", "8.3f"))
        line += "".join(f"{score[k]:{w}}" if k in score else f"{'-':>{w.split('.')[0]}}" for k, w in rest)
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", nargs="+", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--maps", default="depth,normal", help="of the model")
    parser.add_argument("--sharpen", action="store_true")
    parser.add_argument("--weights")
    parser.add_argument("--res", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--peer", help="folder of a transformers depth-estimation model")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    models = _models(options)
    drawn = f"{options.model}, sharpened" if options.sharpen else options.model
    rows, over = [], {}
    for folder in options.sequences:
        sequence = load(folder, options.every)
        scores = {name: measure(estimate, sequence) for name, estimate in models.items()}
        rows += [(sequence.name, name, score) for name, score in scores.items()]
        over[sequence.name] = _over(scores, options.model)
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            draw(models[drawn], sequence, options.pictures / f"{sequence.name}.png")
    print(table(rows))
    for name, ratios in over.items():
        for what, ratio in ratios.items():
            print(f"{name}: {what} {ratio:.3f}")
    report = [{"sequence": s, "model": m} | score for s, m, score in rows]
    print(json.dumps({"benchmark": "accuracy", "scores": report, "over": over}))


def _models(options: argparse.Namespace) -> dict[str, Estimate]:
    kinds = tuple(options.maps.split(","))
    models = {}
    for sharpen in (False, True) if options.sharpen else (False,):
        more = ModelOptions(kinds, options.weights, options.res, options.device, sharpen=sharpen)
        models[options.model + (", sharpened" if sharpen else "")] = ours(options.model, more)
    if options.peer:
        models["peer"] = transformers_model(options.peer)
    return models


def _over(scores: dict[str, dict[str, float]], model: str) -> dict[str, float]:
    """The model's AbsRel over the peer's, and what the sharpener changes."""
    plain, found = scores[model], {}
    if "peer" in scores:
        found["AbsRel over the peer's"] = plain["absrel"] / scores["peer"]["absrel"]
    if sharp := scores.get(f"{model}, sharpened"):
        found["AbsRel, sharpened over not"] = sharp["absrel"] / plain["absrel"]
        if plain.get("boundary_f1"):
            found["boundary F1, sharpened over not"] = sharp["boundary_f1"] / plain["boundary_f1"]
    return found


if __name__ == "__main__":
    main()
