"""The records of raycast.c, mirrored field by field: numpy dtypes for tables, one ctypes structure for the job."""

from __future__ import annotations

import ctypes

import numpy as np

MAX_LIGHTS = 6

NODE = np.dtype([("lo", "f4", 3), ("first", "i4"), ("hi", "f4", 3), ("count", "i4")])
INSTANCE = np.dtype([(k, "i4") for k in ("kind", "root", "material", "object", "exact_normals")] + [("scale", "f4")])
STATE = np.dtype([("root", "i4"), ("transforms", "i4")])
TEXTURE = np.dtype([("offset", "i4"), ("width", "i4"), ("height", "i4"), ("levels", "i4")])
MATERIAL = np.dtype(
    [("color", "f4", 3), ("texture", "i4"), ("scale", "f4", 2), ("specular", "f4"), ("roughness", "f4")]
    + [("mirror", "f4"), ("emission", "f4", 3), ("metal", "f4")]
)
LIGHT = np.dtype([("kind", "i4"), ("where", "f4", 3), ("radius", "f4"), ("color", "f4", 3)])
LIGHTING = np.dtype(
    [("lights", "i4"), ("light", LIGHT, MAX_LIGHTS)]
    + [("zenith", "f4", 3), ("horizon", "f4", 3), ("ground", "f4", 3), ("sky_texture", "i4")]
    + [("ambient_up", "f4", 3), ("ambient_side", "f4", 3), ("ambient_down", "f4", 3)]
    + [("ambient_reach", "f4"), ("bounce", "f4"), ("fog_color", "f4", 3), ("fog_density", "f4")]
)
FRAME = np.dtype(
    [(k, "f4") for k in ("fx", "fy", "cx", "cy")]
    + [("pose", "f4", 12)]
    + [(k, "i4") for k in ("state", "lighting", "previous", "next", "seed")]
)

TABLES = ("nodes", "triangles", "attributes", "instances", "transforms", "items", "states", "frames")
TABLES += ("lightings", "materials", "textures", "texels")
OUTPUTS: dict[str, tuple[tuple[int, ...], str]] = {
    "radiance": ((3,), "float32"),
    "depth": ((), "float32"),
    "normal": ((3,), "float32"),
    "flow_forward": ((2,), "float32"),
    "flow_backward": ((2,), "float32"),
    "occluded_forward": ((), "uint8"),
    "occluded_backward": ((), "uint8"),
    "object": ((), "int32"),
}
NUMBERS = ("frame_count", "height", "width", "samples", "ambient_samples")


class Job(ctypes.Structure):
    """Pointers to all tables and outputs (0: not wanted), then the sizes."""

    _fields_ = [(k, ctypes.c_void_p) for k in (*TABLES, *OUTPUTS)] + [(k, ctypes.c_int) for k in NUMBERS]
