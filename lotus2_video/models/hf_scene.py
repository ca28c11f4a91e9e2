"""A drawn corridor of known depth, on which the scale and the sense of an unknown network's output are read off."""

from __future__ import annotations

import numpy as np

HEIGHT, WIDTH = 384, 512
_TAN = 1.6  # width of the view at distance 1
_HORIZON = 0.42  # of the height
_FLOOR, _WALL, _CEILING, _END = 1.0, 1.5, 1.2, 9.0  # distances from the camera, in its own units
_LIGHT = np.array([-0.5, -0.7, -0.5])
# x right, y down, z ahead, radius, colour
_BALLS = (
    (0.45, 0.62, 2.3, 0.38, (200, 60, 50)),
    (-0.7, 0.7, 3.5, 0.3, (60, 90, 190)),
)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """The picture, uint8 RGB [384,512,3], and its disparity, one over the distance ahead: float64 [384,512]."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    ray = np.dstack([(x - WIDTH / 2) / WIDTH * _TAN, (y - HEIGHT * _HORIZON) / WIDTH * _TAN, np.ones((HEIGHT, WIDTH))])
    colour, distance = _corridor(ray)
    for cx, cy, cz, radius, paint in _BALLS:
        hit, at, normal = _ball(ray, np.array([cx, cy, cz]), radius)
        light = np.clip(normal @ _LIGHT, 0.15, 1.0)
        colour[hit] = (np.array(paint) * light[..., None])[hit]
        distance = np.where(hit, at, distance)
    return np.clip(colour, 0, 255).astype(np.uint8), 1 / distance


def _corridor(ray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour, float [H,W,3] in 0..255, and distance [H,W] of a corridor with a tiled floor and brick walls."""
    u, v = ray[..., 0], ray[..., 1]
    with np.errstate(divide="ignore"):
        floor = np.where(v > 0, _FLOOR / np.abs(v), np.inf)
        ceiling = np.where(v < 0, _CEILING / np.abs(v), np.inf)
        wall = _WALL / np.abs(u)
    distance = np.minimum.reduce([floor, ceiling, wall, np.full_like(u, _END)])
    tile = (np.floor(u * distance * 2) + np.floor(distance * 2)) % 2 * 60
    brick = (np.floor(distance) + np.floor(v * distance * 3)) % 2 * 25
    colour = np.zeros_like(ray) + (120, 140, 160)
    for surface, paint, relief in (
        (wall, (170, 150, 120), brick),
        (floor, (90, 80, 70), tile),
        (ceiling, (205, 205, 200), 0 * tile),
    ):
        here = distance == surface
        colour[here] = np.array(paint) + relief[here][:, None]
    return colour / (1 + 0.06 * distance)[..., None], distance


def _ball(ray: np.ndarray, centre: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a ball is seen, bool [H,W], at which distance ahead [H,W], and its unit normals [H,W,3]."""
    along, square = ray @ centre, (ray**2).sum(axis=-1)
    under = along**2 - square * (centre @ centre - radius**2)
    at = (along - np.sqrt(np.maximum(under, 0))) / square
    return under > 0, at, (ray * at[..., None] - centre) / radius
