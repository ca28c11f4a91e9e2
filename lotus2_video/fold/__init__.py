"""Folds: the only state of the walk. Pure state machines that never see a file, a clock or a device."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..frames import Flow, Maps


class Fold(Protocol):
    """Turns per-frame maps into steady ones, causally, in order, exactly one out for each one in.

    scale: what the depth of the frame stepped last was multiplied by.
    """

    @property
    def scale(self) -> float: ...

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        """Takes the next frame, gives the maps that are final by now (none or more, in order).

        rgb: uint8 [h,w,3], the frame as the network saw it. flow: to the frame before, at the same size; None for the first.
        """
        ...

    def flush(self) -> list[Maps]:
        """The maps still held back, at the end of the film."""
        ...


class Passthrough:
    """The fold that changes nothing: `--no-smooth`."""

    scale = 1.0

    def step(self, rgb: np.ndarray, maps: Maps, flow: Flow | None) -> list[Maps]:
        return [maps]

    def flush(self) -> list[Maps]:
        return []
