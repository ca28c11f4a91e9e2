"""Still images and sequences of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Self

from ..errors import InputError
from ..frames import Frame, StreamInfo
from . import AudioTap
from .images import read_image
from .sequence import find_images, frame_numbers, gaps
from .timing import exact_rate, first_tick


class StillSource:
    """A `Source` of one image, or of a folder, printf pattern or glob of images: frame i is shown at i / fps seconds.

    `Frame.index` is the number in the file's own name. All images must have the size of the first.
    """

    def __init__(self, path: str, *, fps: float | Fraction = 24, start: float | None = None, end: float | None = None):
        self.warnings: list[str] = []
        self.audio = AudioTap()
        self._path, self._rate = path, exact_rate(fps)
        images = find_images(path)
        single = len(images) == 1 and str(images[0]) == path
        numbers = [0] if single else frame_numbers(images)
        self._range = self._positions(len(images), start, end)
        self._images, self._numbers = images, numbers
        self._first = read_image(images[self._range.start])
        self.info = self._describe(single)
        self._warn_of_gaps()
        self._frames = self._read()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        try:
            self._frames.close()
        except ValueError:  # it is reading in another thread; nothing stays open between images
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _positions(self, count: int, start: float | None, end: float | None) -> range:
        tick = 1 / self._rate
        first = 0 if start is None else max(0, first_tick(start, tick))
        last = count if end is None else min(count, first_tick(end, tick))
        if first >= last:
            hint = f"it runs from 0 to {float(count * tick):.2f} s"
            raise InputError("no frame between --start and --end", self._path, hint)
        return range(first, last)

    def _read(self) -> Generator[Frame]:
        size = self._first.shape
        for position in self._range:
            rgb = self._first if position == self._range.start else read_image(self._images[position])
            if rgb.shape != size:
                what = f"is {rgb.shape[1]}x{rgb.shape[0]}, the frames before are {size[1]}x{size[0]}"
                raise InputError(what, self._images[position], "all frames of a sequence must have one size")
            yield Frame(self._numbers[position], position, 1 / self._rate, rgb)

    def _describe(self, single: bool) -> StreamInfo:
        height, width = self._first.shape[:2]
        count = len(self._images)
        return StreamInfo(
            path=self._path,
            kind="still" if single else "sequence",
            width=width,
            height=height,
            time_base=1 / self._rate,
            frames=count,
            rate=None if single else self._rate,
            constant_rate=None if single else True,
            start=Fraction(0),
            duration=None if single else count / self._rate,
            codec=self._images[0].suffix.lower().removeprefix("."),
        )

    def _warn_of_gaps(self) -> None:
        missing = gaps(self._numbers)
        if missing:
            runs = [str(a) if a == b else f"{a}-{b}" for a, b in missing]
            more = f" and {len(runs) - 5} more gaps" if len(runs) > 5 else ""
            self.warnings.append(
                f"frame numbers are missing: {', '.join(runs[:5])}{more}; the frames there are taken as consecutive"
            )
