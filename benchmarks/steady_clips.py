"""Renders the clips that benchmarks/temporal.py measures steadiness on, with exact depth, poses and flow.

    python benchmarks/steady_clips.py OUT [--frames 60] [--size 288x512] [--others N]

Scenes that no training run has seen (their seeds are far from those of train_mini.py): two rooms, thin things, a street, a
table from close by, and a dolly, which walks straight on until what is in the middle of the picture is twice as near.
A clip in which something runs into the camera makes way for that of the next seed: within a few centimetres of a lens one scale
and shift say nothing of the rest. --others N renders other such scenes, for whatever was tuned on the usual ones: N is
added to every seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines"))
from render import Assets, Quality, Rendered, Renderer, cameras, load_assets, render_clips, tone
from render.batches import Prepared, finish
from render.kinds import KINDS
from render.looks import Looks
from render.media import write_sequence
from render.pack import View, pack
from render.scene import Camera, Scene, look_at

CLIPS = (("room", 7001), ("thin", 7002), ("street", 7003), ("room", 7004), ("tabletop", 7005))
DOLLY, DOLLY_FRAMES = 8100, 100
QUALITY, RATE = Quality(samples=2, ambient=1), 30
LEAST_AHEAD, LEAST_NEAR = 2.5, 0.45  # metres: what is in the middle at the start, and anything at the end
TRIES = 60
LEAST_CLIP = 0.25  # metres: anything in a clip


def dolly_cameras(rng: np.random.Generator, scene: Scene, size: tuple[int, int], frames: int) -> list[Camera] | None:
    """Straight ahead, so that the disparity of the middle rises evenly to its double; None where there is no room for it."""
    for _ in range(TRIES):
        start, k = cameras.random_pose(rng, scene), cameras.field_of_view(rng, scene, size)
        ahead = (start.target - start.eye) / np.linalg.norm(start.target - start.eye)
        far = float(np.median(_depths(scene, Camera(k, look_at(start.eye, start.target)), size)[6:12, 12:20]))
        if not LEAST_AHEAD < far < np.inf:
            continue
        gone = far - 1 / np.linspace(1 / far, 2 / far, frames)
        path = [Camera(k, look_at(start.eye + g * ahead, start.eye + (g + 1) * ahead)) for g in gone]
        checked = [path[i] for i in (0, frames // 3, 2 * frames // 3, frames - 1)]
        clear = min(_depths(scene, camera, size).min() for camera in checked) > LEAST_NEAR
        if clear and min(cameras.probe(scene, checked, size, [0.0] * 4)) > -0.3:
            return path
    return None


def _depths(scene: Scene, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """What it sees, coarsely, metres."""
    height, width = cameras.PROBE
    small = Camera(np.diag([width / size[1], height / size[0], 1]) @ camera.K, camera.pose)
    return cameras._prober().cast(scene, [View(small)], cameras.PROBE, ("depth",))["depth"][0]


def dolly(assets: Assets, size: tuple[int, int], frames: int, first_seed: int) -> Prepared:
    for seed in range(first_seed, first_seed + 100):
        rng = np.random.default_rng(seed)
        scene = KINDS["room"][0](Looks(rng, assets.textures, 0.08, assets.objects, assets.scenes))
        if path := dolly_cameras(rng, scene, size, frames):
            break
    else:
        raise RuntimeError("no room is large enough for the dolly")
    seeds, last = rng.integers(0, 2**31, frames), frames - 1
    views = [View(c, 0.0, int(s), i - 1 if i else None, i + 1 if i < last else None) for i, (c, s) in
             enumerate(zip(path, seeds, strict=True))]  # fmt: skip
    k, pose = (np.stack([getattr(c, name) for c in path]).astype(np.float32) for name in ("K", "pose"))
    light = [tone.random_development(rng)] * frames
    return Prepared(pack(scene, views), light, k, pose, "room", np.arange(frames) / RATE)


def clear_clip(kind: str, first_seed: int, frames: int, size: tuple[int, int], assets: Assets) -> tuple[int, Rendered]:
    """The first clip from `first_seed` on, and its seed, in which nothing comes too near."""
    more = {"rate": float(RATE), "kinds": {kind: 1.0}, "assets": assets, "quality": QUALITY}
    for seed in range(first_seed, first_seed + 10):
        (clip,) = render_clips(seed, 1, frames, size, **more)
        if float(clip.disparity.max()) < 1 / LEAST_CLIP:
            return seed, clip
    raise RuntimeError(f"something comes too near in every {kind}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", default="288x512", help="HEIGHTxWIDTH")
    parser.add_argument("--others", type=int, default=0, metavar="N", help="other scenes: added to every seed")
    options = parser.parse_args()
    height, width = (int(side) for side in options.size.split("x"))
    assets, size = load_assets(), (height, width)
    for kind, usual in CLIPS:
        seed, clip = clear_clip(kind, usual + options.others, options.frames, size, assets)
        write_sequence(options.out / f"{kind}_{seed}", clip, RATE)
        print(options.out / f"{kind}_{seed}", flush=True)
    frames = min(options.frames, DOLLY_FRAMES) if options.frames < 60 else DOLLY_FRAMES
    prepared = dolly(assets, size, frames, DOLLY + options.others)
    write_sequence(options.out / "dolly", finish(Renderer(assets.textures, "cpu"), prepared, size, True, QUALITY), RATE)
    print(options.out / "dolly")


if __name__ == "__main__":
    main()
