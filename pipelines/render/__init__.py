"""A renderer of our own for training and tests: pictures with exact depth, normals, flow, occlusion and poses.

    from render import render_batches, render_clips
    for batch in render_batches(seed=0, count=640, size=(224, 384), device="cuda", workers=14):
        batch.rgb, batch.disparity, batch.normal      # see Rendered

The ray caster is raycast.c, one source for CPU and GPU; scenes are made in numpy (kinds.py lists them).
"""

from .batches import Rendered, render_batches, render_clips
from .cast import Quality, Renderer
from .native import CompilerError
from .textures import TextureLibrary, library

__all__ = [
    "CompilerError",
    "Quality",
    "Rendered",
    "Renderer",
    "TextureLibrary",
    "library",
    "render_batches",
    "render_clips",
]
