"""Everything that scenes are made from and that is not procedural geometry: textures, scanned objects, whole scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .glb import load_glb
from .looks import Piece
from .scene import Mesh, place
from .shapes import moved
from .textures import TextureLibrary, library


@dataclass(eq=False)
class Assets:
    """textures: the library that all materials refer to. objects: pieces whose largest side is 1, foot at the origin.
    scenes: whole scenes at their own size, metres."""

    textures: TextureLibrary
    objects: list[Piece] = field(default_factory=list)
    scenes: list[Piece] = field(default_factory=list)

    def without_pictures(self) -> Assets:
        """The same to choose from, light enough to send to another process; it cannot be rendered from."""
        return Assets(TextureLibrary([], self.textures.by_kind), self.objects, self.scenes)


def load_assets(
    seed: int = 0, photos: Sequence[Path] = (), meshes: Path | None = None, each: int = 6, most_photos: int = 400
) -> Assets:
    """Procedural textures, photographs as textures, and meshes.

    Args:
        photos: folders or tar files of pictures. meshes: a folder of GLB files, not searched below; files named scene_*
            are whole scenes (+Y up, metres), the others objects of any size. each: procedural textures of a kind.
    """
    out = Assets(library(seed, each, list(photos), most_photos))
    for path in sorted(meshes.glob("*.glb")) if meshes else ():
        mesh, materials = load_glb(path, out.textures)
        whole = path.stem.startswith("scene_")
        mesh = mesh if whole else _on_foot(mesh)
        _ = mesh.tree  # built here, once, and sent along to workers
        (out.scenes if whole else out.objects).append((mesh, materials))

    return out


def _on_foot(mesh: Mesh) -> Mesh:
    """Scaled so that its largest side is 1, standing on the origin."""
    low, high = mesh.bounds.astype(float)
    size = 1 / max(float(np.max(high - low)), 1e-9)
    middle = (low + high) / 2
    return moved(mesh, place(*(-size * np.array([middle[0], low[1], middle[2]])), scale=size))
