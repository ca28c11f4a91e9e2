"""Interlaced pictures made whole, frame for frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import av
from av.error import BlockingIOError as NeedsMore
from av.error import EOFError as Drained
from av.filter import Graph

Timed = tuple[int, av.VideoFrame]


class Deinterlacer:
    """FFmpeg's bwdif, one picture out for each one in, with its own time; it runs one picture behind.

    Pictures that are not marked as interlaced pass unchanged.
    """

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape: tuple[object, ...] = ()
        self._times: deque[int] = deque()

    def push(self, pts: int, picture: av.VideoFrame) -> Iterator[Timed]:
        shape = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        if shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = _bwdif(picture), shape
        assert self._graph is not None
        self._times.append(pts)
        self._graph.vpush(picture)
        yield from self._pull(self._graph)

    def flush(self) -> Iterator[Timed]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._pull(self._graph)
        self._graph, self._shape = None, ()

    def _pull(self, graph: Graph) -> Iterator[Timed]:
        while self._times:
            try:
                picture = graph.vpull()
            except (NeedsMore, Drained):
                return
            yield self._times.popleft(), picture


def _bwdif(like: av.VideoFrame) -> Graph:
    graph = Graph()
    size = f"video_size={like.width}x{like.height}:pix_fmt={like.format.name}:pixel_aspect=1/1"
    colour = f"colorspace={like.colorspace}:range={like.color_range}"
    tick = like.time_base or "1/90000"
    source = graph.add("buffer", f"{size}:{colour}:time_base={tick}")
    filter_ = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, filter_, graph.add("buffersink")).configure()
    return graph
