"""Reading: every source is an iterator of frames with a description, whatever it is made of."""

from __future__ import annotations

import glob
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from ..errors import InputError
from ..frames import Frame, StreamInfo

if TYPE_CHECKING:
    import av

STDIN = "-"


class Source(Protocol):
    """An open source. Iterate it once; it is closed on leaving the `with` block.

    info: known as soon as it is open. warnings: lines for the user gathered so far (HDR, damaged frames, ...).
    audio: the encoded audio read so far and not yet taken, for sinks that carry it.
    """

    info: StreamInfo
    warnings: list[str]
    audio: AudioTap

    def __iter__(self) -> Iterator[Frame]:
        """The frames in the order shown. Raises TruncatedInput after the last good frame of a source that breaks off."""
        ...

    def close(self) -> None:
        """Frees the file. Idempotent; a frame being decoded in another thread at that moment is finished first."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class AudioTap:
    """Audio packets on their way past the decoder: the reader puts, the sink takes, each in a thread of its own.

    streams: the audio streams of the source; what a sink learns from them it must learn while the source is open.
    """

    def __init__(self, streams: tuple[av.AudioStream, ...] = ()):
        self.streams = streams
        self._packets: deque[av.Packet] = deque()
        self._ignored = False

    def put(self, packet: av.Packet) -> None:
        if not self._ignored:
            self._packets.append(packet)

    def take(self) -> list[av.Packet]:
        """The packets that came since the last call, in the order of the source.

        `packet.stream_index` is the `index` of one of `streams`, and is safe to ask also after the source was closed.
        """
        return [self._packets.popleft() for _ in range(len(self._packets))]

    def ignore(self) -> None:
        """Drops all audio, also what is still to come: for sinks that carry none, so that it does not pile up."""
        self._ignored = True
        self._packets.clear()


def open_source(
    path: str, *, fps: float | Fraction = 24, start: float | None = None, end: float | None = None
) -> Source:
    """An open source, its first frame already found.

    Args:
        path: a video file, a still image, a folder of frames, a printf pattern (`shot.%04d.png`), a glob (`shot/*.jpg`),
            or `-` for a container stream on standard input.
        fps: frames a second of stills; 23.976 and its kin are taken as the exact NTSC rates (24000/1001, ...).
        start, end: seconds of the source's own time; frames with start <= pts * time_base < end are read.

    Raises InputError: missing, unreadable, empty, not a video or image, no video stream, no frames (in that range).
    """
    if path != STDIN and _holds_stills(path):
        from .stills import StillSource

        return StillSource(path, fps=fps, start=start, end=end)
    from .video import VideoSource

    return VideoSource(path, start=start, end=end)


def probe(path: str, *, fps: float | Fraction = 24) -> StreamInfo:
    """What a source is, with the frames counted and the rate told constant from variable.

    Reads a video through to its end, without decoding more than its first frame. Same arguments and errors as `open_source`.
    """
    if path != STDIN and _holds_stills(path):
        with open_source(path, fps=fps) as source:
            return source.info
    from .survey import probe_video  # not named probe: a module would take the place of this function

    return probe_video(path)


def _holds_stills(path: str) -> bool:
    """Whether `path` names stills (a folder, a pattern, an image file) rather than a video. Raises InputError if missing."""
    from .sequence import is_image, is_pattern

    place = Path(path)
    try:
        if place.is_dir():
            return True
        if place.exists():
            return is_image(place)
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise InputError(error.strerror or str(error), path) from error
    if is_pattern(path) or glob.has_magic(path):
        return True
    raise InputError("no such file or folder", path, "check the path")
