"""Trains the mini: depth and normals distilled from a teacher and from rendered frames, then a sharpener on top.

    python pipelines/train_mini.py DATA --out CK --minutes 12 --sharpen-minutes 5 --save-parts PARTS        # on a GPU
    python pipelines/train_mini.py DATA --out CK --start PARTS --minutes 0 --sharpen-minutes 8 --save-parts PARTS2
    python pipelines/train_mini.py DATA --out CK --start PARTS --minutes 0 --sharpen-minutes 0 --export mini.safetensors
    python pipelines/train_mini.py DATA --out CK --device cpu --limit 4 --steps 3 --sharpen-steps 3 --batch 2 --rendered 2 \\
        --scale 0.25 --stills 24 --later 0 --high 8 --density 0.1 --label-short 56 --workers 0                     # a smoke run

DATA holds `photos/*.tar`, `rgbd/*.tar` (only their pictures are used), `frames/*.jpg` (any video frames) and
`teacher/depth-anything-v2-small`; each may be missing but the teacher.

1. Photographs and frames are cut into views of several shapes; the teacher labels each once. Meanwhile scenes are rendered
   with exact disparity and normals, some with the photographs as textures.
2. The core learns depth and normals in one pass: on photographs the teacher's disparity, on rendered frames the truth, both
   recoloured, blurred, noisy and compressed. AdamW, cosine to zero over the time given, weights averaged; with --keep-start
   also with those it started from.
3. The sharpener learns, the core left as it is, to carry the core's maps of half-size pictures over to the truth's detail.
   Its frames are rendered while the core trains, after more stills for the core.

With CK there already, a run goes on from it, at the place on the schedule that --until of the run before reached.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="checkpoint; a run goes on from it if it is there")
    parser.add_argument(
        "--start", type=Path, help="weights to start from: a packaged file, or a folder of --save-parts"
    )
    parser.add_argument("--export", type=Path, help="write the averaged weights as the package ships them")
    parser.add_argument("--save-parts", type=Path, help="a folder for them in half precision, files below 15 MiB")
    parser.add_argument(
        "--measure",
        type=Path,
        nargs="*",
        default=[],
        help="sequences with depth to look at meanwhile, never to learn from",
    )
    how_long = parser.add_argument_group("how long")
    how_long.add_argument("--minutes", type=float, default=12.0, help="of the core's training")
    how_long.add_argument("--steps", type=int, help="instead of --minutes")
    how_long.add_argument("--sharpen-minutes", type=float, default=5.0)
    how_long.add_argument("--sharpen-steps", type=int)
    how_long.add_argument("--until", type=float, default=1.0, help="how far along its schedule the core goes, 0 to 1")
    how_long.add_argument(
        "--keep-start", type=float, default=0.0, help="share of the core it started from in what is handed on, 0 to 1"
    )
    how_long.add_argument("--report", type=int, default=100, help="steps")
    how_long.add_argument("--check-every", type=float, default=60.0, help="seconds")
    what = parser.add_argument_group("what it learns from")
    what.add_argument("--without", nargs="*", default=[], choices=["photos", "rgbd", "frames", "rendered"])
    what.add_argument(
        "--compare",
        type=int,
        metavar="STEPS",
        help="first train so long from the teacher with all sources, and without each, to see what each brings",
    )
    what.add_argument("--stills", type=int, default=4000, help="rendered frames")
    what.add_argument("--later", type=int, default=6000, help="more of them, rendered while the core trains")
    what.add_argument("--high", type=int, default=3000, help="larger ones for the sharpener")
    what.add_argument("--sharp-photos", type=int, default=1200, help="views of photographs for the sharpener, about")
    what.add_argument("--density", type=float, default=0.45, help="views a picture, over 8 of most")
    what.add_argument("--label-short", type=int, default=420, help="short side at which the teacher labels")
    what.add_argument("--limit", type=int, help="pictures of each tar or folder")
    what.add_argument("--meshes", type=Path, help="a folder of GLB files to render too")
    what.add_argument("--workers", type=int, default=14, help="processes that make scenes")
    step = parser.add_argument_group("a step")
    step.add_argument("--batch", type=int, default=96, help="photographs of 288x512, or as many pixels")
    step.add_argument("--rendered", type=int, default=48, help="rendered ones beside them")
    step.add_argument("--normal-weight", type=float, default=1.0, help="of the loss of normals beside that of depth")
    step.add_argument("--sharpen-batch", type=int, default=24, help="pictures, two crops of each")
    step.add_argument("--sharpen-photos", type=float, default=0.2, help="share of steps on photographs")
    step.add_argument("--crop", type=int, default=384)
    step.add_argument("--scale", type=float, default=1.0, help="of all picture sizes")
    step.add_argument("--consistency", type=float, default=0.1, help="weight of mirrored photographs' normals")
    step.add_argument("--rate", type=float, default=1.0, help="of all learning rates; less for small batches")
    step.add_argument("--trunk-rate", type=float, default=3e-5)
    step.add_argument("--head-rate", type=float, default=1.5e-4, help="of the neck, the edges, the depth head")
    step.add_argument("--new-rate", type=float, default=1e-3, help="of the normal head")
    step.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    from train.program import run  # only here: the processes that make scenes import this file, and need no torch

    run(options)


if __name__ == "__main__":
    main()
