"""How right, how sharp and how steady: the published measures, each with its source.

Predictions are disparity (near = large, any affine scale), truth is depth in metres along the optical axis, 0 where there
is none. Prediction and truth have one size; resize the prediction (bilinear) to the truth's before you come here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..frames import Flow
from .align import solve_affine
from .flow import warp
from .geometry import between, project, transform, unproject

Limits = tuple[float, float]
INDOOR: Limits = (1e-3, 10.0)  # metres: the range of NYUv2 and ScanNet in the published evaluations
_LEAST_DISPARITY = 1e-3  # 1/metres: what an aligned disparity is raised to before it is inverted


@dataclass(frozen=True)
class DepthScore:
    """absrel: mean of |predicted - true| / true. delta1 to 3: share of pixels off by less than a factor 1.25, ^2, ^3."""

    absrel: float
    delta1: float
    delta2: float
    delta3: float


@dataclass(frozen=True)
class NormalScore:
    """Angles between predicted and true normals: mean and median in degrees, and the share within each limit in degrees."""

    mean: float
    median: float
    within: dict[float, float]


def align_least_squares_disparity(
    disparity: np.ndarray, depth: np.ndarray, limits: Limits = INDOOR
) -> tuple[float, float]:
    """(scale, shift) of least squares from a predicted disparity to 1/depth, over the pixels with truth.

    disparity, depth: float [h,w] of a frame, or [T,h,w] for one scale and shift for a whole clip. The alignment
    "least_square_disparity" of the published Lotus-2 evaluation (Marigold's): pixels where the prediction is not above 0
    are left out of the fit.
    """
    used = _known(depth, limits) & (disparity > 0)
    x = disparity[used].astype(np.float64)
    return solve_affine(x, 1 / depth[used].astype(np.float64), np.ones_like(x)) if len(x) else (1.0, 0.0)


def to_depth(disparity: np.ndarray, scale: float, shift: float, limits: Limits = INDOOR) -> np.ndarray:
    """The depth float64, metres, that an aligned disparity stands for, clipped to the limits of the data."""
    aligned = scale * disparity.astype(np.float64) + shift
    return np.clip(1 / np.maximum(aligned, _LEAST_DISPARITY), *limits)


def score_frame(disparity: np.ndarray, depth: np.ndarray, limits: Limits = INDOOR) -> DepthScore:
    """One frame, with a scale and shift of its own: the protocol of the published Lotus-2 evaluation.

    disparity, depth: float [h,w].
    """
    return _score(to_depth(disparity, *align_least_squares_disparity(disparity, depth, limits), limits), depth, limits)


def score_frames(disparities: np.ndarray, depths: np.ndarray, limits: Limits = INDOOR) -> DepthScore:
    """The mean of `score_frame` over frames [T,h,w] that have truth."""
    return _mean(
        [score_frame(d, z, limits) for d, z in zip(disparities, depths, strict=True) if _known(z, limits).any()]
    )


def score_clip(disparities: np.ndarray, depths: np.ndarray, limits: Limits = INDOOR) -> DepthScore:
    """A clip with ONE scale and shift for all its frames: what a scale that wanders costs.

    disparities, depths: float [T,h,w]. The protocol of Video Depth Anything (arXiv 2501.12375, benchmark/eval/eval.py):
    mean over the pixels of each frame, then over the frames.
    """
    predicted = align_clip(disparities, depths, limits)
    return _mean([_score(p, z, limits) for p, z in zip(predicted, depths, strict=True) if _known(z, limits).any()])


def align_clip(disparities: np.ndarray, depths: np.ndarray, limits: Limits = INDOOR) -> np.ndarray:
    """Predicted depth float64 [T,h,w], metres, by one least squares in disparity over all known pixels of all frames.

    As Video Depth Anything does it: the prediction is raised to 1e-3 first and no pixel with truth is left out.
    """
    raised = np.maximum(disparities, _LEAST_DISPARITY)
    used = _known(depths, limits)
    x, y = raised[used].astype(np.float64), 1 / (depths[used].astype(np.float64) + 1e-8)
    return to_depth(raised, *solve_affine(x, y, np.ones_like(x)), limits)


def temporal_alignment_error(
    disparities: np.ndarray, depths: np.ndarray, poses: np.ndarray, intrinsics: np.ndarray, limits: Limits = INDOOR
) -> float:
    """TAE, in percent, exactly as Video Depth Anything's benchmark/eval/eval_tae.py has it.

    disparities, depths: float [T,h,w]. poses: float [T,4,4], camera to world, OpenCV axes, metres. intrinsics: float [3,3].
    Each frame's predicted depth (aligned by one scale and shift for the clip) is moved by the true poses into its
    neighbour, both ways, and compared there, relative to the neighbour's own. As there: rounded to the nearest pixel, the
    last point written wins, nothing is masked, and a pair without a common pixel counts 0.
    """
    depth = align_clip(disparities, depths, limits)
    errors = []
    for i in range(len(depth) - 1):
        step = between(poses[i], poses[i + 1])
        errors += [
            _moved_error(depth[i], depth[i + 1], step, intrinsics),
            _moved_error(depth[i + 1], depth[i], np.linalg.inv(step), intrinsics),
        ]
    return 100 * float(np.mean(errors)) if errors else 0.0


def _moved_error(depth: np.ndarray, other: np.ndarray, step: np.ndarray, intrinsics: np.ndarray) -> float:
    height, width = depth.shape
    points = transform(unproject(depth, intrinsics), step).reshape(-1, 3)
    with np.errstate(invalid="ignore"):
        x, y = np.round(np.nan_to_num(project(points, intrinsics), nan=-1, posinf=-1, neginf=-1)).T
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    moved = np.zeros_like(depth)
    moved[y[seen].astype(np.intp), x[seen].astype(np.intp)] = points[seen, 2]
    both = (moved > 0) & (other > 0)
    return float(np.mean(np.abs(other[both] - moved[both]) / other[both])) if both.any() else 0.0


def flow_warping_error(maps: Sequence[np.ndarray], rgb: Sequence[np.ndarray], flows: Sequence[Flow]) -> float:
    """OPW of NVDS (Wang et al., ICCV 2023): how much a map changes along the flow where the picture does not.

    maps: float32 [h,w] each. rgb: uint8 [h,w,3] each. flows: flows[i] leads from frame i+1 to frame i. Returns the mean over
    pairs of the mean over pixels of exp(-50 |colour change|^2) |map change|, in units of the map; pixels whose flow is not
    valid are left out. True change of a point's depth counts as an error too: compare methods, do not read it alone.
    """
    return float(np.mean([_warped_change(maps[i : i + 2], rgb[i : i + 2], flow) for i, flow in enumerate(flows)]))


def _warped_change(maps: Sequence[np.ndarray], rgb: Sequence[np.ndarray], flow: Flow) -> float:
    colours = [picture.astype(np.float32) / 255 for picture in rgb]
    alike = np.exp(-50 * ((colours[1] - warp(colours[0], flow)) ** 2).sum(axis=2))
    change = alike * np.abs(maps[1] - warp(maps[0], flow))
    return float(change[flow.valid].mean()) if flow.valid.any() else 0.0


def temporal_gradient_error(maps: np.ndarray, truth: np.ndarray, still: float = 0.05) -> float:
    """TGM of Video Depth Anything (arXiv 2501.12375, eq. 3): change over time against true change, where nearly still.

    maps, truth: float [T,h,w], aligned, in one unit. still: true change, in that unit, above which a pixel is left out.
    Returns the mean of | |change of map| - |change of truth| |.
    """
    change, true_change = np.abs(np.diff(maps, axis=0)), np.abs(np.diff(truth, axis=0))
    used = true_change < still
    return float(np.abs(change - true_change)[used].mean()) if used.any() else 0.0


def score_normals(
    normal: np.ndarray, truth: np.ndarray, limits: Sequence[float] = (5, 7.5, 11.25, 22.5, 30)
) -> NormalScore:
    """Angular error of unit normals, by the protocol of DSINE (Bae and Davison, CVPR 2024) which Lotus-2 follows.

    normal, truth: float [...,3], of one convention; truth of length 0 where there is none. limits: degrees.
    """
    known = np.linalg.norm(truth, axis=-1) > 0.5
    cosine = np.clip((normal[known] * truth[known]).sum(axis=-1), -1, 1)
    angle = np.degrees(np.arccos(cosine))
    within = {float(limit): float(np.mean(angle < limit)) for limit in limits}
    return NormalScore(float(angle.mean()), float(np.median(angle)), within)


def boundary_f1(
    predicted: np.ndarray, depth: np.ndarray, least: float = 1.05, most: float = 1.25, count: int = 10
) -> float:
    """Scale-invariant boundary F1 of Depth Pro (Bochkovskii et al., arXiv 2410.02073, SI_boundary_F1), 0 to 1.

    predicted, depth: float [h,w], metres, above 0. A boundary is a pair of neighbours whose depths differ by more than a
    factor; precision and recall are means over the four directions, and F1 a mean over `count` factors from `least` to
    `most`, weighted by the factor.
    """
    factors = np.linspace(least, most, count)
    scores = [_f1(_boundaries(predicted, factor), _boundaries(depth, factor)) for factor in factors]
    return float(np.sum(scores * factors) / factors.sum())


def _boundaries(depth: np.ndarray, factor: float) -> list[np.ndarray]:
    across, down = depth[:, 1:] / depth[:, :-1], depth[1:] / depth[:-1]
    return [across > factor, across < 1 / factor, down > factor, down < 1 / factor]


def _f1(found: list[np.ndarray], true: list[np.ndarray]) -> float:
    hits = [np.count_nonzero(f & t) for f, t in zip(found, true, strict=True)]
    precision = np.mean([hit / max(np.count_nonzero(f), 1) for hit, f in zip(hits, found, strict=True)])
    recall = np.mean([hit / max(np.count_nonzero(t), 1) for hit, t in zip(hits, true, strict=True)])
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def lag(values: np.ndarray, at: int, before: float, after: float, share: float = 0.9) -> int | None:
    """Frames after a step until an output has gone `share` of the way and stays there; 0 at once, None never.

    values: float [T], the output. at: the frame at which its input steps from `before` to `after`.
    """
    gone = (np.asarray(values[at:]) - before) / (after - before)
    late = np.flatnonzero(gone < share)
    if not len(late):
        return 0
    return int(late[-1]) + 1 if late[-1] + 1 < len(gone) else None


def scale_drift(disparities: np.ndarray, depths: np.ndarray, limits: Limits = INDOOR) -> np.ndarray:
    """How far the scale has wandered from that of the first frame: log(scale_t / scale_0), float64 [T].

    disparities, depths: float [T,h,w]. scale_t is the least-squares scale of frame t to its true disparity; nan where a
    frame's scale is not above 0.
    """
    scales = np.array(
        [align_least_squares_disparity(d, z, limits)[0] for d, z in zip(disparities, depths, strict=True)]
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.log(np.where(scales > 0, scales, np.nan) / scales[0])


def _known(depth: np.ndarray, limits: Limits) -> np.ndarray:
    return (depth > limits[0]) & (depth < limits[1])


def _score(predicted: np.ndarray, depth: np.ndarray, limits: Limits) -> DepthScore:
    known = _known(depth, limits)
    p, z = predicted[known], depth[known].astype(np.float64)
    factor = np.maximum(p / z, z / p)
    return DepthScore(float(np.mean(np.abs(p - z) / z)), *(float(np.mean(factor < 1.25**k)) for k in (1, 2, 3)))


def _mean(scores: list[DepthScore]) -> DepthScore:
    if not scores:
        raise ValueError("no frame has a pixel with true depth inside the limits")
    return DepthScore(*np.mean([(s.absrel, s.delta1, s.delta2, s.delta3) for s in scores], axis=0).tolist())
