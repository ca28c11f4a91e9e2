"""Every error a user can meet, each one line: what, where, what to do; and its exit code.

    Lotus2VideoError          1   internal: a fault of ours
    ├── UsageError            2   an option, a config key or a combination that makes no sense
    ├── InputError            3   the source is missing, unreadable, empty or not a video
    │   └── TruncatedInput    6   the source broke off: what decoded was written, the rest is lost
    ├── WeightsError          4   weights are missing, incomplete or wrong
    ├── OutputError           5   the destination exists, cannot be written, or the disk is full
    ├── BatchFailed           7   some videos of a batch failed; the others are done
    └── EngineError           8   there are no workers, or they died again and again over the same frames

Ctrl-C ends with 130 and SIGTERM with 143, as shells expect; both leave nothing under a final name.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Lotus2VideoError(Exception):
    """Base of all our errors.

    Args:
        what: what went wrong, a clause without a full stop.
        where: the file, option or key it went wrong at.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, what: str, where: object = None, hint: str | None = None):
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what, where, hint)  # all three, so that the error survives pickling between processes

    def __str__(self) -> str:
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        return line if self.hint is None else f"{line}; {self.hint}"


class UsageError(Lotus2VideoError):
    """An option, a config key or a combination that makes no sense."""

    exit_code = 2


class InputError(Lotus2VideoError):
    """The source is missing, unreadable, empty, or not a video."""

    exit_code = 3


class WeightsError(Lotus2VideoError):
    """Weights are missing, incomplete, or not those of the model."""

    exit_code = 4


class OutputError(Lotus2VideoError):
    """The destination is there already, cannot be written, or is full."""

    exit_code = 5


class TruncatedInput(InputError):
    """The source broke off; every frame before that was good."""

    exit_code = 6


class BatchFailed(Lotus2VideoError):
    """Some videos of a batch failed; each is named in the manifest, and the others are done."""

    exit_code = 7


class EngineError(Lotus2VideoError):
    """There are no workers, or they died again and again over the same frames."""

    exit_code = 8


def told(error: BaseException) -> str:
    """An unforeseen error as one line: its type, its message, and where its notes say that it happened."""
    notes = [f" ({note})" for note in getattr(error, "__notes__", ())]
    return f"{type(error).__name__}: {error}{''.join(notes)}"


def near_name(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known word nearest to `name`, or None where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None
