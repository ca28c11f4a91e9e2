"""Video files through PyAV: H.264 in mp4 for everybody, FFV1 in Matroska for data, ProRes 4444 for editors.

Times are the source's. mp4 and mov count in the source's own time base, so every pts is exact, also at a variable rate and
with a late start. Matroska counts in milliseconds whatever one does (libav's muxer fixes its TimestampScale, and most time
bases are no whole number of nanoseconds): there each frame is at most half a millisecond off, without drift; the exact
time base is in the tag TIME_BASE, and `round(milliseconds / 1000 / time_base)` gives the source's pts back wherever its
frames are a tick of a millisecond or more apart.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.error import FFmpegError

from ..frames import Result, StreamInfo
from .audio import AudioFeed
from .look import Look
from .pixels import Pixels, ffv1_pixels, h264_pixels, prores_pixels
from .staged import output_error, writing_to

_MOVIE_TIMESCALE_LIMIT = 1_000_000
_WAIT_FOR_AUDIO = 2_000_000  # microseconds of pictures that libav holds back for audio that may still come
_ANY_RATE = Fraction(30)  # where a source has no rate at all; a hint to the encoder, no frame is moved by it


@dataclass(frozen=True)
class Recipe:
    """One kind of video file. The number of threads is fixed, because x264's bits depend on it."""

    container: str
    codec: str
    options: dict[str, str]
    threads: int
    pixels: Callable[[Look, StreamInfo], Pixels]


RECIPES = {
    # ultrafast keeps 720p at 3 ms of a core; the macroblock tree spends its bits on what lasts, so that the dither of still
    # and slowly changing parts survives, at less than half the size that the preset alone would need for it.
    "mp4": Recipe(
        "mp4", "libx264",
        {"preset": "ultrafast", "crf": "12", "x264-params": "mbtree=1:rc-lookahead=10:aq-mode=1:cpu-independent=1"},
        4, h264_pixels,
    ),
    "ffv1": Recipe("matroska", "ffv1", {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}, 4, ffv1_pixels),
    "prores": Recipe("mov", "prores_ks", {"profile": "4444", "vendor": "apl0"}, 4, prores_pixels),
}  # fmt: skip


@contextlib.contextmanager
def encoding_to(path: Path) -> Iterator[None]:
    """Turns libav's errors into OutputError about `path`."""
    try:
        with writing_to(path):
            yield
    except FFmpegError as error:
        raise output_error(error.errno, f"libav: {error.strerror}", path) from error


class VideoWriter:
    """Writes one map as one video file at `path`, a temporary name; `final` is what messages call it."""

    def __init__(
        self,
        path: Path,
        final: Path,
        recipe: Recipe,
        look: Look,
        info: StreamInfo,
        tags: dict[str, str],
        feed: AudioFeed | None = None,
    ):
        self._final = final
        self._pixels = recipe.pixels(look, info)
        self.warnings = self._pixels.warnings
        self._last_pts: Fraction | None = None
        self._step = 1 / (info.rate or _ANY_RATE)
        with encoding_to(final):
            rates = feed.rates if feed else []
            options = _container_options(recipe.container, info.time_base, rates)
            self._container = av.open(str(path), "w", format=recipe.container, container_options=options)
            self._container.metadata.update(
                tags | {"comment": look.picture_meaning, "time_base": _ratio(info.time_base)}
            )
            self._stream = self._open_stream(recipe, look.width(info.width), info)
            if feed:
                feed.connect(self._container)

    def _open_stream(self, recipe: Recipe, width: int, info: StreamInfo) -> av.VideoStream:
        added = self._container.add_stream(recipe.codec, rate=info.rate or _ANY_RATE, options=dict(recipe.options))
        stream = cast(av.VideoStream, added)
        stream.width, stream.height, stream.pix_fmt = width, info.height, self._pixels.name
        stream.time_base = info.time_base
        context = stream.codec_context
        context.time_base = info.time_base
        context.thread_count = recipe.threads
        context.color_range = 2 if self._pixels.full_range else 1
        # The numbers of ITU-T H.273: 0 is RGB, 1 is BT.709, 2 says nothing.
        context.colorspace = context.color_primaries = context.color_trc = 2 if self._pixels.full_range else 1
        if self._pixels.rgb:
            context.colorspace = 0
        return stream

    def write(self, result: Result) -> None:
        if self._last_pts is None and result.frame.pts < 0:
            self._shift_to_zero()
        frame = self._pixels.frame(result)
        frame.pts, frame.time_base = result.frame.pts, result.frame.time_base
        frame.duration = self._duration(result.frame.seconds, result.frame.time_base)
        self._encode(frame)

    def _shift_to_zero(self) -> None:
        """No container shows what lies before zero: the whole film is moved. Before the header is written, so it still can."""
        self._container.container_options["avoid_negative_ts"] = "make_non_negative"
        self.warnings += ("the source starts before its own zero, so the output is moved to start at zero",)

    def _duration(self, seconds: Fraction, time_base: Fraction) -> int:
        """The step from the frame before: only the last frame's is looked at, and nobody knows how long that one is shown."""
        if self._last_pts is not None and seconds > self._last_pts:
            self._step = seconds - self._last_pts
        self._last_pts = seconds
        return max(1, round(self._step / time_base))

    def _encode(self, frame: av.VideoFrame | None) -> None:
        with encoding_to(self._final):
            for packet in self._stream.encode(frame):
                self._container.mux_one(packet)

    def finish(self) -> None:
        self._encode(None)
        with encoding_to(self._final):
            self._container.close()

    def close(self) -> None:
        with contextlib.suppress(FFmpegError, OSError):  # an abandoned file cannot be completed, and need not be
            self._container.close()


def _container_options(container: str, time_base: Fraction, audio_rates: list[int]) -> dict[str, str]:
    """Bit-exact headers (no random identifiers), and in mp4 and mov the clock of the source."""
    # The priming of AAC lies before zero, and must not push the pictures along: left to itself libav moves all streams.
    options = {"fflags": "+bitexact", "avoid_negative_ts": "disabled", "max_interleave_delta": str(_WAIT_FOR_AUDIO)}
    if container in ("mp4", "mov"):
        ticks = time_base.denominator
        # The movie's clock counts the start offset of each stream: one that all of them divide keeps those exact too.
        common = math.lcm(ticks, *audio_rates)
        options |= {
            "video_track_timescale": str(ticks),
            "movie_timescale": str(common if common <= _MOVIE_TIMESCALE_LIMIT else ticks),
            "movflags": "+faststart",
        }
    return options


def _ratio(time_base: Fraction) -> str:
    return f"{time_base.numerator}/{time_base.denominator}"
