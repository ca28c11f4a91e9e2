"""PNG in 16 bits: depth as grey, normals (and colormaps) as RGB. One file for a still, one a frame otherwise."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2

from ..frames import Result
from .look import Look
from .plan import FrameNames
from .staged import writing_to

_HEADER = 33  # bytes of the signature and the IHDR chunk: what may come right after it is a text chunk


class PngWriter:
    """Writes one map. tags: text chunks for each file, keyword to text."""

    warnings: tuple[str, ...] = ()

    def __init__(self, names: FrameNames, final: Path, look: Look, tags: dict[str, str]):
        self._names, self._final, self._look = names, final, look
        texts = tags | {"comment": look.picture_meaning}
        self._text = b"".join(_text_chunk(key.capitalize(), text) for key, text in texts.items())

    def write(self, result: Result) -> None:
        picture = self._look.sixteen(result)
        _, encoded = cv2.imencode(".png", picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        data = encoded.tobytes()
        with writing_to(self._final):
            self._names.file(result.frame).write_bytes(data[:_HEADER] + self._text + data[_HEADER:])

    def finish(self) -> None:
        pass

    def close(self) -> None:
        pass


def _text_chunk(keyword: str, text: str) -> bytes:
    """An iTXt chunk, uncompressed UTF-8 (PNG specification, third edition, 11.3.3.4)."""
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
