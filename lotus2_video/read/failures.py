"""FFmpeg's errors, mapped once to lines that a user can act on."""

from __future__ import annotations

import struct
from pathlib import Path

from av.error import EOFError as NoData
from av.error import InvalidDataError

from ..errors import InputError
from . import STDIN

INDEX_FIRST = "a piped MP4 must have its index in front (-movflags +faststart); else give the file by name"


def place(path: str) -> str:
    """How messages name the source."""
    return "standard input" if path == STDIN else path


def cannot_open(path: str, error: Exception) -> InputError:
    """Why libavformat refused `path` (or standard input), as one line."""
    if path == STDIN:
        return InputError(f"not a video stream that can be read ({_short(error)})", place(path), INDEX_FIRST)
    file = Path(path)
    if isinstance(error, (InvalidDataError, NoData)):
        if file.is_file() and file.stat().st_size == 0:
            return InputError("the file is empty", path, "copy or record it again")
        if _lacks_index(file):
            hint = (
                "the recording was never finished or the copy broke off; copy it again, or recover it from the camera"
            )
            return InputError("its index is missing (moov atom not found)", path, hint)
        return InputError("not a video or image that can be read", path, "check that it plays in a video player")
    return InputError(f"cannot be read ({_short(error)})", path, "check the path and its permissions")


def cannot_decode(path: str, error: Exception) -> InputError:
    hint = "check that it plays in a video player"
    return InputError(f"its video cannot be decoded ({_short(error)})", place(path), hint)


def _short(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _lacks_index(file: Path) -> bool:
    """Whether it is an MP4 or MOV with film (`mdat`) but no index (`moov`), by its outermost boxes (ISO/IEC 14496-12)."""
    kinds: set[bytes] = set()
    try:
        with file.open("rb") as stream:
            while len(header := stream.read(8)) == 8:
                size, kind = struct.unpack(">I4s", header)
                kinds.add(kind)
                skip = size - 8 if size != 1 else struct.unpack(">Q", stream.read(8))[0] - 16
                if skip < 0 or (kind not in (b"ftyp", b"mdat") and len(kinds) == 1):
                    break
                stream.seek(skip, 1)
    except (OSError, struct.error):
        return False
    return b"mdat" in kinds and b"moov" not in kinds
