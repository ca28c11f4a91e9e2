"""Exact time: rates and seconds as fractions, and the clock that gives each decoded picture its place in time."""

from __future__ import annotations

import math
from fractions import Fraction

from ..errors import UsageError


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames a second as a fraction; 23.976, 23.98, 29.97, 59.94, ... are the NTSC rates N * 1000/1001.

    Raises UsageError unless finite and above 0.
    """
    if isinstance(fps, Fraction) and fps > 0:
        return fps
    if not math.isfinite(fps) or fps <= 0:
        raise UsageError(f"must be above 0, got {float(fps):g}", "--fps")
    nominal = round(float(fps) * 1.001)
    ntsc = Fraction(nominal * 1000, 1001)
    if float(fps) != round(fps) and abs(float(ntsc) - float(fps)) < 0.005:
        return ntsc
    return Fraction(str(fps)).limit_denominator(100_000)


def first_tick(seconds: float, time_base: Fraction) -> int:
    """The first tick not before `seconds`, which is taken as the decimal that it prints as (1.1 is 11/10)."""
    if not math.isfinite(seconds):
        raise UsageError(f"must be a number of seconds, got {seconds:g}", "--start/--end")
    return math.ceil(Fraction(str(seconds)) / time_base)


class Span:
    """The stretch of time that pictures were read from, in ticks. end: where the last one ends. interval: average step."""

    def __init__(self) -> None:
        self.end = 0
        self.interval = Fraction(1)
        self._first, self._count = 0, 0

    def add(self, pts: int, duration: int) -> None:
        self._first = pts if self._count == 0 else self._first
        self.interval = Fraction(pts - self._first, self._count) if self._count else Fraction(duration)
        self.end = pts + max(duration, round(self.interval))
        self._count += 1


class Clock:
    """Gives every decoded picture its pts, in ticks, always rising.

    The timestamps are those of the source wherever it has usable ones. Presentation times are believed unless they went
    backward more often than decoding times did, the rule of FFmpeg's `best_effort_timestamp` (libavcodec/decode.c). A time
    that overlaps the one before, as where films were joined, becomes the next tick; after a jump back by more than `jump`
    ticks, all that follows is shifted to go on one step after the last.

    step: ticks a picture lasts, for pictures without a time. count: ignore timestamps, pictures are `step` apart.
    """

    def __init__(self, step: int, jump: int, count: bool = False):
        self._step, self._jump, self._count = step, jump, count
        self._last: int | None = None
        self._shift = 0
        self._last_seen: dict[str, int] = {}
        self._faults = {"pts": 0, "dts": 0}
        self.repaired = False

    def tick(self, pts: int | None, dts: int | None) -> int:
        best = None if self._count else self._best(pts, dts)
        if best is None:
            self._last = 0 if self._last is None else self._last + self._step
        else:
            self._last = self._rising(best + self._shift)
        return self._last

    def _rising(self, time: int) -> int:
        if self._last is None or time > self._last:
            return time
        self.repaired = True
        if self._last - time <= self._jump:
            return self._last + 1
        self._shift += self._last + self._step - time
        return self._last + self._step

    def _best(self, pts: int | None, dts: int | None) -> int | None:
        for name, value in (("pts", pts), ("dts", dts)):
            if value is not None:
                self._faults[name] += value <= self._last_seen.get(name, value - 1)
                self._last_seen[name] = value
        if pts is not None and (dts is None or self._faults["pts"] <= self._faults["dts"]):
            return pts
        return dts
