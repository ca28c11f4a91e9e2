"""Which files make a sequence of stills, in which order, and which frame numbers they carry."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..errors import InputError

SUFFIXES = frozenset(
    (
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".tif",
        ".tiff",
        ".webp",
        ".exr",
        ".bmp",
        ".hdr",
        ".pic",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
    )
)
_PRINTF = re.compile(r"%0?\d*d")
_DIGITS = re.compile(r"(\d+)")


def is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def is_pattern(path: str) -> bool:
    """Whether `path` is a printf pattern such as `shot.%04d.png`."""
    return _PRINTF.search(path) is not None


def find_images(path: str) -> list[Path]:
    """The images that `path` (an image, a folder, a printf pattern or a glob) stands for, in natural-number order.

    In a folder, files that are no images and hidden files are passed over. Raises InputError where nothing is left.
    """
    place = Path(path)
    if place.is_file():
        return [place]
    try:
        found = _listed(place, path)
    except OSError as error:
        raise InputError(error.strerror or str(error), path) from error
    images = sorted((p for p in found if is_image(p) and not p.name.startswith(".")), key=_natural)
    if not images:
        what = "no images in this folder" if place.is_dir() else "no image has a name of this pattern"
        raise InputError(what, path, f"known are {', '.join(sorted(s[1:] for s in SUFFIXES))}")
    return images


def _listed(place: Path, path: str) -> list[Path]:
    if place.is_dir():
        return [p for p in place.iterdir() if p.is_file()]
    if not is_pattern(path):
        return [Path(p) for p in glob.glob(path, recursive=True) if Path(p).is_file()]
    fixed = _PRINTF.split(place.name)
    name = re.compile(r"\d+".join(re.escape(part) for part in fixed))
    return [p for p in place.parent.iterdir() if name.fullmatch(p.name) and _printed(place.name, p.name)]


def _printed(pattern: str, name: str) -> bool:
    """Whether `name` is what printf makes of its own number: %04d gives 0007 and 12345, not 007."""
    if len(_PRINTF.findall(pattern)) != 1:
        return True
    before, after = _PRINTF.split(pattern)
    number = name[len(before) : len(name) - len(after)]
    return pattern % int(number) == name if "%%" not in pattern else True


def _natural(path: Path) -> list[tuple[int, int, str]]:
    parts = _DIGITS.split(str(path))
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts]


def frame_numbers(images: Sequence[Path]) -> list[int]:
    """The number each file has in its own name: the last group of digits that rises from file to file, else positions."""
    groups = [[int(digits) for digits in _DIGITS.findall(image.stem)] for image in images]
    width = len(groups[0])
    if any(len(group) != width for group in groups):
        return list(range(len(images)))
    for column in reversed(range(width)):
        numbers = [group[column] for group in groups]
        if all(a < b for a, b in pairwise(numbers)):
            return numbers
    return list(range(len(images)))


def gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """The runs of missing numbers, (first, last) each, in rising `numbers`; the commonest step counts as whole."""
    steps = [b - a for a, b in pairwise(numbers)]
    step = max(set(steps), key=lambda s: (steps.count(s), -s)) if steps else 1
    return [(a + step, b - step) for a, b in pairwise(numbers) if b - a > step]
