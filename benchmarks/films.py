"""Films through the network and the fold, for temporal.py: pictures, flows, and each kind of maps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from sequences import Sequence, load

from lotus2_video import open_source
from lotus2_video.config import FoldConfig
from lotus2_video.fold.keyframes import CarriedDetail, KeyframePlan
from lotus2_video.fold.smooth import Smooth
from lotus2_video.frames import Flow, Maps
from lotus2_video.models import Predictor
from lotus2_video.ops.flow import dense_flow
from lotus2_video.ops.resample import shrink

WIDEST = 640  # pixels that pictures are reduced to before anything is measured
T = TypeVar("T")


@dataclass
class Clip:
    """A film with all its maps: rgb uint8 [T,H,W,3] at the size measured, small and flows at the network's, maps [T,h,w].

    seconds: what the network, the flow and the fold took; no "network" where its output was kept from an earlier run.
    """

    name: str
    rgb: list[np.ndarray]
    truth: Sequence | None
    small: list[np.ndarray] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    maps: dict[str, list[np.ndarray]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, what: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start
        return result

    @property
    def cost(self) -> float | None:
        """Of flow and fold, as a share of the network's time; None where that was not measured."""
        spent = self.seconds
        return (spent["flow"] + spent["fold"]) / spent["network"] if "network" in spent else None


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


def run(path: Path, predictor: Predictor, config: FoldConfig, sharpen: int, most: int, keep: Path | None) -> Clip:
    """The film through the network and the fold. sharpen: every how many frames, 0 for never. keep: where the network's
    output is kept for later runs, or found."""
    clip = Clip(path.stem, list(pictures(path, most)), load(path) if path.is_dir() else None)
    seen = [shrink(p, predictor.input_size(*p.shape[:2])) for p in clip.rgb]
    plain = _kept(clip, seen, predictor, False, keep)
    clip.small = [shrink(p, plain[0].shape) for p in seen]
    clip.flows = clip.timed(
        "flow", lambda: [dense_flow(*pair) for pair in zip(clip.small, clip.small[1:], strict=False)]
    )
    fold, scales = Smooth(config), []
    given: list[Maps] = []
    for rgb, depth, flow in zip(clip.small, plain, [None, *clip.flows], strict=True):
        given += clip.timed("fold", lambda p=rgb, d=depth, f=flow: fold.step(p, Maps(d), f))
        scales.append(fold.scale)
    given += clip.timed("fold", fold.flush)
    steady = [maps.depth for maps in given if maps.depth is not None]
    clip.maps = {"per frame": plain, "smoothed": steady}
    if sharpen:
        sharp = _kept(clip, seen, predictor, True, keep)
        clip.maps |= {"sharpened": sharp, "carried": _carried(clip, plain, sharp, steady, scales, sharpen)}
    return clip


def _carried(
    clip: Clip,
    plain: list[np.ndarray],
    sharp: list[np.ndarray],
    steady: list[np.ndarray],
    scales: list[float],
    every: int,
) -> list[np.ndarray]:
    plan, carried, made = KeyframePlan(every), CarriedDetail(), []
    for t, (rgb, flow) in enumerate(zip(clip.small, [None, *clip.flows], strict=True)):
        key = (Maps(plain[t]), Maps(sharp[t]), scales[t]) if plan.step(rgb, flow) else None
        made.append(carried.step(rgb, Maps(steady[t]), flow, key).depth)
    return made


def _kept(
    clip: Clip, seen: list[np.ndarray], predictor: Predictor, sharpen: bool, keep: Path | None
) -> list[np.ndarray]:
    """The network's disparity of each frame: from `keep`, by the very pixels and network, or made now and put there."""
    if keep is None:
        return _estimated(clip, seen, predictor, sharpen)
    digest = hashlib.sha256(f"{predictor.fingerprint} {sharpen}".encode())
    for picture in seen:
        digest.update(picture.tobytes())
    file = keep / f"{clip.name}-{digest.hexdigest()[:16]}.npy"
    if file.exists():
        return list(np.load(file))
    made = _estimated(clip, seen, predictor, sharpen)
    keep.mkdir(parents=True, exist_ok=True)
    np.save(file, np.stack(made))
    return made


def _estimated(clip: Clip, seen: list[np.ndarray], predictor: Predictor, sharpen: bool) -> list[np.ndarray]:
    what = "sharpener" if sharpen else "network"
    found = [clip.timed(what, lambda p=p: predictor.predict(p[None], sharpen=sharpen)[0].depth) for p in seen]
    return [depth for depth in found if depth is not None]
