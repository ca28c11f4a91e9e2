"""Which room may import which. Reading order is dependency order; change the table together with the house."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lotus2_video

ROOT = Path(lotus2_video.__file__).parent
ALLOWED = {
    "errors": "",
    "prefetch": "errors",
    "durable": "",
    "config": "errors",
    "frames": "errors",
    "ops": "errors frames",
    "fold": "config frames ops",
    "models": "config errors frames ops",
    "engines": "config errors frames prefetch",
    "read": "config errors frames ops prefetch",
    "write": "config durable errors frames ops",
    "store": "config durable errors frames",
    "stages": "config errors frames prefetch ops fold models engines store",
    "run": "config errors frames prefetch ops fold models engines read write store stages",
    "batch": "config durable errors frames models engines store run",
    "progress": "frames run batch",
    "cli": "config errors models progress read run batch",
    "": "batch config errors frames models engines read run",
}
ONLY_IN = {
    "av": "read write", "ray": "engines", "OpenEXR": "write read", "fsspec": "batch read write",
    "threading": "prefetch engines models read batch", "queue": "prefetch engines", "huggingface_hub": "models",
    "safetensors": "models", "diffusers": "models", "transformers": "models", "openvino": "models", "torch": "models",
    "argparse": "cli", "rich": "progress",
}  # fmt: skip
PURE = ("ops", "fold", "frames")
IMPURE = {"time", "logging", "random", "os", "socket", "subprocess"}
FILES = sorted(ROOT.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imported(path: Path) -> Iterator[str]:
    """Absolute dotted names imported anywhere in the file, also inside functions."""
    here = ["lotus2_video", *path.relative_to(ROOT).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*here[: len(here) - node.level], *filter(None, [node.module])]) if node.level else node.module
            )
            yield from (f"{base}.{a.name}" for a in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(path: Path):
    room = room_of(path)
    assert room in ALLOWED, f"room {room!r} is not in the table"
    for name in imported(path):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "lotus2_video" and target in ALLOWED and target != room:
            assert target in ALLOWED[room].split(), f"{room or 'the package'} must not import {target}"
        if top in ONLY_IN:
            assert room in ONLY_IN[top].split(), f"{room or 'the package'} must not import {top}"
        assert not (room in PURE and top in IMPURE), f"{room} is pure and must not import {top}"


def test_importing_the_package_loads_nothing_heavy():
    code = "import lotus2_video, sys; print(*sorted({'torch','av','ray','openvino','cv2','numpy'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_every_public_name_is_there_and_documented():
    for name in lotus2_video.__all__:
        assert getattr(lotus2_video, name).__doc__, name
    assert set(lotus2_video.__all__) <= set(dir(lotus2_video))
