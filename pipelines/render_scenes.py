"""Renders pictures and clips with exact geometry: the demo clip, contact sheets, sequences in the evaluation layout.

python pipelines/render_scenes.py demo  --out examples
python pipelines/render_scenes.py sheet --out sheet.png --kinds room,street [--clips]
python pipelines/render_scenes.py stills --out DIR --count 100 --kinds thin
python pipelines/render_scenes.py clips --out DIR --count 4 --frames 48 --size 240x424
python pipelines/render_scenes.py bench --device cuda
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from render import Assets, Quality, Rendered, load_assets, render_batches, render_clips
from render.demo import render_demo
from render.kinds import KINDS
from render.media import panel, write_frames, write_sequence, write_sheet


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = root.add_subparsers(dest="verb", required=True)
    demo = verbs.add_parser("demo", help="remake the demo clip and its exact depth")
    demo.add_argument("--out", type=Path, default=Path("examples"))
    demo.add_argument("--device", default="cpu")
    for name, about in (
        ("sheet", "a contact sheet: picture, normals, disparity, flow"),
        ("stills", "stills as one folder of rgb, depth, normal"),
        ("clips", "clips as folders of rgb, depth, normal, K, poses, flow"),
        ("bench", "frames a second, as one JSON line"),
    ):
        verb = verbs.add_parser(name, help=about)
        verb.add_argument("--out", type=Path, default=Path("rendered"))
        verb.add_argument("--count", type=int, default=12, help="stills or clips")
        verb.add_argument("--clips", action="store_true", help="clips instead of stills")
        verb.add_argument("--frames", type=int, default=8, help="in a clip")
        verb.add_argument("--rate", type=int, default=24, help="frames a second of clips")
        verb.add_argument("--size", default="224x384", help="HEIGHTxWIDTH")
        verb.add_argument("--seed", type=int, default=0)
        verb.add_argument("--kinds", help=f"comma-separated: {','.join(KINDS)}")
        verb.add_argument("--photos", type=Path, nargs="*", default=[], help="folders or tars of pictures for textures")
        verb.add_argument("--meshes", type=Path, help="a folder of GLB files; scene_*.glb are whole scenes")
        verb.add_argument("--samples", type=int, default=4)
        verb.add_argument("--ambient", type=int, default=1)
        verb.add_argument("--views", type=int, default=1, help="stills from each scene")
        verb.add_argument("--workers", type=int, default=0)
        verb.add_argument("--device", default="cpu")
    return root


def options(args: argparse.Namespace, assets: Assets) -> dict:
    height, width = (int(n) for n in args.size.split("x"))
    return {
        "size": (height, width),
        "device": args.device,
        "kinds": dict.fromkeys(args.kinds.split(","), 1.0) if args.kinds else None,
        "assets": assets,
        "quality": Quality(args.samples, args.ambient),
        "workers": args.workers,
    }


def sheet(args: argparse.Namespace, assets: Assets) -> None:
    panels: list = []
    if args.clips:
        for clip in render_clips(args.seed, args.count, args.frames, rate=args.rate, **options(args, assets)):
            panels += [panel(clip, k) for k in (0, len(clip) // 2)]
    else:
        more = options(args, assets)
        for batch in render_batches(args.seed, args.count, batch=args.views, frames_per_scene=args.views, **more):
            panels += [panel(batch, k) for k in range(len(batch))]
    write_sheet(args.out, panels)


def clips(args: argparse.Namespace, assets: Assets) -> None:
    made = render_clips(args.seed, args.count, args.frames, rate=args.rate, **options(args, assets))
    for number, clip in enumerate(made):
        folder = args.out / f"{clip.kinds[0]}_{args.seed}_{number:04d}"
        write_sequence(folder, clip, args.rate)
        print(folder)


def stills(args: argparse.Namespace, assets: Assets) -> None:
    more = options(args, assets)
    made = render_batches(args.seed, args.count, batch=args.views, frames_per_scene=args.views, **more)
    for number, batch in enumerate(made):
        write_frames(args.out, batch, number * args.views)
    print(args.out)


def bench(args: argparse.Namespace, assets: Assets) -> None:
    more = options(args, assets)
    if args.clips:
        made = render_clips(args.seed, args.count + 1, args.frames, rate=args.rate, **more)
    else:
        views = args.views
        made = render_batches(args.seed, (args.count + 1) * views, batch=views, frames_per_scene=views, **more)
    settle(next(made))  # compiling and starting workers is not counted
    start, frames = time.perf_counter(), 0
    for part in made:
        settle(part)
        frames += len(part)
    spent = time.perf_counter() - start
    print(json.dumps({"frames": frames, "seconds": round(spent, 2), "frames_per_minute": round(60 * frames / spent)}))


def settle(part: Rendered) -> None:
    """Waits until the frames are really there: a GPU works behind Python's back."""
    float(part.disparity[-1, -1, -1])


def main() -> None:
    args = parser().parse_args()
    if args.verb == "demo":
        args.out.mkdir(parents=True, exist_ok=True)
        for path in render_demo(args.out, args.device):
            print(path, path.stat().st_size)
        return
    assets = load_assets(photos=args.photos, meshes=args.meshes)
    {"sheet": sheet, "stills": stills, "clips": clips, "bench": bench}[args.verb](args, assets)


if __name__ == "__main__":
    main()
