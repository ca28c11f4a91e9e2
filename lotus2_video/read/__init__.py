"""Reading: every source is an iterator of frames with a description, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, Self

from ..frames import Frame, StreamInfo

if TYPE_CHECKING:
    import av


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

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class AudioTap:
    """Audio packets on their way past the decoder: the reader puts, the sink takes. Each is used by one thread."""

    def __init__(self, streams: tuple[av.AudioStream, ...] = ()):
        self.streams = streams
        self._packets: list[av.Packet] = []

    def put(self, packet: av.Packet) -> None:
        self._packets.append(packet)

    def take(self) -> list[av.Packet]:
        """The packets that came since the last call, in the order of the source; `packet.stream` is one of `streams`."""
        taken, self._packets = self._packets, []
        return taken
