"""The fold against what is known exactly: jitter that was put in, a dolly, a loop, and cuts in films that were spliced."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from lotus2_video.config import FoldConfig
from lotus2_video.fold.smooth import Smooth
from lotus2_video.frames import Flow, Maps
from lotus2_video.ops.align import fit_affine
from lotus2_video.ops.cuts import NoCuts, SeenCuts
from lotus2_video.ops.flow import dense_flow

TOP = 0.85  # of the range, where the nearest point of an exact map is put
SCALE, SHIFT = 0.08, 0.04  # the jitter that is put in: a factor within 1 +- SCALE, and +- SHIFT of the range
FAR_ENOUGH = 4  # every so many pixels are compared
SHOT, LATE = 30, 8  # frames of a shot of the spliced film, and by how many a cut may be seen late


def fold(maps: np.ndarray, rgb: list[np.ndarray], flows: list[Flow], config: FoldConfig) -> np.ndarray:
    """maps [T,h,w] through a new fold."""
    steady = Smooth(config, NoCuts())
    given = [m for p, d, f in zip(rgb, maps, [None, *flows], strict=True) for m in steady.step(p, Maps(d), f)]
    return np.stack([m.depth for m in [*given, *steady.flush()] if m.depth is not None])


def exact_maps(folder: Path, count: int, size: tuple[int, int]) -> np.ndarray | None:
    """Exact disparity of a rendered clip as a perfect network would give it, float32 [T,h,w], near things at TOP."""
    file = folder / "disparity.npz"
    if not file.exists():
        return None
    exact = np.load(file)["disparity"][:count]
    exact = np.stack([cv2.resize(d, size[::-1], interpolation=cv2.INTER_NEAREST) for d in exact])
    return np.clip(TOP * exact / np.quantile(exact, 0.998), 0, 1).astype(np.float32)


def jitter(exact: np.ndarray, rgb: list[np.ndarray], flows: list[Flow], config: FoldConfig) -> dict[str, float]:
    """What is left of a scale and shift of its own in each frame.

    jitter_left: of its change between frames, against the same film without it. jitter_error: of its error against the exact
    maps, with one scale and shift for the clip.
    """
    drawn = np.random.default_rng(3)
    scale, shift = drawn.uniform(1 - SCALE, 1 + SCALE, len(exact)), drawn.uniform(-SHIFT, SHIFT, len(exact))
    put_in = np.clip(scale[:, None, None] * exact + shift[:, None, None], 0, 1).astype(np.float32)
    clean, given = fold(exact, rgb, flows, config), fold(put_in, rgb, flows, config)
    left = np.abs(np.diff(given - clean, axis=0)).mean() / config.start_scale
    return {
        "jitter_left": float(left / np.abs(np.diff(put_in - exact, axis=0)).mean()),
        "jitter_error": _error(given, exact) / _error(put_in, exact),
    }


def _error(maps: np.ndarray, exact: np.ndarray) -> float:
    x, y = (part[:, ::FAR_ENOUGH, ::FAR_ENOUGH].ravel() for part in (maps, exact))
    scale, shift = fit_affine(x, y, np.ones_like(x))
    return float(np.sqrt(np.mean((scale * x + shift - y) ** 2)))


def followed(exact: np.ndarray, rgb: list[np.ndarray], flows: list[Flow], config: FoldConfig) -> dict[str, float]:
    """How far what is given out leaves the exact maps over the clip: the worst frame's factor less 1, and true growth."""
    given = fold(exact, rgb, flows, config)
    near = np.maximum(exact, 1e-3)
    factor = np.array([np.median((g / n)[::FAR_ENOUGH, ::FAR_ENOUGH]) for g, n in zip(given, near, strict=True)])
    growth = np.median(exact[-1]) / max(float(np.median(exact[0])), 1e-3)
    return {"left_truth": float(np.abs(factor / factor[0] - 1).max()), "growth": float(growth)}


def loop(maps: np.ndarray, rgb: list[np.ndarray], flows: list[Flow], config: FoldConfig, frames: int) -> float:
    """Drift of the scale, as a factor less 1, over `frames` frames there and back through a clip: the worst return to its
    first view against the first return, by least squares on that view."""
    back = [dense_flow(after, before) for before, after in pairwise(rgb)]
    there = [*range(1, len(rgb)), *range(len(rgb) - 2, -1, -1)]
    steady, at, returns = Smooth(config, NoCuts()), 0, []
    given = len(steady.step(rgb[0], Maps(maps[0]), None))
    for t in there * max(2, round(frames / len(there))):
        flow = flows[t - 1] if t > at else back[t]
        for each in steady.step(rgb[t], Maps(maps[t]), flow):
            if given and given % len(there) == 0 and each.depth is not None:
                returns.append(each.depth[::FAR_ENOUGH, ::FAR_ENOUGH].astype(np.float64))
            given += 1
        at = t
    ones = np.ones_like(returns[0])
    factors = [fit_affine(returns[0], view, ones)[0] for view in returns]
    return float(np.abs(np.array(factors) - 1).max())


def cuts(films: list[list[np.ndarray]]) -> dict[str, float]:
    """F1 of the cuts seen in one film spliced from shots of `films`, with flashes, fades and fast pans between them."""
    shots = [shot for start in (0, SHOT) for film in films if len(shot := film[start : start + SHOT]) == SHOT]
    spliced, true = [], []
    for number, shot in enumerate(shots):
        shot = [cv2.resize(p, (448, 256), interpolation=cv2.INTER_AREA) for p in shot]
        spliced += [_disturbed, _panned, _faded, list][number % 4](shot)
        true.append(SHOT * number)
    judge, before, found = SeenCuts(), None, []
    for t, picture in enumerate(spliced):
        if judge.step(picture, None if before is None else dense_flow(before, picture)):
            found.append(t)
        before = picture
    true = true[1:]
    hits = sum(any(0 <= seen - at <= LATE for seen in found) for at in true)
    wrong = sum(not any(0 <= seen - at <= LATE for at in true) for seen in found)
    return {
        "cuts_f1": 2 * hits / max(hits + len(true) - hits + hits + wrong, 1),
        "cuts": len(true),
        "cuts_wrong": wrong,
    }


def _disturbed(shot: list[np.ndarray]) -> list[np.ndarray]:
    """With a flash of two frames, and one of a single white frame."""
    lit = [np.clip(p.astype(np.float32) * 4 + 60, 0, 255).astype(np.uint8) for p in shot[10:12]]
    return [*shot[:10], *lit, *shot[12:20], np.full_like(shot[0], 255), *shot[21:]]


def _panned(shot: list[np.ndarray]) -> list[np.ndarray]:
    """With a fast pan in the middle: most of a fifth of the width in five frames."""
    height, width = shot[0].shape[:2]
    wide = [cv2.resize(p, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR) for p in shot]
    left = [int(np.clip(t - 12, 0, 5) * width / 6) for t in range(len(shot))]
    return [
        np.ascontiguousarray(p[height // 2 : -(height // 2), x : x + width]) for p, x in zip(wide, left, strict=True)
    ]


def _faded(shot: list[np.ndarray]) -> list[np.ndarray]:
    """With a dip to black in the middle, and a fade to black at the end."""
    t = np.arange(len(shot))
    light = np.minimum(np.clip(np.abs(t - 12) / 5, 0, 1), np.clip((len(shot) - 1 - t) / 5, 0, 1))
    return [(p * share).astype(np.uint8) for p, share in zip(shot, light, strict=True)]
