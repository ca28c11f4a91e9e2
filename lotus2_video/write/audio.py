"""The audio of the source on its way into the outputs: copied where the container can hold it, else turned into AAC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import av
from av.error import InvalidDataError

if TYPE_CHECKING:
    from av.container import OutputContainer

# What each kind of file can hold, by the codec's own name. For mp4 what its players know rather than what fits.
_HOLDS = {
    ".mp4": {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac"},
    ".mov": {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be",
            "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be"},
    ".mkv": {"aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "dts", "truehd",
                 "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"},
}  # fmt: skip
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1"}
_BITS_A_CHANNEL = 96_000


class Tap(Protocol):
    """What gives the encoded audio of the source: read's AudioTap."""

    streams: tuple[av.AudioStream, ...]

    def take(self) -> list[av.Packet]: ...

    def ignore(self) -> None: ...


class AudioFeed:
    """Pumps the audio of one source into the containers connected to it, all of one format.

    Packets go in as they come, ahead of their pictures, and libav puts them in order.
    """

    def __init__(self, tap: Tap, suffix: str):
        self._tap = tap
        self._routes: dict[int, _Copy | _ToAac] = {}
        self.warnings: list[str] = []
        for stream in tap.streams:
            self._add_route(stream, suffix)

    def _add_route(self, stream: av.AudioStream, suffix: str) -> None:
        if stream.codec_context is None:  # libav knows no decoder, and PyAV copies nothing that it cannot decode
            self.warnings.append(f"audio stream {stream.index} is of an unknown kind and left out")
        elif stream.codec.canonical_name in _HOLDS[suffix]:
            self._routes[stream.index] = _Copy(stream)
        else:
            self.warnings.append(f"audio {stream.codec.canonical_name} is turned into AAC, which {suffix} can carry")
            self._routes[stream.index] = _ToAac(stream)

    @property
    def rates(self) -> list[int]:
        """Samples a second of each stream that is carried."""
        return [stream.sample_rate for stream in self._tap.streams if stream.index in self._routes]

    def connect(self, container: OutputContainer) -> None:
        """Adds the audio streams to a container that has not been written to."""
        for route in self._routes.values():
            route.connect(container)

    def pump(self) -> None:
        """Carries what came since the last call. May raise libav's errors."""
        for packet in self._tap.take():
            route = self._routes.get(packet.stream_index)
            if route and packet.dts is not None:  # an empty packet that only says flush has none
                route.carry(packet)

    def finish(self) -> None:
        self.pump()
        for route in self._routes.values():
            route.finish()


class _Copy:
    """One stream, bit by bit the same."""

    def __init__(self, stream: av.AudioStream):
        self._stream = stream
        self._outs: list[tuple[OutputContainer, av.AudioStream]] = []
        self._last: int | None = None

    def connect(self, container: OutputContainer) -> None:
        out = container.add_stream_from_template(self._stream)
        _copy_language(self._stream, out)
        self._outs.append((container, out))

    def carry(self, packet: av.Packet) -> None:
        if self._last is not None and packet.dts is not None and packet.dts <= self._last:
            return  # a damaged source steps back in time: no container takes that
        self._last = packet.dts
        for container, out in self._outs:
            packet.stream = out
            container.mux_one(packet)

    def finish(self) -> None:
        pass


class _ToAac:
    """One stream, decoded and encoded again, with its sample times."""

    def __init__(self, stream: av.AudioStream):
        self._stream = stream
        self._decoder = stream.codec_context  # the reader passes the packets on without using it
        self._outs: list[tuple[OutputContainer, av.AudioStream]] = []

    def connect(self, container: OutputContainer) -> None:
        rate = self._stream.sample_rate if self._stream.sample_rate in _AAC_RATES else 48000
        out = container.add_stream("aac", rate=rate)
        out.layout = _AAC_LAYOUTS.get(self._decoder.layout.nb_channels, "stereo")
        out.bit_rate = _BITS_A_CHANNEL * out.layout.nb_channels
        _copy_language(self._stream, out)
        self._outs.append((container, out))

    def carry(self, packet: av.Packet | None) -> None:
        try:
            frames = self._decoder.decode(packet)
        except InvalidDataError:
            return  # a damaged packet: its samples are missing, the times of the others hold
        for frame in frames:
            self._encode(frame)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        for container, out in self._outs:
            for packet in out.encode(frame):
                container.mux_one(packet)

    def finish(self) -> None:
        self.carry(None)
        self._encode(None)


def _copy_language(source: Any, out: Any) -> None:
    if "language" in source.metadata:
        out.metadata["language"] = source.metadata["language"]
