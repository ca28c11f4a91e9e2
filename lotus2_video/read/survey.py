"""Counting the frames of a video and telling constant from variable rate, by its packets wherever they tell."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from ..frames import StreamInfo
from .reel import Reel
from .video import VideoSource

_REORDER = 64  # packets that a picture may lie ahead of its place in time; H.264 and HEVC allow 16
_RATE_DOUBT = Fraction(1, 20)  # a stated rate this far off is wrong, as that of some DV and AVI files


class Steps:
    """How many pictures there are and how far apart, from their times in ticks, in decoding order. Bounded memory."""

    def __init__(self, times: Iterable[int]):
        self.count = 0
        self.shortest = self.longest = self.span = 0
        last = None
        for pts in _sorted(times):
            if last is not None:
                step = pts - last
                self.shortest = step if self.count == 1 else min(self.shortest, step)
                self.longest = max(self.longest, step)
                self.span += step
            last, self.count = pts, self.count + 1

    @property
    def constant(self) -> bool | None:
        """Whether all steps are equal, up to the rounding of the file's ticks. None for less than two pictures."""
        if self.count < 2:
            return None
        return self.longest == self.shortest or (self.longest - self.shortest == 1 and self.shortest >= 3)


def _sorted(times: Iterable[int]) -> Iterator[int]:
    waiting: list[int] = []
    for pts in times:
        heapq.heappush(waiting, pts)
        if len(waiting) > _REORDER:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)


def probe_video(path: str) -> StreamInfo:
    """The description of a video, read through to its end. Raises InputError as `open_source` does.

    Packets are not pictures where two fields or an invisible frame have packets of their own, and a pipe cannot be read
    twice: there the pictures are decoded.
    """
    with VideoSource(path) as source:
        info = source.info
        if info.interlaced or info.codec == "vp8" or not Path(path).is_file():
            return _measured(info, Steps(source.times()))
    reel = Reel(path)
    try:
        return _measured(info, Steps(_packet_times(reel)))
    finally:
        reel.close()


def _packet_times(reel: Reel) -> Iterator[int]:
    reel.tap.ignore()
    for number, packet in enumerate(reel.packets()):
        time = number if reel.untimed else packet.dts if reel.is_avi else packet.pts
        if time is not None and not packet.is_discard:
            yield time


def _measured(info: StreamInfo, steps: Steps) -> StreamInfo:
    rate, duration = info.rate, info.duration
    if steps.span:
        measured = (steps.count - 1) / (steps.span * info.time_base)
        if not steps.constant or not rate or abs(measured / rate - 1) > _RATE_DOUBT:
            rate = measured
    if duration is None and rate:
        duration = steps.span * info.time_base + 1 / rate
    return replace(info, frames=steps.count, constant_rate=steps.constant, rate=rate, duration=duration)
