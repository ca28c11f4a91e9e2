"""The container: opening it, choosing its video stream, seeking, and the packets of picture and sound in one pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.container.core import Flags
from av.error import FFmpegError
from av.stream import Disposition

from ..errors import InputError
from ..frames import Audio
from . import STDIN, AudioTap
from .failures import cannot_open, place
from .timing import first_tick

_MOV = "mov,mp4"
_UNTIMED = (
    "h264",
    "hevc",
    "vvc",
    "m4v",
    "mpegvideo",
    "vc1",
    "obu",
    "dirac",
    "mjpeg",
)  # bare streams, without a container
_INTERLEAVE = Fraction(1)  # seconds that sound may lie behind its picture in a file


class Reel:
    """An open container.

    video: its picture stream, set to decode with threads. tap: where its sound goes. untimed: its pictures carry no
    timestamps. whole: it is read from its very beginning. seen, hidden: whole picture packets read so far, and how many of
    them show nothing, being empty or outside the edit list. broken: why reading ended early, if it did.
    """

    def __init__(self, path: str, start: float | None = None, end: float | None = None):
        self.path = path
        self._start, self._end = start, end
        self._load()
        self.seekable = path != STDIN and Path(path).is_file() and not self.untimed

    def _load(self) -> None:
        self.container = _open(self.path)
        try:
            self.video = _choose(self.container, self.path)
        except BaseException:
            self.container.close()
            raise
        self.video.thread_type = "AUTO"  # type: ignore[assignment]
        self.audio = tuple(s for s in self.container.streams.audio if s.codec_context is not None)
        self.tap = AudioTap(self.audio)
        self.untimed = self.container.format.name in _UNTIMED
        self.whole, self.broken = True, None
        self.seen = self.hidden = 0

    def rewind(self) -> None:
        self.container.close()
        self._load()

    def seek(self, tick: int) -> bool:
        """To a key picture at or before `tick`. False where the container cannot."""
        try:
            self.container.seek(tick, stream=self.video)
        except (FFmpegError, OSError):
            return False
        self.whole = False
        self.tap.take()
        return True

    @property
    def time_base(self) -> Fraction:
        rate = self.rate
        if self.untimed and rate:
            return 1 / rate
        return self.video.time_base or Fraction(1, 90_000)

    @property
    def rate(self) -> Fraction | None:
        """Average pictures a second, by the container; of an untimed stream, what the stream itself states."""
        stated, average = self.video.guessed_rate, self.video.average_rate
        return (stated or average or None) if self.untimed else (average or stated or None)

    @property
    def frames(self) -> int | None:
        """Pictures shown, as the header has it: without those that an edit list hides."""
        stated, index = self.video.frames, self.video.index_entries
        if self.is_mov and stated:
            return sum(not entry.is_discard for entry in index)
        if self.is_avi and stated and len(index) and (stated - index[-1].timestamp) * len(index) <= 2 * stated:
            return len(index)  # complete; the header counts ticks, of which a picture may last several
        return stated or None

    @property
    def is_mov(self) -> bool:
        return self.container.format.name.startswith(_MOV)

    @property
    def is_avi(self) -> bool:
        return self.container.format.name == "avi"

    def missing(self, reached: Fraction, interval: Fraction) -> int:
        """How many pictures the file promises but does not hold, after it was read whole.

        reached: seconds at which its last picture ends. interval: seconds from picture to picture, on average.

        An MP4 or MOV promises by its index, other containers by the length of the stream that they state.
        """
        if self.is_mov:
            return max(0, len(self.video.index_entries) - self.seen)
        ends = _stated_end(self.video, self.container)
        short = (ends - reached) / interval if ends is not None else 0
        return round(short) if short >= 2 else 0  # one may be rounding: stated lengths are often in milliseconds

    def packets(self) -> Iterator[av.Packet]:
        """The picture packets in file order, from here on; sound on the way goes to `tap`.

        A picture packet that the file's end cut in two is left out.
        """
        demuxed = self._demux()
        cut: av.Packet | None = None
        for packet in demuxed:
            if packet.stream_index != self.video.index:
                self._tap(packet)
                continue
            whole = chain(() if cut is None else (cut,), () if packet.is_corrupt else (packet,))
            cut = packet if packet.is_corrupt else None
            for picture in whole:
                self.seen += 1
                self.hidden += picture.is_discard or not picture.size
                if picture.size:  # an empty one would flush the decoder
                    yield picture
        if cut is not None:
            self.broken = self.broken or "its last packet is incomplete"

    def _demux(self) -> Iterator[av.Packet[Any]]:
        try:
            for packet in self.container.demux(self.video, *self.audio):
                if packet.size or packet.dts is not None:  # else the mark of the end
                    yield packet
        except (FFmpegError, OSError) as error:
            self.broken = (error.strerror or str(error)).lower()

    def _tap(self, packet: av.Packet) -> None:
        time_base, pts = packet.time_base, packet.pts
        if pts is not None:
            if self._start is not None and pts < first_tick(self._start, time_base):
                return
            if self._end is not None and pts >= first_tick(self._end, time_base):
                return
        self.tap.put(packet)

    def finish_audio(self) -> None:
        """Reads on for the sound of a range whose last picture was read, as sound lies somewhat behind in a file."""
        if self._end is None or not self.audio:
            return
        for packet in self._demux():
            if packet.dts is not None and packet.dts * packet.time_base > Fraction(str(self._end)) + _INTERLEAVE:
                return
            if packet.stream_index != self.video.index:
                self._tap(packet)

    def sounds(self) -> tuple[Audio, ...]:
        contexts = [stream.codec_context for stream in self.audio]
        return tuple(Audio(c.codec.canonical_name, c.sample_rate, c.channels) for c in contexts)

    def close(self) -> None:
        self.container.close()


def _open(path: str) -> InputContainer:
    file: str | BinaryIO = _stdin() if path == STDIN else f"file:{path}"  # a name may have a colon in it
    try:
        container = av.open(file, mode="r", metadata_errors="replace", buffer_size=1 << 20)
    except (FFmpegError, OSError, ValueError) as error:
        raise cannot_open(path, error) from error
    container.flags &= (
        ~Flags.gen_pts.value
    )  # guessed pts are wrong for H.264 in AVI; Clock takes dts there, as ffmpeg does
    return container


def _stdin() -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError("nothing is piped in", place(STDIN), "pipe a video in, or give a file")
    return sys.stdin.buffer


def _choose(container: InputContainer, path: str) -> av.VideoStream:
    """The main picture stream; a cover picture is none. Raises InputError."""
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        held = "only sound" if container.streams.audio else "no picture"
        raise InputError(f"no video stream ({held} in it)", place(path), "give a file that has a picture")
    playable = [s for s in films if s.codec_context is not None]
    if not playable:
        raise InputError(
            "its video codec is not one that FFmpeg can decode", place(path), "convert it first, to H.264 say"
        )
    best = container.streams.best("video")
    return best if best in playable else playable[0]  # type: ignore[return-value]


def _stated_end(video: av.VideoStream, container: InputContainer) -> Fraction | None:
    """Seconds at which the stream ends as an AVI header or a Matroska tag has it; None where there is no such statement."""
    if container.format.name == "avi" and video.frames and video.time_base:
        return video.frames * video.time_base
    try:
        hours, minutes, seconds = video.metadata["DURATION"].split(":")
        tagged = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    except (KeyError, ValueError):
        return None
    return min(tagged, Fraction(container.duration, av.time_base)) if container.duration else tagged
