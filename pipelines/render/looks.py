"""Random materials that go together: each method gives one look of a kind, from the texture library and a generator."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .scene import Material, Mesh
from .textures import TextureLibrary

Color = tuple[float, float, float]
Piece = tuple[Mesh, tuple[Material, ...]]


@dataclass(eq=False)
class Looks:
    """rng: the scene's generator. library: where textures come from. photos: how often a surface wears a photograph.
    objects, scenes: meshes from files to use, as in assets.Assets."""

    rng: np.random.Generator
    library: TextureLibrary
    photos: float = 0.08
    objects: Sequence[Piece] = ()
    scenes: Sequence[Piece] = ()

    def object(self) -> Piece:
        """One of the objects from files, its largest side 1; now and then in another material."""
        mesh, materials = self.objects[int(self.rng.integers(len(self.objects)))]
        return (mesh, tuple(self.any() for _ in materials)) if self.rng.random() < 0.15 else (mesh, materials)

    def color(self, saturation: tuple[float, float] = (0.1, 0.8), value: tuple[float, float] = (0.15, 0.9)) -> Color:
        """Linear RGB."""
        r, g, b = colorsys.hsv_to_rgb(self.rng.random(), self.rng.uniform(*saturation), self.rng.uniform(*value))
        return r**2.2, g**2.2, b**2.2

    def tint(self) -> Color:
        """A factor near white for a texture."""
        r, g, b = self.rng.uniform(0.75, 1.0, 3) * self.rng.uniform(0.6, 1.0)
        return float(r), float(g), float(b)

    def _textured(self, kinds: tuple[str, ...], repeats: tuple[float, float], **more: Any) -> Material:
        texture = self.library.pick(self.rng, *kinds)
        scale = float(np.exp(self.rng.uniform(*np.log(repeats))))
        return Material(self.tint(), texture, (scale, scale), **more)

    def _sheen(self, most: float) -> dict[str, Any]:
        return {"specular": float(self.rng.uniform(0, most)), "roughness": float(self.rng.uniform(0.15, 0.9))}

    def wood(self) -> Material:
        return self._textured(("wood", "planks"), (0.5, 2.5), **self._sheen(0.4))

    def cloth(self) -> Material:
        return self._textured(
            ("fabric", "fabric", "stripes", "noise", "dots", "lines"), (0.8, 5), specular=0.0, roughness=0.95
        )

    def wall(self) -> Material:
        kinds = ("plaster", "plaster", "plaster", "noise", "stripes", "bricks", "planks", "tiles", "fabric", "lines")
        return self._textured(kinds, (0.3, 1.5), specular=0.03, roughness=0.8)

    def floor(self) -> Material:
        shine = float(self.rng.choice([0, 0, 0.05, 0.15, 0.3]))
        kinds = ("planks", "wood", "tiles", "stone", "fabric", "noise", "lines")
        return self._textured(kinds, (0.3, 1.5), mirror=shine, **self._sheen(0.6))

    def facade(self) -> Material:
        return self._textured(("bricks", "bricks", "plaster", "noise", "stone", "tiles"), (0.15, 0.6), roughness=0.8)

    def ground(self) -> Material:
        kinds = ("asphalt", "asphalt", "asphalt", "asphalt", "stone", "noise", "lines")
        worn = self._textured(kinds, (0.15, 0.5), specular=0.05, roughness=0.7)
        r, g, b = (c * float(self.rng.uniform(0.45, 0.5)) for c in worn.color)
        return replace(worn, color=(r, g, b)) if self.rng.random() < 0.7 else worn

    def meadow(self) -> Material:
        return replace(
            self._textured(("grass", "grass", "noise"), (0.1, 0.5), specular=0.0, roughness=1.0),
            color=(1.0, float(self.rng.uniform(0.85, 1.0)), float(self.rng.uniform(0.6, 1.0))),
        )

    def leaf(self) -> Material:
        r, g, b = colorsys.hsv_to_rgb(
            self.rng.uniform(0.12, 0.4), self.rng.uniform(0.4, 0.9), self.rng.uniform(0.25, 0.75)
        )
        return Material((r**2.2, g**2.2, b**2.2), specular=0.1, roughness=0.6)

    def bark(self) -> Material:
        return self._textured(("wood", "noise"), (1, 4), roughness=1.0)

    def print(self, width: float, height: float) -> Material:
        """A picture that fills a quad of width x height metres once."""
        kinds = ("photo", "photo", "photo", "text", "patches", "dots", "stone", "stripes", "noise", "lines")
        texture = self.library.pick(self.rng, *kinds)
        return Material(self.tint(), texture, (1 / width, 1 / height), specular=float(self.rng.choice([0.0, 0.3])))

    def paint(self) -> Material:
        """One flat colour, dull to glossy."""
        glossy = self.rng.random() < 0.4
        sheen: dict[str, Any] = {
            "specular": float(self.rng.uniform(0.2, 0.8)),
            "roughness": float(self.rng.uniform(0.05, 0.4)),
        }
        return Material(self.color(), **(sheen if glossy else self._sheen(0.3)))

    def white(self) -> Material:
        v = float(self.rng.uniform(0.55, 0.9))
        return Material((v, v * 0.98, v * 0.95), specular=0.1, roughness=0.5)

    def dark(self) -> Material:
        v = float(self.rng.uniform(0.01, 0.08))
        return Material((v, v, v), specular=0.5, roughness=float(self.rng.uniform(0.1, 0.6)))

    def metal(self) -> Material:
        v = self.rng.uniform(0.4, 0.9) * np.array([1, *self.rng.uniform(0.75, 1.05, 2)])
        rough = float(self.rng.uniform(0.05, 0.7))
        return Material((float(v[0]), float(v[1]), float(v[2])), specular=0.8, roughness=rough, mirror=0.5, metal=0.7)

    def glowing(self, strength: float = 6.0) -> Material:
        return Material((0.9, 0.9, 0.9), emission=(strength, strength * 0.93, strength * 0.8))

    def any(self) -> Material:
        """Whatever: for clutter and for variety."""
        pick = self.rng.random()
        if pick < self.photos:
            return self._textured(("photo", "patches"), (0.5, 5), **self._sheen(0.4))
        if pick < 0.4:
            return self.paint()
        if pick < 0.5:
            return self.metal()
        return self._textured((), (0.5, 6), **self._sheen(0.5))
