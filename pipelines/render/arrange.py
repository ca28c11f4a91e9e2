"""Putting things into scenes: on surfaces without overlap, and light for inside and outside."""

from __future__ import annotations

import numpy as np

from .clutter import SMALL, Maker, Piece
from .looks import Looks
from .scene import Instance, Light, Lighting, Motion, Scene, place, rotation, translation


class Floor:
    """A rectangle x0..x1, z0..z1 on which discs already stand; finds free spots."""

    def __init__(self, x0: float, x1: float, z0: float, z1: float):
        self.low, self.high = np.array([x0, z0]), np.array([x1, z1])
        self.taken: list[tuple[np.ndarray, float]] = []

    def free_spot(self, rng: np.random.Generator, radius: float, tries: int = 12) -> np.ndarray | None:
        """A point [x, z] whose disc touches no other, then held as taken; None where none was found."""
        if np.any(self.high - self.low < 2 * radius):
            return None
        for _ in range(tries):
            spot = rng.uniform(self.low + radius, self.high - radius)
            if all(np.hypot(*(spot - p)) > radius + r for p, r in self.taken):
                self.taken.append((spot, radius))
                return spot
        return None

    def take(self, x: float, z: float, radius: float) -> None:
        self.taken.append((np.array([x, z]), radius))


def footprint(piece: Piece) -> float:
    """Radius in metres of a disc about the origin that covers what the piece stands on (most of it)."""
    low, high = piece[0].bounds
    return 0.9 * float(max(abs(low[0]), abs(high[0]), abs(low[2]), abs(high[2])))


def scatter(
    scene: Scene,
    looks: Looks,
    floor: Floor,
    y: float,
    count: int,
    makers: tuple[Maker, ...] = SMALL,
    scale: tuple[float, float] = (1.0, 1.0),
    found: tuple[float, float] | None = None,
) -> list[Instance]:
    """Stands up to `count` things on a floor at height y, without overlap. Returns what was placed.

    makers: what things. scale: a random factor on their size. found: objects from files are mixed in where there are any,
    with a largest side between these metres.
    """
    out = []
    for _ in range(count):
        if found and looks.objects and looks.rng.random() < 0.35:
            piece, size = looks.object(), float(looks.rng.uniform(*found))
        else:
            piece = makers[looks.rng.integers(len(makers))](looks)
            size = float(np.exp(looks.rng.uniform(*np.log(scale))))
        spot = floor.free_spot(looks.rng, footprint(piece) * size)
        if spot is None:
            continue
        turn = float(looks.rng.uniform(0, 2 * np.pi))
        out.append(scene.add(*piece, place(spot[0], y, spot[1], turn, size)))
    return out


def tumbled(rng: np.random.Generator, at: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """A transform to a point with a random orientation."""
    axis = rng.normal(size=3)
    return translation(at) @ rotation(axis, float(rng.uniform(0, 2 * np.pi))) @ np.diag([scale, scale, scale, 1.0])


def warm(rng: np.random.Generator, strength: float, spread: float = 0.25) -> tuple[float, float, float]:
    """Light of about that strength, from warm to cool."""
    t = rng.uniform(-spread, spread)
    return strength * (1 + t), strength, strength * (1 - 1.2 * t)


def dim(color: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    return color[0] * factor, color[1] * factor, color[2] * factor


def indoor_light(
    rng: np.random.Generator, spots: list[np.ndarray], window: np.ndarray | None, volume: float
) -> Lighting:
    """Lamps at spots under the ceiling, some off; perhaps sun through the window (the direction out of it)."""
    lights = []
    for spot in spots:
        if rng.random() < 0.75:
            x, y, z = (float(v) for v in spot)
            strength = float(rng.uniform(0.8, 3.0)) * volume**0.5 / max(len(spots), 1)
            lights.append(Light("lamp", (x, y, z), warm(rng, strength), float(rng.uniform(0.03, 0.3))))
    if window is not None and rng.random() < 0.6:
        d = window + rng.normal(0, 0.3, 3) + (0, rng.uniform(0.3, 0.9), 0)
        lights.append(Light("sun", (float(d[0]), float(d[1]), float(d[2])), warm(rng, rng.uniform(1, 5), 0.1), 0.01))
    base = float(rng.uniform(0.12, 0.5)) * (1.6 if not lights else 1.0)
    up, side, down = warm(rng, base), warm(rng, base * 0.85), warm(rng, base * rng.uniform(0.4, 0.8))
    sky = (warm(rng, rng.uniform(0.8, 3)), warm(rng, rng.uniform(1, 3)), warm(rng, rng.uniform(0.3, 1)))
    reach = float(rng.uniform(0.6, 2.0))
    return Lighting(
        tuple(lights), sky, ambient=(up, side, down), ambient_reach=reach, bounce=float(rng.uniform(0.25, 0.5))
    )


def outdoor_light(looks: Looks) -> Lighting:
    """Sun or overcast, day to dusk, sometimes fog, sometimes a photograph for a sky."""
    rng = looks.rng
    height, turn = np.radians(rng.uniform(8, 75)), rng.uniform(0, 2 * np.pi)
    sun = (float(np.cos(height) * np.cos(turn)), float(np.sin(height)), float(np.cos(height) * np.sin(turn)))
    clear = rng.random() < 0.65
    low = 1 - np.sin(height)
    strength = rng.uniform(1.5, 3.5)
    light = Light("sun", sun, (strength, strength * (1 - 0.25 * low), strength * (1 - 0.5 * low)), 0.02)
    if clear:
        zenith, horizon = (0.18, 0.36, 0.85), (0.65, 0.78, 0.95)
    else:
        zenith, horizon = (0.75, 0.78, 0.82), (0.9, 0.91, 0.93)
    glow = float(rng.uniform(0.6, 1.4))
    sky = (dim(zenith, glow), dim(horizon, glow), (0.3, 0.29, 0.27))
    up = float(rng.uniform(0.35, 0.6) if clear else rng.uniform(0.8, 1.2)) * glow
    ambient = ((up * 0.85, up * 0.95, up * 1.15), dim((0.9, 0.95, 1.0), up * 0.8), dim((0.5, 0.48, 0.42), up))
    fog = float(np.exp(rng.uniform(np.log(0.002), np.log(0.04)))) if rng.random() < 0.2 else 0.0
    painted = looks.library.pick(rng, "sky") if fog == 0 and rng.random() < 0.6 else -1
    return Lighting(
        (light,) if clear else (),
        sky if painted < 0 else (dim((1.0, 1.0, 1.0), glow), *sky[1:]),
        painted,
        ambient,
        ambient_reach=float(rng.uniform(2, 8)),
        bounce=0.3,
        fog_color=dim(horizon, glow * 0.9),
        fog_density=fog,
    )


def set_moving(scene: Scene, rng: np.random.Generator, things: list[Instance], share: float, reach: float) -> None:
    """Lets a share of the things move: turn, sway or drift, at a pace that suits `reach` metres."""
    for thing in things:
        if rng.random() > share:
            continue
        sway = rng.normal(0, 0.5, 3) * reach * (1, 0.3, 1) * (rng.random() < 0.7)
        scene.move(
            thing,
            Motion(
                velocity=(float(rng.normal(0, reach / 2)), 0.0, float(rng.normal(0, reach / 2))),
                spin=float(rng.normal(0, 1.2)),
                sway=(float(sway[0]), float(abs(sway[1])), float(sway[2])),
                frequency=float(rng.uniform(0.2, 0.8)),
            ),
        )
