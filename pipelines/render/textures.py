"""The texture library: pictures of power-of-two size with their mip levels, packed for the ray caster."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from . import layout, patterns

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(eq=False)
class TextureLibrary:
    """Pictures that materials name by index. `by_kind` lists the indices of each kind: "noise", "wood", ..., "photo"."""

    pictures: list[np.ndarray] = field(default_factory=list)
    by_kind: dict[str, list[int]] = field(default_factory=dict)

    def add(self, rgb: np.ndarray, kind: str) -> int:
        """Takes uint8 [h,w,3] sRGB, resized to powers of two (at most 1024); returns its index."""
        h, w = (min(1 << max(round(np.log2(n)), 0), 1024) for n in rgb.shape[:2])
        if rgb.shape[:2] != (h, w):
            rgb = cv2.resize(rgb, (w, h), interpolation=cv2.INTER_AREA)
        self.pictures.append(np.ascontiguousarray(rgb))
        self.by_kind.setdefault(kind, []).append(len(self.pictures) - 1)
        return len(self.pictures) - 1

    def pick(self, rng: np.random.Generator, *kinds: str) -> int:
        """A random texture of one of the kinds (of any kind when none is named), or -1 where there is none."""
        names = [k for k in (kinds or tuple(self.by_kind)) if self.by_kind.get(k)]
        return int(rng.choice(self.by_kind[names[rng.integers(len(names))]])) if names else -1

    def pack(self) -> tuple[np.ndarray, np.ndarray]:
        """(TEXTURE records as bytes, texels uint8 [n,4])."""
        table = np.zeros(max(len(self.pictures), 1), layout.TEXTURE)
        texels, used = [], 0
        for row, picture in zip(table, self.pictures, strict=False):
            levels = list(_mips(picture))
            row["offset"], row["levels"] = used, len(levels)
            row["height"], row["width"] = picture.shape[:2]
            for level in levels:
                texels.append(np.dstack([level, np.full(level.shape[:2], 255, np.uint8)]).reshape(-1, 4))
                used += len(texels[-1])
        return table.view(np.uint8), np.concatenate(texels) if texels else np.zeros((1, 4), np.uint8)


def _mips(picture: np.ndarray) -> Iterator[np.ndarray]:
    while True:
        yield picture
        h, w = picture.shape[:2]
        if h == w == 1:
            return
        picture = cv2.resize(picture, (max(w // 2, 1), max(h // 2, 1)), interpolation=cv2.INTER_AREA)


def library(seed: int = 0, each: int = 6, photos: list[Path] | None = None, most_photos: int = 400) -> TextureLibrary:
    """Procedural textures, `each` of every kind of patterns.KINDS, and photographs.

    Args:
        photos: folders or tar files of pictures. most_photos: how many are taken, spread evenly over the sorted names.
    """
    out = TextureLibrary()
    for number, (kind, make) in enumerate(patterns.KINDS.items()):
        for k in range(each):
            out.add(make(np.random.default_rng([seed, number, k])), kind)
    names = sorted({p for source in photos or [] for p in _names(source)})
    chosen = set(names[:: max(len(names) // most_photos, 1)][:most_photos])
    for source in photos or []:
        for picture in _pictures(source, chosen):
            out.add(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), "photo")
    return out


def _names(source: Path) -> list[str]:
    if source.is_dir():
        return [str(p) for p in source.rglob("*") if p.suffix.lower() in SUFFIXES]
    with tarfile.open(source) as tar:
        return [m.name for m in tar if m.isfile() and Path(m.name).suffix.lower() in SUFFIXES]


def _pictures(source: Path, chosen: set[str]) -> Iterator[np.ndarray]:
    if source.is_dir():
        blobs = (Path(n).read_bytes() for n in sorted(_names(source)) if n in chosen)
        yield from map(_decoded, blobs)
        return
    with tarfile.open(source) as tar:
        for member in tar:
            if member.name in chosen and (file := tar.extractfile(member)):
                yield _decoded(file.read())


def _decoded(blob: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a picture of the photo source cannot be decoded")
    return np.ascontiguousarray(picture[:, :, ::-1])
