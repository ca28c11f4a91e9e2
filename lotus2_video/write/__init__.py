"""Writing: every format is a sink that keeps its promise of all or nothing under a final name."""

from __future__ import annotations

from typing import Protocol

from ..frames import Result


class Sink(Protocol):
    """Writes one output. Nothing appears under a final name before `commit`; `abort` leaves nothing behind."""

    def write(self, result: Result) -> None:
        """Takes the next frame. Raises OutputError (disk full, not writable, ...)."""
        ...

    def commit(self) -> None:
        """Completes the file and gives it its final name."""
        ...

    def abort(self) -> None:
        """Deletes what was written. Idempotent; also safe after `commit`, when it does nothing."""
        ...
