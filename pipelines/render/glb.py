"""Binary glTF files as meshes: triangles, base colour and base-colour texture; flat node lists with matrices."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from . import shapes
from .scene import Material, Mesh
from .textures import TextureLibrary

WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
KIND = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}


@dataclass(frozen=True, eq=False)
class Glb:
    """The two chunks of a file. Raises ValueError where it is not binary glTF 2."""

    tree: dict[str, Any]
    blob: bytes

    @classmethod
    def read(cls, path: Path) -> Glb:
        data = path.read_bytes()
        if data[:4] != b"glTF" or len(data) < 20:
            raise ValueError(f"{path}: not a binary glTF file")
        length = struct.unpack_from("<I", data, 12)[0]
        return cls(json.loads(data[20 : 20 + length]), data[28 + length :])

    def view(self, index: int) -> bytes:
        view = self.tree["bufferViews"][index]
        start = view.get("byteOffset", 0)
        return self.blob[start : start + view["byteLength"]]

    def numbers(self, index: int) -> np.ndarray:
        """An accessor as [n, width]."""
        a = self.tree["accessors"][index]
        width = WIDTH[a["type"]]
        flat = np.frombuffer(self.view(a["bufferView"]), KIND[a["componentType"]], a["count"] * width)
        return flat.reshape(-1, width)


def load_glb(path: Path, textures: TextureLibrary) -> tuple[Mesh, tuple[Material, ...]]:
    """All parts of a file as one mesh in world space (metres as stored, Y up), with its materials.

    Its pictures join `textures`. True normals are the faces'; the file's vertex normals only shade.
    """
    glb = Glb.read(path)
    pictures = [_picture(glb.view(i["bufferView"]), path) for i in glb.tree.get("images", [])]
    indices = [textures.add(p, "glb") for p in pictures]
    materials = tuple(_material(glb, m, indices) for m in glb.tree["materials"])
    parts = [
        _part(glb, node, primitive)
        for node in glb.tree["nodes"]
        if "mesh" in node
        for primitive in glb.tree["meshes"][node["mesh"]]["primitives"]
    ]
    return shapes.merged(parts, exact=False), materials


def _picture(blob: bytes, path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: a texture cannot be decoded")
    return np.ascontiguousarray(picture[:, :, ::-1])


def _material(glb: Glb, stored: dict[str, Any], indices: list[int]) -> Material:
    surface = stored["pbrMetallicRoughness"]
    r, g, b = surface.get("baseColorFactor", (1, 1, 1, 1))[:3]
    picture = surface.get("baseColorTexture")
    texture = indices[glb.tree["textures"][picture["index"]]["source"]] if picture else -1
    rough = float(surface.get("roughnessFactor", 1))
    return Material((r, g, b), texture, specular=0.4 * (1 - rough), roughness=max(rough, 0.1))


def _part(glb: Glb, node: dict[str, Any], primitive: dict[str, Any]) -> Mesh:
    attributes = primitive["attributes"]
    faces = glb.numbers(primitive["indices"]).reshape(-1, 3).astype(np.int32)
    mesh = Mesh(
        glb.numbers(attributes["POSITION"]).astype(np.float32),
        faces,
        glb.numbers(attributes["NORMAL"]).astype(np.float32),
        glb.numbers(attributes["TEXCOORD_0"]).astype(np.float32),
        np.full(len(faces), primitive["material"], np.int32),
    )
    return shapes.moved(mesh, np.array(node.get("matrix", np.eye(4).ravel()), float).reshape(4, 4).T)
