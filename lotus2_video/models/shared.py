"""One predictor for several threads."""

from __future__ import annotations

import threading

import numpy as np

from ..frames import Maps
from . import Predictor


class SharedPredictor:
    """A predictor that several threads may call, one at a time; whoever made it closes it, not those who share it."""

    def __init__(self, predictor: Predictor):
        self.kinds, self.fingerprint, self._predictor = predictor.kinds, predictor.fingerprint, predictor
        self._alone = threading.Lock()

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        return self._predictor.input_size(height, width)

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        with self._alone:
            return self._predictor.predict(rgb, sharpen=sharpen)

    def close(self) -> None:
        """Leaves the predictor open for the others."""
