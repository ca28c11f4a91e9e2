"""A model that counts its work in a file, and the command with that model: `python counting.py WORDS...`, to be killed.

COUNT_LOG: where each call of `predict` adds a line, before it works. COUNT_SECONDS: how long each call takes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lotus2_video import ModelCard, ModelOptions, register
from lotus2_video.durable import append_whole
from lotus2_video.frames import Maps
from lotus2_video.models.fake import FakePredictor


class Counting(FakePredictor):
    def __init__(self, options: ModelOptions):
        super().__init__(options)
        self.fingerprint = os.environ.get("COUNT_FINGERPRINT", "counting-1")

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        append_whole(Path(os.environ["COUNT_LOG"]), f"{len(rgb)}\n")
        time.sleep(float(os.environ.get("COUNT_SECONDS", "0")))
        return super().predict(rgb, sharpen=sharpen)


def calls() -> int:
    """How often `predict` was called since the log began."""
    log = Path(os.environ["COUNT_LOG"])
    return len(log.read_text().splitlines()) if log.exists() else 0


def killed_when(due: Callable[[], bool], words: list[str], seconds: float = 0.03) -> int:
    """Runs the command with these words until `due`, then kill -9. Returns the exit code, -9 where it was killed in time."""
    environment = {**os.environ, "COUNT_SECONDS": str(seconds)}
    with subprocess.Popen([sys.executable, __file__, *words], env=environment, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not due():
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    return process.returncode


kinds = ("depth", "normal")
card = ModelCard("counting", "the fake, counted", kinds, "-", True, lambda: "", lambda rest, options: Counting(options))
register(card)

if __name__ == "__main__":
    from lotus2_video.cli import main

    sys.exit(main(sys.argv[1:]))
