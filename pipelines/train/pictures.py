"""The pictures to learn from, decoded."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

HOLD_OUT = 50  # every so manieth picture is kept for checking


@dataclass(frozen=True, eq=False)
class Picture:
    """group: "photos", "rgbd" or "frames". source: the collection it is of. rgb: uint8 [H,W,3]. held_out: never trained on."""

    group: str
    source: str
    rgb: np.ndarray
    held_out: bool = False


def read_pictures(data: Path, limit: int | None = None, threads: int = 14) -> list[Picture]:
    """Every picture of `data`; at most `limit` of each tar or folder. Neighbouring video frames are too alike to check by:
    none is held out."""
    found: list[tuple[str, str, bytes]] = []
    for group in ("photos", "rgbd"):
        for tar in sorted((data / group).glob("*.tar")):
            found += [(group, *item) for item in _first(_members(tar), limit)]
    frames = (("frames", path.read_bytes()) for path in sorted((data / "frames").glob("*.jpg")))
    found += [("frames", *item) for item in _first(frames, limit)]
    with ThreadPoolExecutor(threads) as pool:
        decoded = list(pool.map(lambda item: _decode(item[2]), found))
    return [
        Picture(group, source, rgb, group != "frames" and i % HOLD_OUT == HOLD_OUT - 1)
        for i, ((group, source, _), rgb) in enumerate(zip(found, decoded, strict=True))
    ]


def count(pictures: list[Picture]) -> str:
    return ", ".join(f"{n} {group}" for group, n in Counter(p.group for p in pictures).items())


def _members(tar: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (file := archive.extractfile(member)):
                source = tar.stem if "photos" not in tar.stem else re.split(r"[_/]", Path(member.name).name)[0]
                yield source, file.read()


def _first(items: Iterator[tuple[str, bytes]], limit: int | None) -> Iterator[tuple[str, bytes]]:
    for i, item in enumerate(items):
        if limit is not None and i >= limit:
            return
        yield item


def _decode(blob: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError("a picture of the training data cannot be decoded")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
