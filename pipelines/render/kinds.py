"""All kinds of scenes by name, with how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .looks import Looks
from .rooms import corridor, room
from .scanned import scanned
from .scene import Scene
from .streets import street
from .tabletop import floating, tabletop
from .terrain import terrain
from .thin import thin

Generator = Callable[[Looks], Scene]
KINDS: dict[str, tuple[Generator, float]] = {
    "room": (room, 5.0),
    "corridor": (corridor, 1.0),
    "tabletop": (tabletop, 2.0),
    "floating": (floating, 1.0),
    "street": (street, 2.5),
    "terrain": (terrain, 1.0),
    "thin": (thin, 1.5),
    "scanned": (scanned, 1.5),
}


def draw(rng: np.random.Generator, kinds: Mapping[str, float] | None = None) -> str:
    """A kind by weight. kinds: name -> weight; default those of KINDS. Raises KeyError for an unknown name."""
    weights = {k: w for k, (_, w) in KINDS.items()} if kinds is None else dict(kinds)
    unknown = sorted(set(weights) - set(KINDS))
    if unknown:
        raise KeyError(f"unknown kind of scene {unknown[0]!r}; there are {', '.join(KINDS)}")
    names = list(weights)
    p = np.array([weights[n] for n in names])
    return names[int(rng.choice(len(names), p=p / p.sum()))]
