"""Tensors in files: reading safetensors, whole or in shards, and telling one file from another by content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import WeightsError

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]
BROKEN = "delete it and run `lotus2-video models fetch {model}`, or copy it again"
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16
_BLOB_NAME = re.compile(r"[0-9a-f]{40,64}")


class Tensors(Protocol):
    """Named tensors that are read one by one, so that a network never lies in memory twice."""

    @property
    def shapes(self) -> Mapping[str, Shape]: ...

    def read(self, key: str, device: torch.device) -> torch.Tensor:
        """The tensor on the device, in the precision in which it is stored."""
        ...


class FileTensors:
    """The tensors of one or more safetensors files.

    where: what messages name. Raises WeightsError for a file that is missing, cut short or not safetensors.
    """

    def __init__(self, paths: Iterable[Path], where: object):
        self.where = where
        self._files = [_open(path) for path in paths]
        self._of_key = {key: file for file in self._files for key in file.keys()}  # noqa: SIM118  (not a mapping)
        self._shapes = {key: tuple(file.get_slice(key).get_shape()) for key, file in self._of_key.items()}

    @property
    def shapes(self) -> Mapping[str, Shape]:
        return self._shapes

    def read(self, key: str, device: torch.device) -> torch.Tensor:
        return self._of_key[key].get_tensor(key).to(device)


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError("no such file", path, "run `lotus2-video models fetch lotus-2`, or check --weights")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{_fault(path)} ({error})", path, BROKEN.format(model="lotus-2")) from error


def _fault(path: Path) -> str:
    """Whether a file that safetensors refuses was cut short, or never was one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(9)
    header = int.from_bytes(head[:8], "little")
    looks_right = len(head) == 9 and head[8:] == b"{" and header < 100_000_000
    return f"only part of the file is there, {size:,} bytes" if looks_right else "not a safetensors file"


def check_shapes(found: Mapping[str, Shape], wanted: Mapping[str, Shape], where: object) -> None:
    """Raises WeightsError that names the first missing, unexpected or wrongly shaped key, and how many more there are."""
    faults = [f"{key} is missing" for key in wanted if key not in found]
    faults += [f"{key} is not expected" for key in found if key not in wanted]
    faults += [
        f"{key} has shape {list(found[key])}, expected {list(shape)}"
        for key, shape in wanted.items()
        if key in found and found[key] != shape
    ]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise WeightsError(faults[0] + more, where, "these weights are of another model")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises WeightsError for a file that is missing or is none."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        hint = "run `lotus2-video models fetch lotus-2`, or check --weights"
        raise WeightsError(error.strerror or str(error), path, hint) from error
    except ValueError as error:
        raise WeightsError("not a JSON file", path, BROKEN.format(model="lotus-2")) from error
    if not isinstance(values, dict):
        raise WeightsError("not a JSON object", path, BROKEN.format(model="lotus-2"))
    return values


def shards(folder: Path, stem: str) -> list[Path]:
    """The files of a checkpoint saved whole (`stem.safetensors`) or in shards (`stem.safetensors.index.json`)."""
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return [folder / f"{stem}.safetensors"]
    return [folder / name for name in shard_names(index)]


def shard_names(index: Path) -> list[str]:
    """The file names in an index. Raises WeightsError where it names none."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise WeightsError("names no files", index, BROKEN.format(model="lotus-2"))
    return sorted(set(names.values()))


def digest(paths: Iterable[Path]) -> str:
    """16 hex digits that change with the content of the files, fast enough for 24 GB.

    A file in the Hugging Face cache is a link to a blob named by its own hash. Of any other, the size, the first and last
    bytes (the header of a safetensors file is first) and samples in between are hashed.
    """
    total = hashlib.sha256()
    for path in paths:
        blob = path.resolve().name
        total.update((blob if path.is_symlink() and _BLOB_NAME.fullmatch(blob) else _sampled(path)).encode())
    return total.hexdigest()[:16]


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    hashed = hashlib.sha256(str(size).encode())
    last = max(0, size - _SAMPLE_BYTES)
    with path.open("rb") as file:
        for i in range(_SAMPLES):
            file.seek(last * i // (_SAMPLES - 1))
            hashed.update(file.read(_SAMPLE_BYTES))
    return hashed.hexdigest()
