"""The mini: our own small network, inside the package; OpenVINO on a CPU, torch on a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..config import Kind
from ..errors import UsageError, WeightsError
from ..frames import Maps
from ..ops.geometry import unit
from ..ops.resample import shrink, upsample
from . import ModelOptions, mini_net, mini_sharpen

SHORT = 288  # pixels of the short side given to the network, unless asked otherwise
SHORT_SLOW = 192  # on a CPU without bfloat16, which the network would otherwise keep waiting
FILE = "mini.safetensors"
ROWS = ".rows"  # suffix of the scales of a matrix kept as int8


def weights_path(folder: str | None = None) -> Path:
    """Where the weights are: in `folder`, or in the package."""
    return (Path(folder) if folder else Path(__file__).parent) / FILE


class MiniPredictor:
    """Depth and normals of each frame by itself, in one pass; see `mini_net` for the network and `mini_sharpen` for the
    sharpener. It makes what its weights hold. Raises WeightsError, UsageError."""

    def __init__(self, options: ModelOptions):
        path = weights_path(options.weights)
        weights = load_weights(path)
        _check_wishes(options, weights, path)
        self.kinds, self._sharpens = options.kinds, has_sharpener(weights)
        self.device = _pick_device(options.device)
        self._short, self._full = options.res or _default_short(self.device), options.sharpen
        if options.precision == "fp8" or (options.precision == "fp16" and self.device == "cpu"):
            known = "fp32 or bf16" if self.device == "cpu" else "fp32, fp16 or bf16"
            raise UsageError(f"the mini runs in {known} on {self.device}, not {options.precision}", "--precision")
        self._network = _network(weights, options.kinds, options.precision, self.device)
        family = self.device.partition(":")[0]
        made = (_digest(path), str(self._short), family, self._network.precision, *"s" * options.sharpen)
        self.fingerprint = "-".join(("mini", *made))

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """The short side at `res`, or as the machine's default is, both sides the nearest multiple of the network's stride.
        Where the sharpener will be asked for, the source's size, the short side not above its LONGEST."""
        if not self._full:
            return _sized(height, width, self._short, mini_net.STRIDE)
        return _sized(height, width, max(self._short, min(height, width, mini_sharpen.LONGEST)), 1)

    def predict(self, rgb: np.ndarray, *, sharpen: bool = False) -> list[Maps]:
        """See `Predictor`. Where the sharpener was planned for, plain maps are enlarged to the size of the sharpened ones."""
        if sharpen:
            return [self._sharpened(frame) for frame in rgb]
        if not self._full:
            return self._network.maps(rgb)
        small = np.stack([self._small(frame) for frame in rgb])
        maps = self._network.maps(small)
        return [upsample(one, frame, small=seen) for one, frame, seen in zip(maps, rgb, small, strict=True)]

    def _sharpened(self, rgb: np.ndarray) -> Maps:
        if not self._sharpens:
            raise _lacks_sharpener()
        small = self._small(rgb)
        (core,) = self._network.maps(small[None], tuple(mini_net.CHANNELS))
        start = upsample(core, rgb, small=small)  # along the picture's contours: the flow has a shorter way from there
        planes = _filled(np.dstack([start.depth, start.normal])).transpose(2, 0, 1)  # pyright: ignore[reportArgumentType, reportCallIssue]
        depth, *normal = self._network.sharpened(planes, _filled(rgb))[:, : rgb.shape[0], : rgb.shape[1]]
        wanted = np.clip(depth, 0, 1), unit(np.stack(normal, axis=2))
        return Maps(*(x if kind in self.kinds else None for kind, x in zip(mini_net.CHANNELS, wanted, strict=True)))

    def _small(self, rgb: np.ndarray) -> np.ndarray:
        """The frame as the core sees it."""
        if not self._full:
            return rgb
        return shrink(rgb, _sized(rgb.shape[0], rgb.shape[1], self._short, mini_net.STRIDE))

    def close(self) -> None:
        pass


class Network(Protocol):
    """The mini on one back end. precision: fp32, fp16 or bf16."""

    precision: str

    def maps(self, rgb: np.ndarray, kinds: Sequence[Kind] | None = None) -> list[Maps]: ...
    def sharpened(self, start: np.ndarray, rgb: np.ndarray) -> np.ndarray: ...


def _sized(height: int, width: int, short: int, stride: int) -> tuple[int, int]:
    scale = short / min(height, width)
    return max(stride, round(height * scale / stride) * stride), max(stride, round(width * scale / stride) * stride)


def _filled(picture: np.ndarray) -> np.ndarray:
    """[H,W,C] with its last row and column repeated until both sides are multiples of the sharpener's stride."""
    below, right = (-side % mini_sharpen.STRIDE for side in picture.shape[:2])
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)


def _check_wishes(options: ModelOptions, names: Iterable[str], path: Path) -> None:
    kinds = mini_net.kinds_of(names)
    if missing := [kind for kind in options.kinds if kind not in kinds]:
        raise UsageError(
            f"the weights of the mini at {path} make {' and '.join(kinds)}, not {' and '.join(missing)}", "--maps"
        )
    if options.sharpen and not has_sharpener(names):
        raise _lacks_sharpener()


def has_sharpener(names: Iterable[str]) -> bool:
    return any(name.startswith("sharpen.") for name in names)


def _lacks_sharpener() -> UsageError:
    return UsageError("these weights of the mini hold no detail sharpener", "--sharpen", "use --sharpen none")


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """The weights by name, float32: of depth, and of normals and of the sharpener where it has them. Raises WeightsError
    where the file is missing, broken, or not the mini's.

    Large matrices are kept as int8 with one scale a row, under `NAME.rows`: half the size of half precision.
    """
    found = _read(path)
    scales = {name: found.pop(name + ROWS) for name in [*found] if name + ROWS in found}
    known = mini_net.shapes(mini_net.kinds_of(found))
    if has_sharpener(found):
        known |= mini_net.shapes(tuple(mini_net.CHANNELS)) | mini_sharpen.shapes()
    for name, shape in known.items():
        if name not in found:
            raise WeightsError(f"lacks {name}", path, "it is not a checkpoint of this version of the mini")
        if found[name].shape != shape:
            raise WeightsError(f"{name} has shape {found[name].shape}, not {shape}", path)
    if extra := sorted(found.keys() - known.keys()):
        raise WeightsError(f"has {extra[0]}, which the mini does not know", path)
    weights = {name: weight.astype(np.float32) for name, weight in found.items()}
    for name, scale in scales.items():
        weights[name] *= scale.reshape(-1, *[1] * (weights[name].ndim - 1))
    return weights


def _read(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(
            "no weights of the mini here", path, "check --weights, or install the package again"
        ) from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"not a complete safetensors file ({error})", path) from error


def _pick_device(name: str) -> str:
    """ "cpu" or a CUDA device. "auto" takes a GPU where there is one and torch to run it; torch is loaded only then."""
    if name == "cpu" or (name == "auto" and not has_nvidia_driver()):
        return "cpu"
    try:
        from .torch_device import pick_device
    except ModuleNotFoundError as error:
        if name == "auto":
            return "cpu"
        raise UsageError(f"{name} needs torch", "--device", "pip install 'lotus2-video[gpu]', or use cpu") from error
    return str(pick_device(name))


def has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _default_short(device: str) -> int:
    """Pixels. It goes by the machine, not by the precision, so that a run in another precision shows the same detail."""
    if device != "cpu":
        return SHORT
    from .mini_openvino import native_bf16

    return SHORT if native_bf16() else SHORT_SLOW


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _network(weights: dict[str, np.ndarray], kinds: Sequence[Kind], precision: str, device: str) -> Network:
    if device == "cpu":
        from .mini_openvino import OpenVinoMini

        return OpenVinoMini(weights, kinds, precision)
    from .mini_torch import TorchMini, torch

    return TorchMini(weights, kinds, precision, torch.device(device))
