"""A renderer of our own for training and tests: pictures with exact depth, normals, flow, occlusion and poses.

    from render import render_batches, render_clips
    assets = load_assets(photos=[Path("photos-00.tar")], meshes=Path("scenes"))
    for batch in render_batches(seed=0, count=640, size=(224, 384), device="cuda", workers=14, assets=assets):
        batch.rgb, batch.disparity, batch.normal      # see Rendered

The ray caster is raycast.c, one source for CPU and GPU; scenes are made in numpy (kinds.py lists them).
"""

from .assets import Assets, load_assets
from .batches import Rendered, render_batches, render_clips
from .cast import Quality, Renderer
from .native import CompilerError
from .textures import TextureLibrary

__all__ = [
    "Assets",
    "CompilerError",
    "Quality",
    "Rendered",
    "Renderer",
    "TextureLibrary",
    "load_assets",
    "render_batches",
    "render_clips",
]
