"""Video files and streams, decoded by FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Self

import av
from av.error import FFmpegError

from ..errors import InputError, TruncatedInput
from ..frames import Frame, StreamInfo
from . import STDIN
from .colour import HLG, PQ
from .deinterlace import Deinterlacer, Timed
from .failures import INDEX_FIRST, cannot_decode, place
from .picture import ToRgb, is_supported
from .reel import Reel
from .timing import Clock, Span, first_tick

_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_SEEK_BACK = (0, 2, 10)  # seconds before the wanted time, tried in turn
_TOLERANT = "give --tolerant to accept what was read"


class VideoSource:
    """A `Source` of the frames that a player would show, with their own times.

    Rotated and anamorphic pictures come as shown, interlaced ones whole, frames that an edit list hides not at all. A
    picture whose size changes midway is scaled to the first size.
    """

    def __init__(self, path: str, *, start: float | None = None, end: float | None = None):
        self.warnings: list[str] = []
        self._path, self._start, self._end = path, start, end
        self._warned: set[str] = set()
        self._closed = False
        self._decoded = self._undecodable = 0
        self._span = Span()
        self._reel = Reel(path, start, end)
        try:
            self._step = _step(self._reel)
            self._timed = self._from_start()
            first = next(self._timed, None)
            if first is None:
                raise self._nothing()
            self._first_pts = first[0]
            self._to_rgb = ToRgb(first[1], _pixel_aspect(self._reel.video))
            self.info = self._describe(first[1])
        except FFmpegError as error:
            self._reel.close()
            raise cannot_decode(path, error) from error
        except BaseException:
            self._reel.close()
            raise
        self.audio = self._reel.tap
        self._warn_of_colour()
        self._frames = self._make_frames(first)

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        self._closed = True
        try:
            self._frames.close()
        except ValueError:  # it is decoding in another thread, and closes the file itself when done with that frame
            return
        self._reel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def times(self) -> Iterator[int]:
        """The pts of every frame, decoded but not converted, instead of the frames themselves; for counting."""
        self.audio.ignore()
        yield self._first_pts
        for pts, _ in self._timed:
            yield pts

    def _make_frames(self, first: Timed) -> Generator[Frame]:
        time_base = self.info.time_base
        try:
            for index, (pts, picture) in enumerate(self._deinterlaced(chain((first,), self._timed))):
                if not self._to_rgb.fits(picture):
                    self._warn(
                        "size", f"the picture size changes at {float(pts * time_base):.2f} s, scaled to the first"
                    )
                if picture.is_corrupt:
                    self._warn("corrupt", f"the picture is damaged at {float(pts * time_base):.2f} s")
                yield Frame(index, pts, time_base, self._to_rgb(picture))
                if self._closed:
                    return
            self._check_complete()
        except FFmpegError as error:
            raise cannot_decode(self._path, error) from error
        finally:
            if self._closed:
                self._reel.close()

    def _from_start(self) -> Iterator[Timed]:
        """The pictures in [start, end), found by seeking where that can be exact."""
        reel = self._reel
        if self._start is not None and reel.seekable:
            wanted = first_tick(self._start, reel.time_base)
            for back in _SEEK_BACK:
                tick = wanted - int(back / reel.time_base)
                if tick <= (reel.video.start_time or 0) or not reel.seek(tick):
                    break
                pictures = _from_key(self._decode())
                key = next(pictures, None)
                if key is not None and key.pts is not None and key.pts <= wanted:
                    return self._within(chain((key,), pictures))
            reel.rewind()
            self._decoded = self._undecodable = 0
        return self._within(self._decode())

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in chain(self._reel.packets(), (None,)):
            try:
                pictures = self._reel.video.decode(packet)
            except (
                FFmpegError
            ):  # one picture lost; before the first, it is a stream that was cut into between key frames
                self._undecodable += self._decoded > 0
                continue
            self._decoded += len(pictures)
            yield from pictures

    def _within(self, pictures: Iterable[av.VideoFrame]) -> Iterator[Timed]:
        """The pictures in [start, end), with their pts."""
        time_base = self._reel.time_base
        first = None if self._start is None else first_tick(self._start, time_base)
        last = None if self._end is None else first_tick(self._end, time_base)
        clock = Clock(self._step, jump=int(1 / time_base), count=self._reel.untimed)
        for picture in pictures:
            pts = clock.tick(picture.pts, picture.dts)
            if clock.repaired:
                self._warn("time", "time stamps go backward, the frames there follow the one before")
            if last is not None and pts >= last:
                return self._reel.finish_audio()
            self._span.add(pts, max(picture.duration or 0, self._step))
            if first is None or pts >= first:
                yield pts, picture
        return None

    def _deinterlaced(self, timed: Iterable[Timed]) -> Iterator[Timed]:
        """The same pictures; from the first one on that is marked as interlaced they pass the deinterlacer."""
        filter_: Deinterlacer | None = None
        for pts, picture in timed:
            if filter_ is None and picture.interlaced_frame:
                self._warn("interlaced", "interlaced, every frame is deinterlaced (bwdif)")
                filter_ = Deinterlacer()
            if filter_ is None:
                yield pts, picture
            else:
                yield from filter_.push(pts, picture)
        if filter_ is not None:
            yield from filter_.flush()

    def _describe(self, first: av.VideoFrame) -> StreamInfo:
        reel, video = self._reel, self._reel.video
        colour, tick = self._to_rgb.colour, video.time_base or reel.time_base
        container_duration = reel.container.duration
        duration = Fraction(container_duration, av.time_base) if container_duration is not None else None
        return StreamInfo(
            path=self._path,
            kind="video",
            width=self._to_rgb.width,
            height=self._to_rgb.height,
            time_base=reel.time_base,
            frames=reel.frames,
            rate=reel.rate,
            start=Fraction(0) if reel.untimed else None if video.start_time is None else video.start_time * tick,
            duration=duration if video.duration is None else video.duration * tick,
            codec=video.codec_context.codec.canonical_name,
            pixel_format=first.format.name,
            rotation=self._to_rgb.turn.clockwise,
            pixel_aspect=_pixel_aspect(video),
            matrix=colour.matrix,
            transfer=colour.transfer,
            color_range=colour.color_range,
            hdr=colour.transfer in (PQ, HLG),
            interlaced=first.interlaced_frame or video.codec_context.field_order not in _PROGRESSIVE,
            audio=reel.sounds(),
        )

    def _warn(self, kind: str, line: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self.warnings.append(line)

    def _warn_of_colour(self) -> None:
        colour = self._to_rgb.colour
        if colour.transfer == PQ:
            self._warn("hdr", "HDR (PQ), tone-mapped to SDR by ITU-R BT.2390")
        if colour.transfer == HLG:
            self._warn("hdr", "HDR (HLG), taken as an SDR screen shows it, without tone-mapping")
        if not is_supported(colour.matrix):
            self._warn("matrix", f"the colour matrix {colour.matrix} is not supported, colours will be off")

    def _nothing(self) -> InputError:
        where = place(self._path)
        if self._decoded and (self._start is not None or self._end is not None):
            runs = f"it has {self._decoded} frames up to {float(self._span.end * self._reel.time_base):.2f} s"
            return InputError("no frame between --start and --end", where, runs)
        if self._reel.seen:
            return InputError("no frame of its video can be decoded", where, "the file is damaged, copy it again")
        hint = INDEX_FIRST if self._path == STDIN and self._reel.is_mov else "record or copy it again"
        return InputError("its video stream has no frames", where, hint)

    def _check_complete(self) -> None:
        """Raises TruncatedInput when frames were lost; called after the last one that decodes."""
        reel, read = self._reel, self._decoded
        all_read = reel.whole and self._end is None
        span, tick = self._span, reel.time_base
        missing = reel.missing(span.end * tick, span.interval * tick) if all_read else 0
        if missing or reel.broken:
            promised = reel.frames if all_read and reel.is_mov else None
            of = f" of {promised} frames, {promised - read} are lost" if promised and promised > read else " frames"
            about = f", about {missing} are lost" if missing and not promised else ""
            why = f" ({reel.broken})" if reel.broken else ""
            raise TruncatedInput(f"broke off after {read}{of}{about}{why}", place(self._path), _TOLERANT)
        if self._undecodable:
            lost = max(self._undecodable, reel.seen - reel.hidden - read if reel.whole else 0)
            what = f"damaged: {lost} of its frames cannot be decoded, {read} were read"
            raise TruncatedInput(what, place(self._path), _TOLERANT)


def _from_key(pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """From the first key picture on: those before it, just after a seek, may lack what they were predicted from."""
    for picture in pictures:
        if picture.key_frame:
            yield picture
            break
    yield from pictures


def _step(reel: Reel) -> int:
    """Ticks that a picture lasts on average, at least 1."""
    return max(1, round(1 / (reel.rate * reel.time_base))) if reel.rate else 1


def _pixel_aspect(video: av.VideoStream) -> Fraction:
    stated = video.sample_aspect_ratio or video.codec_context.sample_aspect_ratio
    return stated if stated and Fraction(1, 8) <= stated <= 8 else Fraction(1)
